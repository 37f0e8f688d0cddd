"""What a user of `transformers.Trainer` is used to, as the package's page lists it; what can't work says why."""

import copy

import numpy as np
import pytest
import torch
from datasets import IterableDataset
from peft import LoraConfig, get_peft_model
from support.tiny import COLOURS, rows, tiny_model, tiny_task
from support.training import trainer_of
from transformers import CLIPModel, CLIPProcessor, EarlyStoppingCallback, TrainerCallback, default_data_collator
from transformers.optimization import get_constant_schedule

from mulki_hf import ConfigurationError, MulKITrainer


METHODS = ["mulki", "finetune"]


class Count(TrainerCallback):
    def __init__(self):
        self.steps, self.logged, self.evaluated = 0, [], []

    def on_step_end(self, args, state, control, model=None, **kwargs):
        assert isinstance(model, torch.nn.Module)
        self.steps += 1

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.logged.append(logs)

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        self.evaluated.append(metrics)


@pytest.fixture
def make(make_args, processor):
    """A trainer by its arguments and settings."""

    def make(given=None, model=None, task=None, **settings) -> MulKITrainer:
        return trainer_of(model or tiny_model(), make_args(**settings), processor, task, **given or {})

    return make


class TestCallbacks:
    def test_given_and_added(self, make):
        given, added, removed = Count(), Count(), Count()
        trainer = make({"callbacks": [given]}, eval_strategy="steps", eval_steps=2)
        trainer.add_callback(added)
        trainer.add_callback(removed)
        assert trainer.pop_callback(removed) is removed
        trainer.train()
        assert (given.steps, added.steps, removed.steps) == (4, 4, 0)
        assert any("loss_task" in logs for logs in given.logged)
        assert [set(metrics) >= {"eval_loss", "eval_accuracy"} for metrics in given.evaluated] == [True, True]

    def test_a_class_of_them(self, make):
        trainer = make({"callbacks": [Count]})
        trainer.train()
        (own,) = [callback for callback in trainer.callback_handler.callbacks if isinstance(callback, Count)]
        assert own.steps == 4


class TestMetrics:
    def test_of_ones_own(self, make):
        """They stand in place of the accuracy, and may choose the best checkpoint."""

        def error(prediction):
            return {"error": float(np.mean(prediction.predictions.argmax(axis=-1) != prediction.label_ids))}

        settings = {"method": "finetune", "load_best_model_at_end": True, "metric_for_best_model": "error"}
        settings |= {"greater_is_better": False, "eval_strategy": "steps", "eval_steps": 1, "learning_rate": 1e-2}
        trainer = make({"compute_metrics": error}, save_strategy="steps", save_steps=1, max_steps=8, **settings)
        before = trainer.evaluate()
        assert set(before) >= {"eval_error"} and "eval_accuracy" not in before
        trainer.train()
        errors = {entry["step"]: entry["eval_error"] for entry in trainer.state.log_history if "eval_error" in entry}
        assert trainer.state.best_metric == min(errors.values()) == trainer.evaluate()["eval_error"]

    def test_of_several_sets_by_name(self, make):
        task = tiny_task()
        trainer = make(task=task)
        found = trainer.evaluate({"own": rows(list(COLOURS), 2, 5), "task": task.evaluation})
        assert {"eval_own_loss", "eval_own_accuracy", "eval_task_loss", "eval_task_accuracy"} <= set(found)
        assert found["eval_task_accuracy"] == trainer.evaluate(task.evaluation)["eval_accuracy"]

    def test_validation_data_come_before_the_evaluation_data(self, make):
        """While training; the others are there for the end."""
        task = tiny_task(validation=rows(list(COLOURS), 5, 3))
        trainer = make(task=task)
        assert len(trainer.eval_dataset) == 20 and len(trainer.predict(task.evaluation).predictions) == 12
        own = rows(list(COLOURS), 1, 3)
        assert len(make({"eval_dataset": own}, task=task).eval_dataset) == 4

    @pytest.mark.parametrize("prediction_loss_only", [False, True])
    def test_predictions(self, make, prediction_loss_only):
        predicted = make(prediction_loss_only=prediction_loss_only).predict(
            tiny_task().evaluation, metric_key_prefix="own"
        )
        assert "own_loss" in predicted.metrics and ("own_accuracy" in predicted.metrics) != prediction_loss_only
        assert prediction_loss_only or (predicted.label_ids == np.tile(np.arange(4), 3)).all()


class TestEarlyStopping:
    WATCHED = {"eval_strategy": "steps", "eval_steps": 1, "metric_for_best_model": "accuracy", "max_steps": 20}

    @pytest.mark.parametrize("method", METHODS)
    def test_stops(self, make, method):
        task = tiny_task(validation=rows(["red"], 4, 3))
        settings = self.WATCHED | {"learning_rate": 0.0, "method": method}
        trainer = make({"callbacks": [EarlyStoppingCallback(2)]}, task=task, **settings)
        trainer.train()
        # The first evaluation is the best one, the two after it are no better.
        assert trainer.state.global_step == 3

    def test_with_the_best_weights(self, make):
        settings = self.WATCHED | {"method": "finetune", "load_best_model_at_end": True, "learning_rate": 1e-2}
        task = tiny_task(validation=rows(list(COLOURS), 4, 3))
        trainer = make(
            {"callbacks": [EarlyStoppingCallback(3)]}, task=task, save_strategy="steps", save_steps=1, **settings
        )
        trainer.train()
        assert trainer.evaluate()["eval_accuracy"] == trainer.state.best_metric

    def test_no_best_weights_where_the_average_is_the_result(self, make_args):
        with pytest.raises(ValueError, match="the averaged weights are the result; to stop early works without it"):
            make_args(
                load_best_model_at_end=True, eval_strategy="steps", eval_steps=2, save_strategy="steps", save_steps=2
            )
        make_args(
            load_best_model_at_end=True, connecting=False, eval_strategy="steps", eval_steps=2, save_strategy="steps",
            save_steps=2,
        )  # fmt: skip


class TestOptimizer:
    @pytest.mark.parametrize("method", METHODS)
    def test_of_ones_own(self, make, method):
        """A step of it is the gradient alone: twice the rate moves twice as far."""
        moves = []
        for rate in (0.01, 0.02):
            model = tiny_model()
            before = copy.deepcopy(model.state_dict())
            optimizer = torch.optim.SGD(model.parameters(), lr=rate)
            schedule = get_constant_schedule(optimizer)
            settings = {"method": method, "max_steps": 1, "max_grad_norm": 1e9}
            settings |= {"connecting": False} if method == "mulki" else {}
            trainer = make({"optimizers": (optimizer, schedule)}, model=model, **settings)
            trainer.train()
            assert trainer.optimizer.optimizer is optimizer and trainer.lr_scheduler is schedule
            moves.append({name: value - before[name] for name, value in model.state_dict().items()})
        for name, move in moves[0].items():
            torch.testing.assert_close(moves[1][name], 2 * move, rtol=1e-3, atol=1e-6)
        assert max(move.abs().max() for move in moves[0].values()) > 1e-5

    def test_made_before_the_model_got_adapters(self, make):
        model = tiny_model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
        with pytest.raises(ConfigurationError, match="optimizers: the optimizer holds none of the .* that are trained"):
            make({"optimizers": (optimizer, None)}, model=adapted)

    @pytest.mark.parametrize("adapters", [False, True])
    def test_a_class_and_its_arguments(self, make, adapters):
        model = tiny_model()
        model = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"])) if adapters else model
        given = {"optimizer_cls_and_kwargs": (torch.optim.SGD, {"lr": 0.01, "momentum": 0.5})}
        trainer = make(given, model=model)
        trainer.train()
        (group, *_) = trainer.optimizer.param_groups
        assert isinstance(trainer.optimizer.optimizer, torch.optim.SGD) and group["momentum"] == 0.5

    def test_a_method_of_a_subclass(self, make_args, processor):
        class Own(MulKITrainer):
            def create_optimizer(self, model=None):
                self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)
                return self.optimizer

        trainer = Own(tiny_model(), make_args(), tiny_task(), processor)
        trainer.train()
        assert isinstance(trainer.optimizer.optimizer, torch.optim.SGD)


class TestData:
    @pytest.mark.parametrize("method", ["finetune", "snd"])
    def test_a_collator_of_ones_own(self, make, method):
        """It is given the task's samples, and what it makes of them is trained on."""
        seen = []

        def darker(samples):
            seen.append(set(samples[0]))
            batch = default_data_collator(samples)
            return batch | {"pixel_values": 0.0 * batch["pixel_values"]}

        trainer = make({"data_collator": darker}, method=method)
        trainer.train()
        assert all({"pixel_values", "labels"} <= names for names in seen)
        assert not [name for names in seen for name in names if name.startswith("reference_")]
        assert len(np.unique(trainer.predict(tiny_task().evaluation).predictions.round(4), axis=0)) == 1

    def test_streamed_data_are_refused(self, make, processor, make_args):
        stream = tiny_task().train.to_iterable_dataset()
        why = "got an IterableDataset, which streams: rows are read by their number.*take some of it"
        with pytest.raises(ConfigurationError, match=f"task 'colours': train data must be a Dataset, {why}"):
            tiny_task(train=stream)
        with pytest.raises(
            ConfigurationError, match=f"task 'colours': eval_dataset must be a Dataset or a dict .*{why}"
        ):
            make({"eval_dataset": {"own": stream}})
        with pytest.raises(ConfigurationError, match=f"reference_dataset must be a Dataset, {why}"):
            make({"reference_dataset": stream}, method="snd")
        with pytest.raises(ConfigurationError, match=f"the data to evaluate on .*{why}"):
            make().predict(stream)
        with pytest.raises(ConfigurationError, match="validation data must be a Dataset, got list"):
            tiny_task(validation=[1])

    def test_some_of_streamed_data_as_the_message_says(self):
        from datasets import Dataset

        stream = tiny_task().train.to_iterable_dataset()
        assert isinstance(stream, IterableDataset)
        task = tiny_task(train=Dataset.from_list(list(stream.take(9)), features=stream.features))
        assert len(task.train) == 9 and task.train[0]["image"].size == (16, 16)


class TestSaving:
    def test_a_saved_model_is_a_clip_with_its_processor(self, make, tmp_path):
        trainer = make(max_steps=1)
        trainer.train()
        trainer.save_model(str(tmp_path / "saved"))
        saved = CLIPModel.from_pretrained(tmp_path / "saved").state_dict()
        assert all(torch.equal(value, saved[name]) for name, value in trainer.model.state_dict().items())
        CLIPProcessor.from_pretrained(tmp_path / "saved")

    @pytest.mark.parametrize("method", METHODS)
    def test_goes_on_from_its_last_checkpoint(self, make, method, tmp_path):
        states = []
        for stops in (False, True):
            settings = {"method": method, "save_strategy": "steps", "save_steps": 2}
            settings |= {"output_dir": str(tmp_path / f"{stops}"), "lr_scheduler_type": "constant"}
            if stops:
                make(max_steps=2, **settings).train()
            trainer = make(max_steps=4, **settings)
            trainer.train(resume_from_checkpoint=stops)
            assert trainer.state.global_step == 4
            states.append(trainer.model.state_dict())
        for name, value in states[0].items():
            torch.testing.assert_close(value, states[1][name], rtol=0, atol=1e-6)


class TestWhatCanNotWork:
    def test_model_init(self, make):
        with pytest.raises(ConfigurationError, match="model_init can't be given: the teachers are made of the model"):
            make({"model_init": tiny_model})

    def test_a_search(self, make):
        with pytest.raises(ConfigurationError, match="hyperparameter_search can't be used: .* make a trainer for each"):
            make().hyperparameter_search(n_trials=2)

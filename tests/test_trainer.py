"""`MulKITrainer` on a tiny CLIP: what moves, what doesn't, and what is logged."""

import copy

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from huggingface_hub.utils import filter_repo_objects
from support.hub import connected
from support.tiny import COLOURS, rows, tiny_model, tiny_task
from support.training import losses, trainer_of
from transformers import BertConfig, BertModel, CLIPModel, TrainerCallback

from mulki_hf import ConfigurationError, MulKITrainer
from mulki_hf.adaptation.full import snapshot
from mulki_hf.adaptation.towers import TOWERS
from mulki_hf.models.loading import save_model


# The change of the weights is the gradient.
ONE_STEP = {"max_steps": 1, "optim": "sgd", "learning_rate": 1.0, "lr_scheduler_type": "constant", "connecting": False}
ONE_STEP |= {"max_grad_norm": 1e9, "views_per_sample": 0.5}


class StopAt(TrainerCallback):
    """Ends training after a step, as a crash would."""

    def __init__(self, step: int):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == self.step


class CrashAt(StopAt):
    """Ends it as Ctrl-C does."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def make_trainer(args, processor, student=None, task=None, **kwargs) -> MulKITrainer:
    return trainer_of(student or tiny_model(), args, processor, task, **kwargs)


def changed(before: dict[str, torch.Tensor], model) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(before[name], value)}


class TestTraining:
    @pytest.mark.parametrize("method", ["mulki", "snd", "zscl", "lwf", "wise_ft", "finetune"])
    @pytest.mark.parametrize("towers", ["both", "vision", "text"])
    def test_every_trainable_parameter_moves_and_nothing_else(self, make_args, processor, method, towers):
        trainer = make_trainer(make_args(method=method, train_towers=towers), processor, previous_model=tiny_model(1))
        before = copy.deepcopy(trainer.model.state_dict())
        trainer.train()
        expected = {n for n, _ in trainer.model.named_parameters() if n.startswith(TOWERS[towers])}
        # A shift of all attention keys by one vector cancels in the softmax: that bias has no gradient but noise.
        moved = changed(before, trainer.model)
        assert moved <= expected
        assert {name for name in expected if not name.endswith("k_proj.bias")} <= moved

    def test_a_rate_of_its_own_for_the_text_tower(self, make_args, processor):
        """Of a step of plain gradient descent the text tower's part grows with its rate, and nothing else changes."""
        moves = []
        for rate in (None, 0.25):
            args = make_args(method="finetune", text_learning_rate=rate, **ONE_STEP)
            trainer = make_trainer(args, processor)
            before = copy.deepcopy(trainer.model.state_dict())
            trainer.train()
            moves.append({name: value - before[name] for name, value in trainer.model.state_dict().items()})
        for name, move in moves[0].items():
            share = 0.25 if name.startswith("text") else 1.0
            torch.testing.assert_close(moves[1][name], share * move, rtol=1e-3, atol=1e-6)

    def test_the_rate_of_a_text_tower_that_is_not_trained_plays_no_part(self, make_args, processor):
        args = make_args(method="finetune", train_towers="vision", text_learning_rate=0.25, max_steps=1)
        trainer = make_trainer(args, processor)
        trainer.train()
        assert all(group["params"] and group["initial_lr"] == 1e-3 for group in trainer.optimizer.param_groups)

    @pytest.mark.parametrize("method", ["mulki", "snd"])
    def test_teachers_stay_as_they_are(self, make_args, processor, method):
        original, previous = tiny_model(1), tiny_model(2)
        before = [copy.deepcopy(teacher.state_dict()) for teacher in (original, previous)]
        trainer = make_trainer(
            make_args(method=method, merge_alpha=0.0), processor, original_model=original, previous_model=previous
        )
        trainer.train()
        for teacher, state in zip((original, previous), before, strict=True):
            assert not changed(state, teacher)
            assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
            assert not teacher.training

    def test_student_given_as_its_own_teacher_is_copied(self, make_args, processor):
        student = tiny_model()
        trainer = make_trainer(make_args(), processor, student, original_model=student, previous_model=student)
        before = copy.deepcopy(student.state_dict())
        trainer.train()
        assert changed(before, student)
        assert not changed(before, trainer.adaptation.teachers["previous"].model)

    def test_saved_model_gives_the_same_logits(self, make_args, processor, tmp_path):
        trainer = make_trainer(make_args(), processor, previous_model=tiny_model(1))
        trainer.train()
        save_model(tmp_path / "saved", trainer.model, processor)
        batch = torch.stack([torch.as_tensor(trainer.eval_dataset[row]["pixel_values"]) for row in range(4)])
        student, reloaded = trainer.model.eval(), CLIPModel.from_pretrained(tmp_path / "saved").eval()
        with torch.no_grad():
            expected, found = (
                model(pixel_values=batch, **trainer.features.prompts).logits_per_image for model in (student, reloaded)
            )
        assert torch.equal(expected, found)

    def test_average_on_disk_is_that_in_memory(self, make_args, processor, tmp_path):
        states = []
        for on_disk in (True, False):
            args = make_args(average_every=1, average_on_disk=on_disk)
            trainer = make_trainer(args, processor, previous_model=tiny_model(1))
            there = []
            average = trainer.connections.average
            step = average.step

            def look(global_step, step=step, there=there):
                step(global_step)
                there.append(len(list((tmp_path / "trainer").glob("_weight_average/*.npy"))))

            average.step = look
            trainer.train()
            assert all(bool(count) == on_disk for count in there) and len(there) == 4
            assert not (tmp_path / "trainer/_weight_average").exists()
            states.append(trainer.model.state_dict())
        assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())

    def test_what_a_push_of_the_output_folder_takes_along(self, make_args, processor, tmp_path):
        """Trainer's own `push_to_hub` ignores `_*` and checkpoints: no training images, no teacher features."""
        args = make_args(cache_images=True, average_on_disk=True, save_strategy="steps", save_steps=2)
        trainer = make_trainer(args, processor)
        trainer.train()
        trainer.save_model()
        folder = tmp_path / "trainer"
        paths = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
        sent = list(filter_repo_objects(paths, ignore_patterns=["_*", "checkpoint-*"]))
        assert "model.safetensors" in sent and not [path for path in sent if path.endswith(".npy")]
        assert any("pixels" in path for path in paths)

    def test_resumed_to_train_longer(self, make_args, processor):
        make_trainer(make_args(max_steps=4, save_strategy="steps", save_steps=2), processor).train()
        trainer = make_trainer(make_args(max_steps=6), processor)
        trainer.train(resume_from_checkpoint=True)
        assert trainer.state.global_step == 6

    def test_a_half_written_checkpoint_is_passed_over(self, make_args, processor, tmp_path):
        make_trainer(make_args(save_strategy="steps", save_steps=2), processor).train()
        (tmp_path / "trainer/checkpoint-9/weight_average").mkdir(parents=True)
        trainer = make_trainer(make_args(max_steps=5), processor)
        trainer.train(resume_from_checkpoint=True)
        assert trainer.state.global_step == 5

    @pytest.mark.parametrize("where", [True, "elsewhere"])
    def test_nothing_to_resume_from(self, make_args, processor, where):
        with pytest.raises(ConfigurationError, match="no complete checkpoint in .*(trainer|elsewhere)"):
            make_trainer(make_args(), processor).train(resume_from_checkpoint=where)

    def test_a_damaged_checkpoint_is_named(self, make_args, processor, tmp_path):
        make_trainer(make_args(save_strategy="steps", save_steps=2), processor).train()
        file = tmp_path / "trainer/checkpoint-4/optimizer.pt"
        file.write_bytes(file.read_bytes()[:1000])
        with pytest.raises(ConfigurationError, match=f"resume_from_checkpoint: {file} is damaged"):
            make_trainer(make_args(max_steps=6), processor).train(resume_from_checkpoint=str(file.parent))
        # A copy that somebody made is no step.
        file.parent.rename(file.parent.with_name("checkpoint-old"))
        trainer = make_trainer(make_args(max_steps=5), processor)
        trainer.train(resume_from_checkpoint=True)
        assert trainer.state.global_step == 5

    def test_reference_pairing_after_a_resume_in_the_second_epoch(self, make_args, processor, tmp_path):
        states = []
        for stop in (None, 6):
            args = make_args(method="snd", max_steps=8, save_strategy="steps", save_steps=3)
            args.output_dir = str(tmp_path / f"{stop}")
            trainer = make_trainer(args, processor)
            if stop:
                # An epoch is four steps: step 6 is in the middle of the second one.
                trainer.add_callback(StopAt(stop))
                trainer.train()
                trainer = make_trainer(args, processor)
                trainer.train(resume_from_checkpoint=True)
            else:
                trainer.train()
            assert trainer.state.global_step == 8 and trainer.state.epoch == 2
            states.append(trainer.model.state_dict())
        for name, value in states[0].items():
            torch.testing.assert_close(value, states[1][name], rtol=0, atol=1e-6)

    def test_evaluates_and_predicts_rows_of_a_dataset(self, make_args, processor):
        trainer = make_trainer(make_args(), processor)
        task = tiny_task()
        assert trainer.evaluate(task.evaluation)["eval_loss"] == trainer.evaluate()["eval_loss"]
        predicted = trainer.predict(task.evaluation)
        assert predicted.predictions.shape == (len(task.evaluation), len(task.class_names))
        assert predicted.metrics["test_accuracy"] == trainer.evaluate()["eval_accuracy"]
        unlabelled = trainer.predict(task.evaluation.select_columns("image"))
        assert np.array_equal(unlabelled.predictions, predicted.predictions)

    def test_evaluates_on_data_of_ones_own(self, make_args, processor):
        """As Trainer takes it: one set, or several by name."""
        task = tiny_task()
        own, expected = tiny_task(per_class=2, seed=5).train, {}
        for name, given in {"own": own, "task": None}.items():
            trainer = make_trainer(make_args(), processor, eval_dataset=given)
            expected[f"eval_{name}_loss"] = trainer.evaluate()["eval_loss"]
        args = make_args(eval_strategy="steps", eval_steps=2, learning_rate=0.0, connecting=False)
        trainer = make_trainer(args, processor, eval_dataset={"own": own, "task": task.evaluation})
        assert len(set(expected.values())) == 2 and expected.items() <= trainer.evaluate().items()
        trainer.train()
        logged = trainer.state.log_history
        assert {name: pytest.approx(value) for name, value in expected.items()} == {
            name: next(entry[name] for entry in reversed(logged) if name in entry) for name in expected
        }

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (tiny_task(names=["a", "b", "c", "d", "e"]).train, "label 4 is outside the 4 class names"),
            (tiny_task().train.select_columns(["image"]), "no column 'label'"),
            ([], "eval_dataset must be a Dataset or a dict of them, got list"),
        ],
    )
    @pytest.mark.parametrize("named", [False, True])
    def test_evaluation_data_that_would_fail_in_the_middle(self, make_args, processor, given, message, named):
        with pytest.raises(ConfigurationError, match=message):
            make_trainer(make_args(), processor, eval_dataset={"own": given} if named else given)

    @pytest.mark.parametrize("name", ["train_dataset", "compute_loss_func"])
    def test_what_task_and_method_bring_can_not_be_given(self, make_args, processor, name):
        with pytest.raises(ConfigurationError, match=f"{name} can't be given: the (task|method)"):
            make_trainer(make_args(), processor, **{name: tiny_task().train})

    def test_predictions_in_a_list_of_batches(self, make_args, processor):
        expected = make_trainer(make_args(), processor).evaluate()["eval_accuracy"]
        args = make_args(eval_do_concat_batches=False, per_device_eval_batch_size=5)
        assert make_trainer(args, processor).evaluate()["eval_accuracy"] == expected

    def test_metrics_that_want_the_images(self, make_args, processor):
        shapes = []

        def metrics(prediction):
            shapes.append((prediction.inputs.shape, prediction.losses.shape))
            return {}

        args = make_args(include_for_metrics=["inputs", "loss"])
        make_trainer(args, processor, compute_metrics=metrics).evaluate()
        assert shapes == [((12, 3, 16, 16), (12,))]

    def test_resumed_at_its_end_returns_the_best(self, make_args, processor, tmp_path):
        """A crash after training, before anything else was written."""
        settings = {"method": "finetune", "load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 1}
        settings |= {"save_strategy": "steps", "save_steps": 1, "learning_rate": 0.1}
        states, best = [], []
        for resume in (False, True):
            trainer = make_trainer(make_args(**settings), processor)
            trainer.train(resume_from_checkpoint=resume)
            states.append(trainer.model.state_dict())
            best.append(trainer.state.best_model_checkpoint)
        assert best[0] == best[1] and not best[0].endswith("checkpoint-4")
        assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())

    def test_features_are_of_unit_length_under_bf16(self, make_args, processor):
        """Forward's own are off by half a percent."""
        trainer = make_trainer(make_args(method="snd", bf16=True), processor)
        lengths, objective = [], trainer.objective

        def measured(batch):
            lengths.extend(part.norm(dim=-1) for part in (batch.image, batch.text, batch.reference))
            return objective(batch)

        own = {
            "__call__": lambda _, batch: measured(batch),
            "needs": objective.needs,
            "average_every": 0,
            "relates_images": False,
        }
        trainer.objective = type("Measured", (), own)()
        trainer.train()
        assert lengths and max((length - 1).abs().max() for length in lengths) < 1e-5

    def test_parts_of_an_earlier_train_are_not_logged(self, make_args, processor):
        trainer = make_trainer(make_args(max_steps=3, logging_steps=2), processor)
        trainer.train()
        trainer.train()
        first = next(entry for entry in trainer.state.log_history if entry["step"] == 2)
        parts = sum(value for name, value in first.items() if name.startswith("loss_"))
        assert parts == pytest.approx(first["loss"], abs=1e-3)

    def test_first_task_has_one_teacher(self, make_args, processor, tmp_path):
        trainer = make_trainer(make_args(), processor)
        teachers = trainer.adaptation.teachers
        assert teachers["previous"] is teachers["original"]
        trainer.train()
        assert {path.name.rpartition("-")[0] for path in (tmp_path / "trainer/_cache").iterdir()} == {
            "train-original",
            "views-original",
            "words-original",
        }

    @pytest.mark.parametrize("method", ["mulki", "snd", "finetune"])
    def test_accumulating_four_steps_equals_one_step_of_four(self, make_args, processor, method):
        gradients = []
        for batch, accumulation in ((4, 1), (1, 4)):
            args = make_args(
                method=method,
                per_device_train_batch_size=batch,
                gradient_accumulation_steps=accumulation,
                **ONE_STEP,
            )
            student = tiny_model()
            before = copy.deepcopy(student.state_dict())
            make_trainer(args, processor, student, previous_model=tiny_model(1)).train()
            gradients.append({name: before[name] - value for name, value in student.state_dict().items()})
        for name, gradient in gradients[0].items():
            torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-4, atol=1e-5)
        assert max(gradient.abs().max() for gradient in gradients[0].values()) > 1e-3

    @pytest.mark.parametrize("method", ["mulki", "snd", "finetune"])
    def test_every_image_of_a_step_counts_the_same(self, make_args, processor, method):
        """Nine images at once, or as eight and a lone one."""
        gradients, losses = [], []
        for batch, accumulation in ((9, 1), (8, 2)):
            args = make_args(
                method=method,
                per_device_train_batch_size=batch,
                gradient_accumulation_steps=accumulation,
                logging_steps=1,
                **ONE_STEP,
            )
            student = tiny_model()
            before = copy.deepcopy(student.state_dict())
            task = tiny_task(train=rows(list(COLOURS), 3, 0).select(range(9)))
            trainer = make_trainer(args, processor, student, task, previous_model=tiny_model(1))
            trainer.train()
            losses.append({k: v for k, v in trainer.state.log_history[0].items() if k.startswith("loss")})
            gradients.append({name: before[name] - value for name, value in student.state_dict().items()})
        for name, gradient in gradients[0].items():
            torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-4, atol=1e-5)
        assert max(gradient.abs().max() for gradient in gradients[0].values()) > 1e-3
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)

    def test_the_anchor_stays_where_the_task_began(self, make_args, processor, tmp_path):
        """When training is stopped and goes on with the same trainer, as in a notebook."""
        given = {"method": "zscl", "max_steps": 6, "save_strategy": "steps", "save_steps": 2, "learning_rate": 1e-2}
        weights = []
        for stopped in (False, True):
            trainer = make_trainer(make_args(output_dir=str(tmp_path / f"{stopped}"), **given), processor)
            if stopped:
                crash = CrashAt(3)
                trainer.add_callback(crash)
                with pytest.raises(KeyboardInterrupt):
                    trainer.train()
                trainer.remove_callback(crash)
            trainer.train(resume_from_checkpoint=stopped or None)
            weights.append(trainer.model.state_dict())
        assert not changed(weights[0], trainer.model)

    def test_loss_is_the_sum_of_its_logged_parts(self, make_args, processor):
        earlier = [tiny_task("shapes", ["circle", "square"])]
        trainer = make_trainer(make_args(), processor, previous_model=tiny_model(1), earlier_tasks=earlier)
        trainer.train()
        logs = [entry for entry in trainer.state.log_history if "loss" in entry]
        assert len(logs) == 2
        for entry in logs:
            parts = {name: value for name, value in entry.items() if name.startswith("loss_")}
            assert set(parts) == {f"loss_{name}" for name in ("task", "elicit", "names", "words", "feature", "views")}
            assert sum(parts.values()) == pytest.approx(entry["loss"], rel=1e-5)

    @pytest.mark.parametrize(
        ("switch", "part"),
        [("eliciting", "loss_elicit"), ("adding", "loss_words")],
    )
    def test_switched_off_stage_leaves_the_log(self, make_args, processor, switch, part):
        trainer = make_trainer(make_args(**{switch: False}), processor)
        trainer.train()
        assert part not in trainer.state.log_history[0]

    def test_learns_the_task(self, make_args, processor):
        trainer = make_trainer(make_args(max_steps=60, method="finetune", learning_rate=2e-3), processor)
        before = trainer.evaluate()["eval_loss"]
        trainer.train()
        after = trainer.evaluate()
        assert after["eval_loss"] < before
        assert after["eval_accuracy"] > 50

    def test_bf16_goes_to_student_and_teachers(self, make_args, processor, monkeypatch):
        seen = []
        forward = torch.nn.Linear.forward

        def record(self, x):
            output = forward(self, x)
            seen.append((torch.is_grad_enabled(), output.dtype))
            return output

        monkeypatch.setattr(torch.nn.Linear, "forward", record)
        trainer = make_trainer(make_args(bf16=True), processor, previous_model=tiny_model(1))
        trainer.train()
        assert set(seen) == {(True, torch.bfloat16), (False, torch.bfloat16)}
        assert np.isfinite(trainer.state.log_history[0]["loss"])
        assert trainer.model.dtype == torch.float32

    def test_gradient_checkpointing_changes_no_gradient(self, make_args, processor):
        states = []
        for checkpointing in (False, True):
            student = tiny_model()
            args = make_args(max_steps=1, activation_checkpointing=checkpointing, optim="sgd", connecting=False)
            make_trainer(args, processor, student).train()
            states.append(student.state_dict())
        for name, value in states[0].items():
            torch.testing.assert_close(value, states[1][name])

    @pytest.mark.long
    def test_compiled_learns_the_same(self, make_args, processor):
        states = []
        for compiled in ({}, {"torch_compile": True, "torch_compile_backend": "aot_eager"}):
            student = tiny_model()
            make_trainer(make_args(**compiled), processor, student, previous_model=tiny_model(1)).train()
            states.append(student.state_dict())
        for name, value in states[0].items():
            torch.testing.assert_close(value, states[1][name], rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("method", ["mulki", "snd", "finetune"])
    def test_the_loss_waits_for_no_value(self, make_args, processor, monkeypatch, method):
        trainer = make_trainer(make_args(method=method), processor, previous_model=tiny_model(1))
        trainer.train()
        batch = next(iter(trainer.get_train_dataloader()))
        trainer.model.train()
        # On an accelerator each of these stops until everything before it is computed.
        for name in ("item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__"):
            monkeypatch.setattr(torch.Tensor, name, lambda *_, name=name: pytest.fail(f"Tensor.{name} in a step"))
        trainer.compute_loss(trainer.model, batch)

    def test_fast_paths_are_the_defaults(self, make_args):
        assert tiny_model().config._attn_implementation == "sdpa"
        assert make_args().optim == "adamw_torch_fused" and not make_args().logging_nan_inf_filter

    def test_random_crops_change_what_is_seen(self, make_args, processor):
        seen = {}
        for crop in (0.5, None):
            trainer = make_trainer(make_args(max_steps=8), processor, random_resized_crop=crop)
            # Two epochs of four steps; in the first one the sample is looked at before training.
            first = trainer.features.training_samples()[0]["pixel_values"]
            trainer.train()
            seen[crop] = [first, trainer.train_dataset[0]["pixel_values"]]
        assert not np.array_equal(*seen[0.5])
        assert np.array_equal(*seen[None])

    def test_random_crops_after_a_resume_are_those_of_an_uninterrupted_run(self, make_args, processor, tmp_path):
        """Stopped in the middle of the second epoch, and gone on with in workers."""
        states = []
        for stop in (None, 6):
            args = make_args(max_steps=8, save_strategy="steps", save_steps=6, output_dir=str(tmp_path / f"{stop}"))
            trainer = make_trainer(args, processor, random_resized_crop=0.3)
            if stop:
                trainer.add_callback(StopAt(stop))
                trainer.train()
                args.dataloader_num_workers = 2
                trainer = make_trainer(args, processor, random_resized_crop=0.3)
                trainer.train(resume_from_checkpoint=True)
            else:
                trainer.train()
            assert trainer.state.global_step == 8
            states.append(trainer.model.state_dict())
        for name, value in states[0].items():
            torch.testing.assert_close(value, states[1][name], rtol=0, atol=1e-6)

    def test_another_data_seed_crops_and_pairs_otherwise(self, make_args, processor):
        samples = []
        for seeds in ({}, {"data_seed": 42}, {"data_seed": 7}):
            trainer = make_trainer(make_args(method="snd", **seeds), processor, random_resized_crop=0.3)
            samples.append(trainer.features.training_samples())
        default, same, other = samples
        assert np.array_equal(default.drawn, same.drawn) and not np.array_equal(default.drawn, other.drawn)
        images = [sample[3]["pixel_values"] for sample in samples]
        assert torch.equal(images[0], images[1]) and not torch.equal(images[0], images[2])

    def test_special_tokens_of_a_legacy_config_change_no_feature(self, make_args, processor):
        # Trainer writes the tokenizer's ids into the config; CLIP's older configs say eos_token_id=2.
        student = tiny_model(eos_token_id=2)
        trainer = make_trainer(make_args(method="finetune", learning_rate=0.0), processor, student)
        before = trainer.features.class_features(trainer.model)
        trainer.train()
        reloaded = snapshot(trainer.model).eval()
        assert reloaded.config.text_config.eos_token_id == processor.tokenizer.eos_token_id
        torch.testing.assert_close(trainer.features.class_features(reloaded), before)

    @pytest.mark.parametrize("method", ["mulki", "snd"])
    def test_training_moves_the_student_and_no_teacher(self, make_args, processor, task, method):
        models = {name: tiny_model(seed) for seed, name in enumerate(("model", "original_model", "previous_model"))}
        before = {name: {k: v.clone() for k, v in model.state_dict().items()} for name, model in models.items()}
        reference = rows(["red", "blue"], 4, 5) if method == "snd" else None
        args = make_args(method=method, connecting=False)
        trainer = MulKITrainer(args=args, task=task, processing_class=processor, reference_dataset=reference, **models)
        trainer.train()
        moved = {
            n: {k for k, v in model.state_dict().items() if (v != before[n][k]).any()} for n, model in models.items()
        }
        assert "visual_projection.weight" in moved["model"] and "logit_scale" not in moved["model"]
        assert not moved["original_model"] and not moved["previous_model"]
        teachers = (*models["original_model"].parameters(), *models["previous_model"].parameters())
        assert all(parameter.grad is None for parameter in teachers)


class TestSharing:
    def test_a_task_learned_by_itself_is_pushed_with_our_card(self, hub, hub_env, make_args, processor):
        with connected(hub_env):
            student = tiny_model()
            student.config._name_or_path = "org/tiny"
            settings = {"method": "finetune", "max_steps": 60, "learning_rate": 2e-3}
            args = make_args(hub_model_id="org/colours", license="mit", **settings)
            trainer = make_trainer(args, processor, student)
            before = trainer.evaluate()["eval_accuracy"]
            trainer.train()
            trainer.push_to_hub()
            card = ModelCard.load("org/colours")
        after = trainer.evaluate()["eval_accuracy"]
        assert after > before
        assert f"| zero-shot | {before:.1f}" in card.text and f"| colours   | {after:.1f}" in card.text
        assert card.data.license == "mit" and card.data.base_model == "org/tiny"
        assert "Plain fine-tuning" in card.text and "training procedure" not in card.text.lower()
        assert "model.safetensors" in hub.files("org/colours")


class TestTextChunks:
    def test_evaluation_encodes_the_classes_once(self, make_args, processor, monkeypatch):
        trainer = MulKITrainer(tiny_model(), make_args(per_device_eval_batch_size=2), tiny_task(), processor)
        prompts, seen = trainer.features.prompts["input_ids"].shape, []
        forward = trainer.model.text_model.forward
        monkeypatch.setattr(
            trainer.model.text_model,
            "forward",
            lambda input_ids, **kwargs: seen.append(input_ids.shape) or forward(input_ids=input_ids, **kwargs),
        )
        before = trainer.evaluate()
        batches = len(trainer.get_eval_dataloader())
        # Beside them the single prompt that CLIP's forward insists on, with every batch.
        assert seen.count(prompts) == 1 and len(seen) == 1 + batches > 3
        trainer.train()
        assert trainer.evaluate()["eval_loss"] != before["eval_loss"]

    def test_many_classes_train(self, make_args, processor):
        parts = []
        for chunk in (256, 2):
            args = make_args(text_chunk=chunk, logging_steps=1, output_dir=make_args().output_dir + str(chunk))
            parts.append(losses(MulKITrainer(tiny_model(), args, tiny_task(), processor)))
        assert [p["loss"] for p in parts[0]] == pytest.approx([p["loss"] for p in parts[1]], abs=1e-4)


class TestStageFour:
    def test_final_weights_are_the_mean_over_the_path(self, make_args, processor):
        path = []
        args = make_args(average_every=2, merge_alpha=0.0)
        trainer = make_trainer(args, processor)
        path.append(copy.deepcopy(trainer.model.state_dict()))
        on_step_end = trainer.callback_handler.on_step_end

        def record(args, state, control):
            if state.global_step % 2 == 0:
                path.append(copy.deepcopy(trainer.model.state_dict()))
            return on_step_end(args, state, control)

        trainer.callback_handler.on_step_end = record
        trainer.train()
        assert len(path) == 3
        for name, value in trainer.model.state_dict().items():
            torch.testing.assert_close(value, sum(state[name] for state in path) / 3)

    def test_merge_with_the_previous_weights(self, make_args, processor):
        results = {}
        for alpha in (0.0, 0.25):
            student, previous = tiny_model(), tiny_model(1)
            make_trainer(make_args(merge_alpha=alpha), processor, student, previous_model=previous).train()
            results[alpha] = student.state_dict()
        for name, previous in tiny_model(1).state_dict().items():
            if name != "logit_scale":
                torch.testing.assert_close(results[0.25][name], 0.75 * results[0.0][name] + 0.25 * previous)

    @pytest.mark.parametrize("anchor", ["start", "original"])
    @pytest.mark.parametrize("first", [True, False])
    def test_wise_ft_interpolates_with_its_anchor(self, make_args, processor, anchor, first):
        original, previous = tiny_model(1), tiny_model(2)
        # Where a task begins need be no teacher.
        student, begun = tiny_model(3), tiny_model(3)
        given = {} if first else {"previous_model": previous}
        args = make_args(method="wise_ft", wise_ft_alpha=0.75, wise_ft_anchor=anchor)
        trainer = make_trainer(args, processor, student, original_model=original, **given)
        trained = {}
        trainer.make_connections, connect = (
            lambda: (trained.update(snapshot(student).state_dict()), connect()),
            (trainer.make_connections),
        )
        trainer.train()
        other = (begun if anchor == "start" else original).state_dict()
        for name, value in student.state_dict().items():
            torch.testing.assert_close(value, 0.75 * trained[name] + 0.25 * other[name])

    def test_switched_off(self, make_args, processor):
        student = tiny_model()
        trainer = make_trainer(make_args(connecting=False), processor, student, previous_model=tiny_model(1))
        assert trainer.connections.average is None
        assert trainer.objective.merge is None


class TestBadInput:
    def test_model_is_no_clip(self, make_args, processor):
        tiny = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
        with pytest.raises(
            ConfigurationError,
            match="model must be a CLIPModel, MetaClip2Model, SiglipModel or a PeftModel of one, got BertModel",
        ):
            make_trainer(make_args(), processor, BertModel(BertConfig(vocab_size=10, **tiny)))

    def test_workers_that_would_repeat_the_crops(self, make_args, processor):
        args = make_args(method="finetune", dataloader_persistent_workers=True, dataloader_num_workers=1)
        with pytest.raises(ConfigurationError, match="dataloader_persistent_workers must be False with random_resized"):
            make_trainer(args, processor, random_resized_crop=0.5)

    def test_a_method_that_trains_nothing(self, make_args, processor):
        with pytest.raises(ConfigurationError, match="method 'zero_shot' trains nothing"):
            make_trainer(make_args(method="zero_shot"), processor)

    @pytest.mark.parametrize(
        ("texts", "message"),
        [
            ("captions.txt", "reference_texts must be a list of texts, got the string 'captions.txt'"),
            (["a", " "], "reference_texts, number 1: must be a text, got ' '"),
            (["a", None], "reference_texts, number 1: must be a text, got None"),
        ],
    )
    def test_reference_texts_that_are_none(self, make_args, processor, texts, message):
        with pytest.raises(ConfigurationError, match=message):
            make_trainer(make_args(method="zscl"), processor, reference_texts=texts)

    def test_reference_data_missing_or_not_wanted(self, make_args, processor):
        with pytest.raises(ConfigurationError, match="'snd' needs reference images"):
            make_trainer(make_args(method="snd"), processor, reference_dataset=None)
        with pytest.raises(ConfigurationError, match="'mulki' reads no reference images: remove"):
            make_trainer(make_args(), processor, reference_dataset=rows(["red"], 2, 0))

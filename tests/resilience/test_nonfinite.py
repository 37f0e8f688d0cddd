"""`--on_nonfinite skip`: a step that is not finite is left out, and counted."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file
from support.interrupt import interrupted
from support.launch import two_ranks
from support.tiny import tiny_model, tiny_task
from support.training import trainer_of
from transformers import TrainerCallback

from mulki_hf import MulKIConfig, MulKITrainer, StreamResults
from mulki_hf.errors import ConfigurationError, TrainingError
from mulki_hf.finite import FiniteWatch, LeftOut
from mulki_hf.train import main


NAN, INF = float("nan"), float("inf")


def left_out(odd: set[int], steps: int) -> LeftOut:
    """After `steps` steps of which those in `odd` have a loss that is not finite."""
    watch = FiniteWatch("pets")
    counted = LeftOut(watch)
    for step in range(1, steps + 1):
        watch.see(step, torch.tensor(NAN if step in odd else 1.0), torch.arange(3) + 10 * step)
        assert counted.takes(step, steps, 1.0) == (step in odd)
    return counted


class TestCount:
    def test_losses_and_gradients(self, caplog):
        counted = left_out({2, 4}, 900)
        assert counted.count == 2 and counted.facts() == {"left_out": 2}
        assert "the loss of rows 20, 21, 22 of the training data is not finite at step 2: left out, as 1 of 900" in (
            caplog.text
        )
        assert "rows 40, 41, 42" in caplog.text
        assert counted.takes(7, 900, torch.tensor(INF)) and "the gradient is not finite at step 7" in caplog.text
        assert not counted.takes(8, 900, None)
        assert counted.sentences(1000) == [
            "In task pets 3 of 1,000 steps were left out: the loss or the gradient was not finite (on_nonfinite skip)."
        ]
        assert left_out({2}, 9).sentences(9)[0].startswith("In task pets 1 of 9 steps was left out")
        assert left_out(set(), 9).facts() == {} and left_out(set(), 9).sentences(9) == []

    @pytest.mark.parametrize(
        ("odd", "steps", "why"),
        [
            ({10, 20, 30, 40}, 100, "4 of 100 were left out"),
            (set(range(2, 12 * 40, 40)), 1000, "11 of 1,000 were left out"),
            (set(range(3, 9)), 1000, "5 steps in a row were left out"),
            ({1, 2}, 2, "2 of 2 were left out"),
        ],
    )
    def test_too_many(self, odd, steps, why):
        """At most three or 1 %, five in a row, and never all."""
        with pytest.raises(TrainingError, match=f"task 'pets': the loss of rows .* is not finite .* {why}.* lower lea"):
            left_out(odd, steps)

    def test_as_many_pass(self):
        assert left_out(set(range(2, 10 * 40, 40)), 1000).count == 10
        assert left_out({3, 4, 5, 6}, 400).count == 4

    def test_a_value_that_is_none(self, tmp_path):
        with pytest.raises(ValueError, match="on_nonfinite must be stop or skip, got 'no'"):
            MulKIConfig(output_dir=str(tmp_path), on_nonfinite="no")

    def test_a_damaged_count(self, tmp_path):
        (tmp_path / LeftOut.FILE).write_text("{}")
        with pytest.raises(ConfigurationError, match="left_out.json is damaged"):
            LeftOut(FiniteWatch("pets")).load(tmp_path)


class Odd(TrainerCallback):
    """Makes what comes out of the loss odd in some steps, and remembers weights and optimizer before and after each."""

    def __init__(self, trainer, steps: dict[int, float], where: str = "loss"):
        self.trainer, self.steps, self.where, self.seen = trainer, steps, where, {}
        compute_loss = trainer.compute_loss

        def odd(model, inputs, **kwargs):
            # Before the objective's parts are summed, so that the watch sees it.
            factor = steps.get(trainer.state.global_step + 1, 1.0) if model.training else 1.0
            if where == "loss":
                trainer.objective.factor = factor
            loss = compute_loss(model, inputs, **kwargs)
            if where == "gradient" and factor != 1.0:
                loss.register_hook(lambda gradient: gradient * factor)
            return loss

        trainer.compute_loss = odd
        objective = trainer.objective

        class Factored:
            factor = 1.0
            needs, average_every, relates_images = objective.needs, objective.average_every, objective.relates_images
            needs_prototypes = objective.needs_prototypes

            def __call__(self, batch):
                return {name: value * self.factor for name, value in objective(batch).items()}

        trainer.objective = Factored()
        trainer.add_callback(self)

    def kept(self, optimizer) -> list[torch.Tensor]:
        moments = [value for state in optimizer.state.values() for value in state.values()]
        return [value.detach().clone() for value in [*self.trainer.model.parameters(), *moments]]

    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        self.before = self.kept(optimizer)

    def on_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        after = self.kept(optimizer)
        same = len(after) == len(self.before) and all(map(torch.equal, self.before, after))
        self.seen[state.global_step + 1] = same


SKIP = {"on_nonfinite": "skip", "method": "finetune", "max_steps": 8, "logging_steps": 4}


class TestTraining:
    @pytest.mark.parametrize("where", ["loss", "gradient"])
    @pytest.mark.parametrize("value", [NAN, INF])
    def test_the_step_changes_nothing(self, make_args, processor, where, value):
        """Neither weights nor the optimizer's moments; later steps do, and what is logged is finite."""
        trainer = trainer_of(tiny_model(), make_args(**SKIP), processor)
        odd = Odd(trainer, {1: value, 4: value}, where)
        trainer.train()
        assert [step for step, same in odd.seen.items() if same] == [1, 4] and len(odd.seen) == 8
        logs = [entry for entry in trainer.state.log_history if "loss" in entry]
        assert [entry["left_out"] for entry in logs] == [2, 2]
        assert all(torch.tensor(v).isfinite() for entry in trainer.state.log_history for v in entry.values())
        assert "grad_norm" not in logs[0] and "grad_norm" in logs[1]
        assert logs[0]["loss"] == pytest.approx(logs[0]["loss_task"]) and logs[0]["loss"] > 0.5
        assert trainer.state.global_step == 8 and trainer.left_out.count == 2

    def test_one_of_several_micro_batches(self, make_args, processor):
        settings = SKIP | {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 4, "max_steps": 4}
        trainer = trainer_of(tiny_model(), make_args(**settings), processor)
        objective, calls = trainer.objective, []

        def second(batch):
            calls.append(1)
            return {name: value * (NAN if len(calls) == 3 else 1.0) for name, value in objective(batch).items()}

        trainer.objective = type("Second", (), {"__call__": lambda _, batch: second(batch)})()
        trainer.objective.needs, trainer.objective.average_every = objective.needs, 0
        trainer.objective.relates_images = False
        trainer.train()
        assert trainer.left_out.count == 1 and len(calls) == 8

    def test_without_odd_steps_nothing_changes(self, make_args, processor):
        """The same weights, and the same losses but for rounding."""
        ends = []
        for mode in ("stop", "skip"):
            trainer = trainer_of(tiny_model(), make_args(method="mulki", on_nonfinite=mode), processor)
            trainer.train()
            ends.append((trainer.model.state_dict(), [e for e in trainer.state.log_history if "loss" in e]))
        (first, losses), (second, others) = ends
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert [e["loss"] for e in others] == pytest.approx([e["loss"] for e in losses], rel=1e-5)
        assert all(entry["left_out"] == 0 for entry in others)

    def test_the_device_is_asked_once_a_step(self, make_args, processor, monkeypatch):
        asked, truth = [], torch.Tensor.__bool__
        trainer = trainer_of(tiny_model(), make_args(**SKIP), processor)
        trainer.compute_loss, plain = None, trainer.compute_loss
        trainer.compute_loss = plain

        def noted(value):
            asked.append(value.shape)
            return truth(value)

        takes = trainer.left_out.takes

        def counted(*args):
            with monkeypatch.context() as patch:
                patch.setattr(torch.Tensor, "__bool__", noted)
                patch.setattr(torch.Tensor, "item", lambda value: pytest.fail("waits for the device"))
                patch.setattr(torch.Tensor, "tolist", lambda value: pytest.fail("waits for the device"))
                return takes(*args)

        trainer.left_out.takes = counted
        trainer.train()
        assert len(asked) == 8

    def test_too_many_stop(self, make_args, processor):
        trainer = trainer_of(tiny_model(), make_args(**SKIP), processor)
        Odd(trainer, dict.fromkeys(range(2, 9), NAN))
        with pytest.raises(TrainingError, match="at step 5, and with it 4 of 8 were left out.* won't recover"):
            trainer.train()


def with_odd_steps(monkeypatch, odd: dict[str, dict[int, float]]) -> None:
    """In every trainer of a stream, by a part of its folder's name."""
    init = MulKITrainer.__init__

    def made(self, adaptation, args, *others, **kwargs):
        init(self, adaptation, args, *others, **kwargs)
        for name, steps in odd.items():
            if name in args.output_dir:
                Odd(self, steps)

    monkeypatch.setattr(MulKITrainer, "__init__", made)


class TestStream:
    def test_results_and_card_say_how_many_across_an_interruption(self, stream_yaml, tmp_path, monkeypatch):
        """A step before it, one after it; the end is that of a run without it. One that stopped may go on so."""
        monkeypatch.chdir(tmp_path)
        with_odd_steps(monkeypatch, {"task2": {1: NAN, 4: INF}})
        whole = stream_yaml(output_dir="whole", method="mulki", max_steps=6)
        with pytest.raises(SystemExit, match="error: task 'shapes': .*step 1, rows"):
            main(["--config", str(whole), "--logging_steps", "1"])
        main(["--config", str(whole), "--resume", "--on_nonfinite", "skip"])
        config = stream_yaml(output_dir="out", method="mulki", max_steps=6, on_nonfinite="skip")
        interrupted(config, 3)
        state = json.loads((tmp_path / "out/unfinished/task2-shapes/checkpoint-2/left_out.json").read_text())
        assert state == {"count": 1, "in_a_row": 0}
        main(["--config", str(config), "--resume"])
        for folder in ("whole", "out"):
            results = StreamResults.load(folder)
            assert [task.facts for task in results.tasks] == [{}, {"left_out": 2}]
            said = "In task shapes 2 of 6 steps were left out"
            assert [re.match(said, warning) is not None for warning in results.warnings] == [True]
            assert said in (tmp_path / folder / "task2-shapes/README.md").read_text()
            assert said not in (tmp_path / folder / "task1-colours/README.md").read_text()
        ends = [(tmp_path / folder / "task2-shapes/model.safetensors").read_bytes() for folder in ("whole", "out")]
        assert ends[0] == ends[1]
        assert "on_nonfinite: skip" in (tmp_path / "out/task2-shapes/recipe.yaml").read_text()


def test_a_task_by_itself_says_it_too(make_args, processor, tmp_path):
    trainer = trainer_of(tiny_model(), make_args(**SKIP), processor, tiny_task())
    Odd(trainer, {3: NAN})
    trainer.train()
    trainer.create_model_card()
    assert "In task colours 1 of 8 steps was left out" in (tmp_path / "trainer/README.md").read_text()


ODD = """
import os
from mulki_hf.objectives.finetune import Finetune


class Odd(Finetune):
    '''In the third step what one rank says is not finite; in the loss alone, where no gradient tells the other.'''

    steps = 0

    def __call__(self, batch):
        parts = super().__call__(batch)
        self.steps += batch.image.requires_grad
        if self.steps == 3 and os.environ.get("RANK", "1") == "1":
            parts = {name: value + float("inf") for name, value in parts.items()}
        return parts
"""


@pytest.mark.long
@pytest.mark.xdist_group("ranks")
def test_two_ranks_leave_out_what_one_does(stream_yaml, tmp_path, monkeypatch):
    """One of them met it; the weights are those of one process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "odd.py").write_text(ODD)
    options = ["--method", "odd:Odd", "--on_nonfinite", "skip", "--optim", "sgd", "--learning_rate", "0.1"]
    config = stream_yaml()
    main(["--config", str(config), "--output_dir", "one", *options])
    printed = two_ranks(config, tmp_path / "two", *options, "--per_device_train_batch_size", "4", cwd=tmp_path)
    assert printed.count("is not finite at step 3: left out, as 1 of 4") == 2  # one of each task
    weights = []
    for folder in ("one", "two"):
        results = StreamResults.load(tmp_path / folder)
        assert [task.facts for task in results.tasks] == [{"left_out": 1}] * 2
        weights.append(load_file(tmp_path / folder / "task2-shapes/model.safetensors"))
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], rtol=0, atol=3e-5)

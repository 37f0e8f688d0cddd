"""What is not finite stops training, with the rows that it came from, before anything is written."""

import pytest
import torch
from accelerate import Accelerator
from support.tiny import tiny_model, tiny_task
from support.training import trainer_of
from torch import nn

from mulki_hf import StreamEvaluator
from mulki_hf.adaptation.lora import add_lora
from mulki_hf.errors import TrainingError
from mulki_hf.finite import FiniteWatch
from mulki_hf.train import main


def watched(losses: list[float], size: int = 3) -> FiniteWatch:
    """Steps of `size` rows each, the last one of a single row."""
    watch = FiniteWatch("pets")
    for step, loss in enumerate(losses, start=1):
        rows = torch.arange(size if step < len(losses) else 1) + 10 * step
        watch.see(step, torch.tensor(loss), rows)
    return watch


class TestWatch:
    @pytest.mark.parametrize(
        ("losses", "where"),
        [
            ([1.0, float("nan"), float("inf"), 2.0], "step 2, rows 20, 21, 22 of"),
            ([1.0, 2.0, float("-inf")], "step 3, rows 30 of"),
        ],
    )
    def test_names_the_first_batch(self, losses, where):
        with pytest.raises(TrainingError, match=f"task 'pets': loss is nan at step 4; .* {where}"):
            watched(losses).check_logs({"loss": float("nan")}, 4, scaled=False)

    def test_a_larger_batch_after_a_smaller_one(self):
        watch = FiniteWatch("pets")
        watch.see(1, torch.tensor(1.0), torch.arange(2))
        watch.see(2, torch.tensor(float("nan")), torch.arange(5))
        watch.see(3, torch.tensor(float("nan")), torch.arange(7) + 20)
        with pytest.raises(TrainingError, match="rows 0, 1, 2, 3, 4 of"):
            watch.check_logs({"loss": float("nan")}, 3, scaled=False)

    def test_finite_logs_pass(self):
        watched([1.0, 2.0]).check_logs({"loss": 1.0, "grad_norm": 3.0, "note": "nan"}, 2, scaled=False)

    def test_gradient_norm_where_the_loss_is_scaled(self):
        """In fp16 a step whose gradients overflow is left out."""
        watch = watched([1.0])
        watch.check_logs({"loss": 1.0, "grad_norm": float("inf")}, 1, scaled=True)
        with pytest.raises(TrainingError, match="grad_norm is inf at step 1"):
            watch.check_logs({"loss": 1.0, "grad_norm": float("inf")}, 1, scaled=False)

    def test_weights(self):
        model = nn.Linear(2, 2)
        watch = watched([1.0])
        watch.check_weights(model.named_parameters(), 1)
        with torch.no_grad():
            model.bias[1] = float("nan")
        with pytest.raises(TrainingError, match="a weight is not finite after step 1 .bias."):
            watch.check_weights(model.named_parameters(), 1)


class TestTraining:
    def broken(self, make_args, processor, **settings):
        """A trainer whose objective says NaN for a batch with row 5."""
        trainer = trainer_of(tiny_model(), make_args(method="finetune", max_steps=12, **settings), processor)
        said, objective = [], trainer.objective
        see = trainer.watch.see

        def note(step, loss, rows):
            said.append((step, loss, rows.tolist()))
            see(step, loss, rows)

        def with_nan(batch):
            parts = objective(batch)
            return parts if steps.pop(0) else {name: value * float("nan") for name, value in parts.items()}

        steps = [True, True, False, *[True] * 20]
        trainer.watch.see, trainer.objective = note, type("Broken", (), {"__call__": lambda _, b: with_nan(b)})()
        trainer.objective.needs, trainer.objective.average_every = objective.needs, 0
        trainer.objective.relates_images = False
        return trainer, said

    def test_stops_at_the_next_log(self, make_args, processor):
        trainer, said = self.broken(make_args, processor, logging_steps=4)
        with pytest.raises(TrainingError) as stopped:
            trainer.train()
        _, _, rows = said[2]
        assert "is that of step 3, rows " + ", ".join(map(str, sorted(rows))) + " of" in str(stopped.value)
        assert trainer.state.global_step == 4 and not [e for e in trainer.state.log_history if "loss" in e]

    @pytest.mark.parametrize("save", ["no", "steps"])
    def test_without_a_log_before_weights_are_written(self, make_args, processor, tmp_path, save):
        settings = {"logging_strategy": "no", "save_strategy": save, "save_steps": 2}
        trainer, _ = self.broken(make_args, processor, **settings)
        with pytest.raises(TrainingError, match="a weight is not finite .* of step 3"):
            trainer.train()
        assert trainer.state.global_step == (12 if save == "no" else 4)
        assert not (tmp_path / "trainer/checkpoint-4").exists()

    def test_with_trainers_own_filter(self, make_args, processor):
        trainer, _ = self.broken(make_args, processor, logging_nan_inf_filter=True, logging_steps=4)
        with pytest.raises(TrainingError, match="of step 3"):
            trainer.train()


@pytest.mark.parametrize("lora", [{}, {"lora_r": 2}], ids=["full", "LoRA"])
def test_weights_too_large_to_compute_with(make_args, processor, lora):
    """They are finite, what comes out is not; no later loss can tell."""
    args = make_args(max_steps=1, learning_rate=1e30, lr_scheduler_type="constant", connecting=False, **lora)
    student = add_lora(tiny_model(), args) if lora else tiny_model()
    with pytest.raises(TrainingError, match="not finite after step 1"):
        trainer_of(student, args, processor).train()


def test_a_model_whose_scores_are_not_finite_has_no_accuracy(processor):
    task, model = tiny_task(), tiny_model()
    with torch.no_grad():
        model.visual_projection.weight.fill_(float("inf"))
    evaluate = StreamEvaluator([task], processor, Accelerator(cpu=True))
    with pytest.raises(TrainingError, match="scores of images of task 'colours' are not finite"):
        evaluate(model, 1, "evaluation")


def test_the_command_ends_with_one_line_and_leaves_no_checkpoint(stream_yaml, tmp_path, capsys):
    config = stream_yaml(learning_rate=1e30, save_steps=1)
    with pytest.raises(SystemExit, match="error: task 'colours': .* step .*rows .*lower learning_rate"):
        main(["--config", str(config)])
    assert "Results, pictures and checkpoints" not in capsys.readouterr().out
    assert not list((tmp_path / "out").glob("task*"))
    main(["--config", str(stream_yaml()), "--overwrite"])
    assert (tmp_path / "out/task2-shapes").is_dir()

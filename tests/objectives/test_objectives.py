"""What methods share: the task's loss, distillation, the gate, gradients, and how a new one is made."""

import numpy as np
import pytest
import torch
from support.equations import CLASSES, close, expected_task, numbers

from mulki_hf.objectives import OBJECTIVES, Objective
from mulki_hf.objectives.losses import discrepancy_gate, distillation, task_loss


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_task(batch, make_args, smoothing):
    assert task_loss(batch, smoothing).item() == close(expected_task(batch, smoothing))
    parts = OBJECTIVES["finetune"](make_args(method="finetune", label_smoothing_factor=smoothing))(batch)
    assert {name: value.item() for name, value in parts.items()} == {"task": close(expected_task(batch, smoothing))}


def test_discrepancy_gate():
    points = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    others = torch.tensor([[1.0, 0.0], [0.8, 0.0], [-0.6, -0.8]], dtype=torch.float64)
    # distances 0, 0.2 and 2: sigmoid(-1.2), sigmoid(0), sigmoid(10.8)
    expected = [1 / (1 + np.exp(1.2)), 0.5, 1 / (1 + np.exp(-10.8))]
    assert discrepancy_gate(points, others).tolist() == close(expected)


@pytest.mark.parametrize(
    ("method", "part", "reaches"),
    [
        ("mulki", "task", {"image", "text"}),
        ("mulki", "elicit", {"image", "text"}),
        ("mulki", "names", {"earlier"}),
        ("mulki", "words", {"words"}),
        ("mulki", "feature", {"image"}),
        ("mulki", "views", {"views"}),
        ("snd", "previous", {"reference"}),
        ("snd", "original", {"reference"}),
        ("zscl", "distillation", {"reference"}),
        ("lwf", "distillation", {"image"}),
    ],
)
def test_gradient_reaches_the_student(batch, make_args, method, part, reaches):
    loss = OBJECTIVES[method](make_args(method=method))(batch)[part]
    inputs = {name: getattr(batch, name) for name in ("image", "text", "reference", "earlier", "words", "views")}
    gradients = torch.autograd.grad(loss, list(inputs.values()), allow_unused=True)
    assert {name for name, g in zip(inputs, gradients, strict=True) if g is not None and g.any()} == reaches


def test_distillation_has_the_gradient_of_kl():
    teacher, student = torch.randn(2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    student.requires_grad_()
    ours = torch.autograd.grad(distillation(teacher, student, 2.0).sum(), student)[0]
    p, log_q = (teacher / 2).softmax(-1), (student / 2).log_softmax(-1)
    kl = torch.autograd.grad(4 * (p * (p.log() - log_q)).sum(), student)[0]
    assert numbers(ours) == pytest.approx(numbers(kl), abs=1e-12)
    assert kl.abs().max() > 0.1


class TestNewMethod:
    def test_is_one_class(self, batch, make_args, monkeypatch):
        class Shrink(Objective):
            towers = "text"

            def retention(self, batch):
                return {"shrink": batch.text.square().sum()}

        monkeypatch.setitem(OBJECTIVES, "shrink", Shrink)
        args = make_args(method="shrink")
        objective = OBJECTIVES[args.method](args)
        parts = objective(batch)
        assert args.train_towers == "text"
        assert parts["task"].item() == close(expected_task(batch, 0.0))
        assert parts["shrink"].item() == close(float(CLASSES))  # unit vectors
        assert (objective.average_every, objective.merge, objective.anchor, objective.needs) == (
            0,
            None,
            0.0,
            frozenset(),
        )

    def test_must_say_what_it_keeps(self, make_args):
        with pytest.raises(TypeError, match="retention"):
            type("Nothing", (Objective,), {})(make_args())

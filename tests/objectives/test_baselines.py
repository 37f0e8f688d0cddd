"""ZSCL, LwF, WiSE-FT, joint training and zero-shot against their equations, written out in float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.equations import (
    CLASSES,
    LABELS,
    SCALE,
    ce,
    check_gradient,
    check_halves,
    close,
    expected_mutual,
    expected_task,
    numbers,
)

from mulki_hf.objectives import OBJECTIVES
from mulki_hf.objectives.losses import mutual_distillation, task_loss


def parts_of(batch, make_args, method, **settings):
    return OBJECTIVES[method](make_args(method=method, **settings))(batch)


class TestMutualDistillation:
    @pytest.mark.parametrize("temperature", [1.0, 2.0])
    def test_value_and_gradient(self, batch, temperature):
        images, texts = batch.original.reference, batch.original.texts
        loss = mutual_distillation(images, texts, batch.reference, SCALE, temperature)

        def expected(student):
            return expected_mutual(numbers(images), numbers(texts), student, temperature)

        assert loss.item() == close(expected(numbers(batch.reference)))
        check_gradient(loss, expected, batch.reference)

    def test_nothing_pulls_where_student_and_teacher_agree(self, batch):
        student = batch.original.reference.clone().requires_grad_()
        loss = mutual_distillation(batch.original.reference, batch.original.texts, student, SCALE, 2.0)
        assert torch.autograd.grad(loss, student)[0].abs().max() < 1e-12


class TestZSCL:
    def test_is_task_loss_and_distillation_on_reference_data(self, batch, make_args):
        parts = parts_of(batch, make_args, "zscl", zscl_weight=3.0, zscl_temperature=1.5)
        original = batch.original
        expected = expected_mutual(*map(numbers, (original.reference, original.texts, batch.reference)), 1.5)
        assert {name: part.item() for name, part in parts.items()} == {
            "task": close(expected_task(batch, 0.2)),
            "distillation": close(3 * expected),
        }

    def test_declares_what_happens_to_weights(self, make_args):
        objective = OBJECTIVES["zscl"](make_args(method="zscl"))
        assert (objective.anchor, objective.average_every, objective.merge) == (1.0, 100, None)
        settings = {"zscl_anchor": 0.0, "zscl_average_every": 7, "zscl_texts": 5}
        objective = OBJECTIVES["zscl"](make_args(method="zscl", **settings))
        assert (objective.anchor, objective.average_every, objective.per_step) == (0.0, 7, {"texts": 5})

    def test_smoothing_is_its_own_unless_given(self, batch, make_args):
        assert parts_of(batch, make_args, "zscl")["task"].item() == close(expected_task(batch, 0.2))
        parts = parts_of(batch, make_args, "zscl", label_smoothing_factor=0.0)
        assert parts["task"].item() == close(expected_task(batch, 0.0))


class TestLwF:
    @pytest.mark.parametrize(("texts", "part"), [("current", "text"), ("earlier", "earlier")])
    def test_value_and_gradient(self, batch, make_args, texts, part):
        loss = parts_of(batch, make_args, "lwf", lwf_texts=texts, lwf_weight=2.0)["distillation"]
        taught, anchors = numbers(batch.previous.image), numbers(getattr(batch.previous, part))

        def expected(student):
            return 2 * expected_mutual(taught, anchors, student, 2.0)

        assert loss.item() == close(expected(numbers(batch.image)))
        check_gradient(loss, expected, batch.image)

    def test_without_earlier_tasks_it_is_plain_training(self, batch, make_args):
        first = replace(batch, previous=replace(batch.previous, earlier=torch.empty(0, batch.image.shape[1])))
        parts = parts_of(first, make_args, "lwf", lwf_texts="earlier")
        assert {name: part.item() for name, part in parts.items()} == {"task": close(expected_task(batch, 0.2))}

    @pytest.mark.parametrize("texts", ["current", "earlier"])
    def test_asks_for_the_texts_that_it_reads(self, make_args, texts):
        needs = OBJECTIVES["lwf"](make_args(method="lwf", lwf_texts=texts)).needs
        assert needs == {"previous.image", {"current": "previous.text", "earlier": "previous.earlier"}[texts]}


class TestWiSEFT:
    def test_loss_is_that_of_finetuning(self, batch, make_args):
        parts = parts_of(batch, make_args, "wise_ft")
        assert {name: part.item() for name, part in parts.items()} == {"task": close(expected_task(batch, 0.2))}

    @pytest.mark.parametrize(
        ("settings", "merge"),
        [
            ({}, ("start", close(0.2))),
            ({"wise_ft_alpha": 0.3, "wise_ft_anchor": "original"}, ("original", close(0.7))),
            ({"wise_ft_alpha": 1.0}, None),
        ],
    )
    def test_merge(self, make_args, settings, merge):
        assert OBJECTIVES["wise_ft"](make_args(method="wise_ft", **settings)).merge == merge


class TestJoint:
    @pytest.mark.parametrize("smoothing", [0.0, 0.2])
    def test_each_image_competes_among_the_classes_of_its_own_task(self, batch, smoothing):
        groups = torch.tensor([0, 0, 1, 1, 1])  # classes 0 and 1 are one task's, 2 to 4 another's
        together = replace(batch, groups=groups)
        starts = {0: 0, 1: 2}

        def expected(image):
            values = []
            for v, label in zip(image, LABELS, strict=True):
                group = int(groups[label])
                own = [c for c in range(CLASSES) if groups[c] == group]
                values.append(ce(SCALE * numbers(batch.text)[own] @ v, label - starts[group], smoothing))
            return np.mean(values)

        loss = task_loss(together, smoothing)
        assert loss.item() == close(expected(numbers(batch.image)))
        check_gradient(loss, expected, batch.image)

    def test_learns_all_at_once_and_zero_shot_nothing(self):
        assert {name: OBJECTIVES[name].learns for name in ("joint", "zero_shot", "finetune")} == {
            "joint": "all",
            "zero_shot": "none",
            "finetune": "each",
        }


@pytest.mark.parametrize("method", ["zscl", "lwf"])
def test_decomposes_over_the_batch_but_for_relations_of_texts_to_images(batch, make_args, method):
    """A text relates to the images of its rank alone, as in the official code."""
    with pytest.raises(AssertionError):
        check_halves(OBJECTIVES[method](make_args(method=method)), batch)


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("zscl", {"zscl_weight": -1.0}, "zscl_weight must be >= 0 and finite, got -1.0"),
        ("zscl", {"zscl_anchor": float("inf")}, "zscl_anchor must be >= 0 and finite, got inf"),
        ("zscl", {"zscl_temperature": 0.0}, "zscl_temperature must be > 0 and finite, got 0.0"),
        ("zscl", {"zscl_average_every": -1}, "zscl_average_every must be >= 0, got -1"),
        ("zscl", {"zscl_texts": -5}, "zscl_texts must be >= 0, got -5"),
        ("lwf", {"lwf_weight": float("nan")}, "lwf_weight must be >= 0 and finite, got nan"),
        ("lwf", {"lwf_temperature": -2.0}, "lwf_temperature must be > 0 and finite, got -2.0"),
        ("lwf", {"lwf_texts": "later"}, "lwf_texts must be one of current, earlier, got 'later'"),
        ("wise_ft", {"wise_ft_alpha": 1.2}, r"wise_ft_alpha must be in \[0, 1\], got 1.2"),
        ("wise_ft", {"wise_ft_anchor": "end"}, "wise_ft_anchor must be one of start, original, got 'end'"),
    ],
)
def test_a_setting_out_of_range_is_named(make_args, method, settings, message):
    with pytest.raises(ValueError, match=message):
        make_args(method=method, **settings)

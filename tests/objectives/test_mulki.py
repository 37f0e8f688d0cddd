"""MulKI's four stages against a plain numpy reading of their equations, and what each switch takes away."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.equations import (
    LABELS,
    check_gradient,
    check_halves,
    close,
    expected_elicit,
    expected_feature,
    expected_held,
    expected_task,
    expected_views,
    expected_weights,
    make_batch,
    numbers,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mulki_hf.objectives import OBJECTIVES, FeatureBatch, Prototypes, TeacherFeatures, losses
from mulki_hf.objectives.mulki import TEACHER_WEIGHTINGS, elicit_loss


class TestEquations:
    def test_elicit(self, batch):
        assert elicit_loss(batch, batch.previous.prototypes).item() == close(expected_elicit(batch))

    @pytest.mark.parametrize("kappa", [0.3, 1.0])
    @pytest.mark.parametrize("weighting", TEACHER_WEIGHTINGS)
    def test_weights(self, batch, weighting, kappa):
        weights = torch.stack(TEACHER_WEIGHTINGS[weighting](batch, kappa))
        assert numbers(weights) == close(expected_weights(batch, weighting, kappa))

    @pytest.mark.parametrize("weighting", TEACHER_WEIGHTINGS)
    def test_mulki_is_the_sum_of_its_stages(self, batch, make_args, weighting):
        args = make_args(teacher_weighting=weighting, confidence_temperature=0.7)
        parts = OBJECTIVES["mulki"](args)(batch)
        assert {name: value.item() for name, value in parts.items()} == {
            "task": close(expected_task(batch, 0.0)),
            "elicit": close(0.5 * expected_elicit(batch)),
            "names": close(10 * expected_held(batch.earlier, batch.previous.earlier)),
            "words": close(3 * expected_held(batch.words, batch.original.words)),
            "feature": close(12 * expected_feature(batch, weighting, 0.7)),
            "views": close(4 * expected_views(batch, weighting)),
        }

    @pytest.mark.parametrize(
        ("part", "of", "teacher", "weight"),
        [
            ("names", "earlier", "previous", 10),
            ("words", "words", "original", 3),
            ("feature", "image", None, 12),
            ("views", "views", None, 4),
        ],
    )
    def test_gradients(self, batch, make_args, part, of, teacher, weight):
        loss = OBJECTIVES["mulki"](make_args(teacher_weighting="uniform"))(batch)[part]

        def expected(student):
            if teacher is None:
                others = [numbers(getattr(source, of)) for source in (batch.original, batch.previous)]
                return weight * np.mean([((student - other) ** 2).sum(axis=1).mean() for other in others])
            return weight * ((student - numbers(getattr(getattr(batch, teacher), of))) ** 2).sum(axis=1).mean()

        check_gradient(loss, expected, getattr(batch, of))

    def test_elicit_gradient(self, batch, make_args):
        def expected(image):
            return expected_elicit(replace(batch, image=torch.from_numpy(image)))

        check_gradient(elicit_loss(batch, batch.previous.prototypes), expected, batch.image)


class TestWeights:
    @pytest.mark.parametrize("weighting", [name for name in TEACHER_WEIGHTINGS if name != "absolute"])
    def test_sum_to_one(self, batch, weighting):
        original, previous = TEACHER_WEIGHTINGS[weighting](batch, 0.5)
        assert numbers(original + previous) == close(np.ones(len(LABELS)))

    def test_the_more_confident_teacher_weighs_more(self, batch):
        right = batch.original.prototypes.textual[batch.labels]  # images that lie on their own class
        batch = replace(batch, original=replace(batch.original, image=right))
        original, previous = TEACHER_WEIGHTINGS["confidence"](batch, 0.5)
        assert (original > previous).all()

    def test_absolute_shrinks_where_both_are_wrong(self, batch):
        def facing(sign: float) -> FeatureBatch:
            def turned(teacher: TeacherFeatures) -> TeacherFeatures:
                return replace(teacher, image=sign * teacher.prototypes.textual[batch.labels])

            return replace(batch, original=turned(batch.original), previous=turned(batch.previous))

        right, wrong = (sum(TEACHER_WEIGHTINGS["absolute"](facing(sign), 1.0)) for sign in (1.0, -1.0))
        assert (wrong < 0.01 * right).all()
        assert (right <= 1).all()


class TestSwitches:
    def values(self, batch, make_args, **overrides) -> dict[str, float]:
        return {name: part.item() for name, part in OBJECTIVES["mulki"](make_args(**overrides))(batch).items()}

    @pytest.mark.parametrize(
        ("overrides", "gone"),
        [
            ({"eliciting": False}, "elicit"),
            ({"elicit_weight": 0.0}, "elicit"),
            ({"names_weight": 0.0}, "names"),
            ({"words_weight": 0.0}, "words"),
            ({"feature_weight": 0.0}, "feature"),
            ({"views_weight": 0.0}, "views"),
        ],
    )
    def test_removes_exactly_its_part(self, batch, make_args, overrides, gone):
        full = self.values(batch, make_args)
        assert set(full) == {"task", "elicit", "names", "words", "feature", "views"}
        assert self.values(batch, make_args, **overrides) == {name: full[name] for name in full if name != gone}

    def test_adding_off_holds_no_text(self, batch, make_args):
        assert set(self.values(batch, make_args, adding=False)) == {"task", "elicit", "feature", "views"}

    def test_a_frozen_text_tower_needs_no_holding(self, batch, make_args):
        assert set(self.values(batch, make_args, train_towers="vision")) == {"task", "elicit", "feature", "views"}

    def test_a_frozen_image_tower_needs_no_holding(self, batch, make_args):
        assert set(self.values(batch, make_args, train_towers="text")) == {"task", "elicit", "names", "words"}

    def test_the_first_task_has_no_names_to_hold(self, batch, make_args):
        none = torch.empty(0, batch.image.shape[1])
        first = replace(batch, earlier=none, previous=replace(batch.previous, earlier=none))
        assert set(self.values(first, make_args)) == {"task", "elicit", "words", "feature", "views"}

    def test_distinguishing_off_is_uniform(self, batch, make_args):
        off = self.values(batch, make_args, distinguishing=False)
        assert off == self.values(batch, make_args, teacher_weighting="uniform")
        on = self.values(batch, make_args)
        assert {name for name in on if on[name] != off[name]} == {"feature"}

    @pytest.mark.parametrize("overrides", [{"connecting": False}, {"average_every": 0, "merge_alpha": 0.0}])
    def test_connecting_off_leaves_the_weights_and_the_loss_alone(self, batch, make_args, overrides):
        on, off = (OBJECTIVES["mulki"](make_args(**given)) for given in ({}, overrides))
        assert OBJECTIVES["mulki"](make_args(merge_alpha=0.1)).merge == ("previous", 0.1)
        assert (on.average_every, on.merge) == (10, None)
        assert (off.average_every, off.merge) == (0, None)
        assert self.values(batch, make_args, **overrides) == self.values(batch, make_args)

    def test_all_off_is_finetuning(self, batch, make_args):
        values = self.values(batch, make_args, eliciting=False, adding=False, feature_weight=0.0, views_weight=0.0)
        assert values == {"task": OBJECTIVES["finetune"](make_args(method="finetune"))(batch)["task"].item()}

    def test_a_batch_without_views(self, batch, make_args):
        def without(source):
            return replace(source, views=torch.empty(0, batch.image.shape[1], dtype=batch.image.dtype))

        batch = replace(without(batch), original=without(batch.original), previous=without(batch.previous))
        assert OBJECTIVES["mulki"](make_args())(batch)["views"].item() == 0


class TestInvariants:
    @pytest.mark.parametrize("weighting", TEACHER_WEIGHTINGS)
    def test_mulki_decomposes_over_the_batch(self, batch, make_args, weighting):
        check_halves(OBJECTIVES["mulki"](make_args(teacher_weighting=weighting)), batch)

    def test_a_perfect_student_pays_nothing_for_features(self, batch, make_args):
        batch = replace(batch, image=batch.original.image, previous=batch.original)
        assert OBJECTIVES["mulki"](make_args())(batch)["feature"].item() == 0

    def test_single_precision_and_large_scale_stay_finite(self, make_args):
        def single(thing):
            if isinstance(thing, torch.Tensor):
                return thing.detach().float() if thing.is_floating_point() else thing
            if isinstance(thing, (TeacherFeatures, Prototypes, FeatureBatch)):
                return type(thing)(**{name: single(value) for name, value in vars(thing).items()})
            return thing

        batch = replace(single(make_batch()), logit_scale=100.0)
        for weighting in TEACHER_WEIGHTINGS:
            args = make_args(teacher_weighting=weighting, confidence_temperature=0.01)
            for value in OBJECTIVES["mulki"](args)(batch).values():
                assert value.dtype == torch.float32 and value.isfinite()


class Made(TorchDispatchMode):
    """Numbers of elements of all tensors that are made inside the block, by both passes."""

    def __init__(self):
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **kwargs or {})
        self.sizes += [tensor.numel() for tensor in tree_leaves(result) if isinstance(tensor, torch.Tensor)]
        return result


class TestManyClasses:
    """Stage 1 relates classes to classes."""

    CLASSES = 150

    @pytest.fixture
    def many(self, monkeypatch) -> FeatureBatch:
        """A later task's batch; the square of its classes is more than may be held at a time."""
        monkeypatch.setattr(losses, "LOGITS_AT_A_TIME", 20 * self.CLASSES, raising=False)
        generator = torch.Generator().manual_seed(0)

        def unit(rows: int) -> torch.Tensor:
            points = torch.randn(rows, 8, dtype=torch.float64, generator=generator)
            return torch.nn.functional.normalize(points, dim=-1)

        def teacher() -> TeacherFeatures:
            classes = torch.arange(0, self.CLASSES, 2)
            prototypes = Prototypes(unit(self.CLASSES), unit(len(classes)), classes)
            return TeacherFeatures(unit(4), unit(2), prototypes, earlier=unit(3), words=unit(3), views=unit(2))

        student = [unit(rows).requires_grad_() for rows in (4, self.CLASSES, 2, 3, 3, 2)]
        teachers = {"original": teacher(), "previous": teacher()}
        return FeatureBatch(torch.tensor([0, 4, 8, 8]), 7.0, *student, views_share=0.5, **teachers)

    def test_no_matrix_of_classes_by_classes_is_made(self, many, make_args):
        with Made() as made:
            sum(OBJECTIVES["mulki"](make_args())(many).values()).backward()
        assert max(made.sizes) <= 20 * self.CLASSES

    def test_parts_change_neither_loss_nor_gradient(self, many, make_args, monkeypatch):
        objective, found = OBJECTIVES["mulki"](make_args()), []
        for limit in (20 * self.CLASSES, 1, self.CLASSES**2):
            monkeypatch.setattr(losses, "LOGITS_AT_A_TIME", limit)
            parts = objective(many)
            gradients = torch.autograd.grad(sum(parts.values()), (many.image, many.text))
            found.append([*map(numbers, parts.values()), *map(numbers, gradients)])
        for other in found[:2]:
            for ours, whole in zip(other, found[2], strict=True):
                assert ours == pytest.approx(whole, rel=1e-10, abs=1e-14)

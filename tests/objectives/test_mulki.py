"""MulKI's four stages against a plain numpy reading of their equations, and what each switch takes away."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.equations import (
    LABELS,
    check_halves,
    close,
    expected_distil,
    expected_elicit,
    expected_relation,
    expected_task,
    expected_weights,
    make_batch,
    numbers,
)

from mulki_hf.objectives import OBJECTIVES, FeatureBatch, Prototypes, TeacherFeatures
from mulki_hf.objectives.mulki import TEACHER_WEIGHTINGS, elicit_loss, relation_loss


class TestEquations:
    def test_elicit(self, batch):
        assert elicit_loss(batch, batch.previous.prototypes).item() == close(expected_elicit(batch))

    @pytest.mark.parametrize("temperature", [1.0, 2.0])
    def test_relation(self, batch, temperature):
        values = relation_loss(batch, batch.original, temperature)
        assert numbers(values) == close(expected_relation(batch, batch.original, temperature))

    @pytest.mark.parametrize("kappa", [0.3, 1.0])
    @pytest.mark.parametrize("weighting", TEACHER_WEIGHTINGS)
    def test_weights(self, batch, weighting, kappa):
        weights = torch.stack(TEACHER_WEIGHTINGS[weighting](batch, kappa))
        assert numbers(weights) == close(expected_weights(batch, weighting, kappa))

    @pytest.mark.parametrize("weighting", TEACHER_WEIGHTINGS)
    def test_mulki_is_the_sum_of_its_stages(self, batch, make_args, weighting):
        args = make_args(teacher_weighting=weighting, confidence_temperature=0.7)
        relation, feature = expected_distil(batch, args, weighting)
        parts = OBJECTIVES["mulki"](args)(batch)
        assert {name: value.item() for name, value in parts.items()} == {
            "task": close(expected_task(batch, 0.0)),
            "elicit": close(0.5 * expected_elicit(batch)),
            "relation": close(relation),
            "feature": close(feature),
        }


class TestWeights:
    @pytest.mark.parametrize("weighting", ["confidence", "discrepancy", "uniform"])
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
            ({"adding": False}, "relation"),
            ({"relation_weight": 0.0}, "relation"),
            ({"feature_weight": 0.0}, "feature"),
        ],
    )
    def test_removes_exactly_its_part(self, batch, make_args, overrides, gone):
        full = self.values(batch, make_args)
        assert set(full) == {"task", "elicit", "relation", "feature"}
        assert self.values(batch, make_args, **overrides) == {name: full[name] for name in full if name != gone}

    def test_distinguishing_off_is_uniform(self, batch, make_args):
        off = self.values(batch, make_args, distinguishing=False)
        assert off == self.values(batch, make_args, teacher_weighting="uniform")
        on = self.values(batch, make_args)
        assert {name for name in on if on[name] != off[name]} == {"relation", "feature"}

    @pytest.mark.parametrize("overrides", [{"connecting": False}, {"average_every": 0, "merge_alpha": 0.0}])
    def test_connecting_off_leaves_the_weights_and_the_loss_alone(self, batch, make_args, overrides):
        on, off = (OBJECTIVES["mulki"](make_args(**given)) for given in ({}, overrides))
        assert (on.average_every, on.merge) == (10, ("previous", 0.1))
        assert (off.average_every, off.merge) == (0, None)
        assert self.values(batch, make_args, **overrides) == self.values(batch, make_args)

    def test_all_off_is_finetuning(self, batch, make_args):
        values = self.values(batch, make_args, eliciting=False, adding=False, feature_weight=0.0)
        assert values == {"task": OBJECTIVES["finetune"](make_args(method="finetune"))(batch)["task"].item()}


class TestInvariants:
    @pytest.mark.parametrize("weighting", TEACHER_WEIGHTINGS)
    def test_mulki_decomposes_over_the_batch(self, batch, make_args, weighting):
        check_halves(OBJECTIVES["mulki"](make_args(teacher_weighting=weighting)), batch)

    def test_a_perfect_student_pays_nothing_for_features(self, batch, make_args):
        batch = replace(batch, image=batch.original.image, previous=batch.original)
        assert OBJECTIVES["mulki"](make_args())(batch)["feature"].item() == 0

    def test_relation_is_least_at_the_teacher(self, batch):
        teacher = batch.original
        image, text = (t.clone().requires_grad_() for t in (teacher.image, teacher.prototypes.textual))
        at_teacher = relation_loss(replace(batch, image=image, text=text), teacher, 2.0)
        assert (at_teacher < relation_loss(batch, teacher, 2.0)).all()
        for gradient in torch.autograd.grad(at_teacher.sum(), (image, text)):
            assert gradient.abs().max() < 1e-12

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

"""The whole model: its merge with a teacher against the plain formula."""

import pytest
import torch
from support.layers import copied, make_model
from support.tiny import tiny_model

from mulki_hf.adaptation.full import FullModel, merge_weights


class TestMerge:
    @pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
    def test_formula_on_trainable_weights_only(self, alpha):
        model, other = make_model(0), make_model(1)
        before, others = copied(model), copied(other)
        merge_weights(model, other, alpha)
        for name, value in model.state_dict().items():
            share = alpha if name.startswith("0.") else 0.0
            torch.testing.assert_close(value, (1 - share) * before[name] + share * others[name])
        torch.testing.assert_close(copied(other), others, rtol=0, atol=0)

    def test_takes_a_teacher_of_another_precision(self):
        model, other = make_model(0), make_model(1).double()
        expected = 0.5 * model[0].weight.detach() + 0.5 * other[0].weight.detach().float()
        merge_weights(model, other, 0.5)
        torch.testing.assert_close(model[0].weight.detach(), expected)
        assert model[0].weight.dtype == torch.float32

    @pytest.mark.parametrize("alpha", [-0.01, 1.0, float("nan")])
    def test_bounds_of_alpha(self, make_args, alpha):
        with pytest.raises(ValueError, match=rf"merge_alpha must be in \[0, 1\), got {alpha}"):
            make_args(merge_alpha=alpha)


class TestConnect:
    def test_writes_the_average_into_the_trained_weights_alone(self, make_args):
        full = FullModel(tiny_model(), make_args(train_towers="vision"))
        before = copied(full.student)
        average = {name: torch.full_like(value, 0.5) for name, value in full.weights()}
        full.connect(average, None, 0.0)
        for name, value in full.student.state_dict().items():
            vision = name.startswith(("vision_model", "visual_projection"))
            assert torch.equal(value, torch.full_like(value, 0.5) if vision else before[name])

"""How a task is trained: bounds of every field, and what follows from a method."""

import math
import pickle

import pytest
import torch
from support.hub import SECRET


STRENGTHS = ("elicit_weight", "names_weight", "words_weight", "feature_weight", "views_weight")


class TestMethods:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *((name, -0.5) for name in STRENGTHS),
            *((name, float("nan")) for name in STRENGTHS),
            ("average_every", -1),
            ("names_per_step", 0),
            ("words_per_step", 0),
            ("confidence_temperature", -1.0),
            ("merge_alpha", 1.0),
            ("merge_alpha", -0.1),
            ("teacher_weighting", "loudest"),
            ("snd_previous_weight", -9.0),
            ("snd_original_weight", float("nan")),
            ("reference_per_sample", 0),
            ("views_per_sample", 0.0),
            ("views_per_sample", 1e3),
            ("snd_gate", "both"),
            ("label_smoothing_factor", 1.0),
            ("learning_rate", -1e-5),
            ("method", "magic"),
            ("train_towers", "leaning"),
        ],
    )
    def test_out_of_range_names_field_and_value(self, make_args, name, value):
        with pytest.raises(ValueError, match=rf"{name} must be .*{value}"):
            make_args(**{name: value})

    def test_bounds_themselves_are_allowed(self, make_args):
        args = make_args(merge_alpha=0.0, average_every=0, elicit_weight=0.0, reference_per_sample=1)
        assert (args.merge_alpha, args.average_every, args.elicit_weight, args.reference_per_sample) == (0, 0, 0, 1)

    @pytest.mark.parametrize(("method", "towers"), [("mulki", "both"), ("snd", "vision"), ("finetune", "both")])
    def test_towers_default_to_the_methods_own(self, make_args, method, towers):
        assert make_args(method=method).train_towers == towers
        assert make_args(method=method, train_towers="text").train_towers == "text"


class TestTrainer:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("method", "no-such"),
            ("train_towers", "left"),
            ("elicit_weight", -1),
            ("feature_weight", math.inf),
            ("per_device_train_batch_size", 0),
            ("merge_alpha", 1.0),
            ("label_smoothing_factor", 1.5),
            ("teacher_weighting", "loudest"),
            ("reference_per_sample", 0),
            ("average_every", -3),
        ],
    )
    def test_out_of_range_names_field_and_value(self, make_args, field, value):
        with pytest.raises(ValueError, match=rf"{field} must be .*{value}"):
            make_args(**{field: value})

    @pytest.mark.parametrize(("field", "value"), [("remove_unused_columns", True), ("hub_strategy", "all_checkpoints")])
    def test_unsupported_trainer_features_are_refused(self, make_args, field, value):
        with pytest.raises(ValueError, match=field):
            make_args(**{field: value})


@pytest.mark.parametrize("method", ["mulki", "snd"])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataloader_persistent_workers": True, "dataloader_num_workers": 1}, "would repeat its pairing"),
        ({"accelerator_config": {"dispatch_batches": True}}, "dispatch_batches must be left out, got True"),
    ],
)
def test_what_would_part_images_from_those_beside_them(make_args, method, settings, message):
    make_args(method="finetune", **settings)
    make_args(method="mulki", views_weight=0.0, **settings)
    with pytest.raises(ValueError, match=message):
        make_args(method=method, **settings)


def test_pickled_arguments_hold_no_token(make_args, tmp_path):
    args = make_args(hub_token=SECRET)
    torch.save(args, tmp_path / "training_args.bin")
    assert SECRET.encode() not in (tmp_path / "training_args.bin").read_bytes()
    assert (args.hub_token, pickle.loads(pickle.dumps(args)).learning_rate) == (SECRET, args.learning_rate)

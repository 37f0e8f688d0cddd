"""What Trainer's settings may be."""

import dataclasses

import pytest
from support.training import short_run, trainer_of
from transformers import TrainingArguments

from mulki_hf.config.limits import AT_LEAST_ONE, CHOICES, NOT_NEGATIVE, SEEDS, UNSUPPORTED


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("use_liger_kernel", True),
        ("neftune_noise_alpha", 5.0),
        ("include_num_input_tokens_seen", "all"),
        ("label_names", ["x"]),
        ("batch_eval_metrics", True),
        ("deepspeed", {"zero_optimization": {}}),
        ("fsdp", True),
        ("fsdp_config", {"min_num_params": 1}),
    ],
)
def test_what_the_trainer_can_not_do(make_args, field, value):
    with pytest.raises(ValueError, match=f"{field} must be left out or .*got .*: "):
        make_args(**{field: value})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": -1}, r"seed must be in \[0, 2\*\*32\), got -1"),
        ({"data_seed": 2**40}, r"data_seed must be in \[0, 2\*\*32\), got 1099511627776"),
        ({"weight_decay": -0.1}, "weight_decay must be >= 0 and finite, got -0.1"),
        ({"max_grad_norm": float("nan")}, "max_grad_norm must be >= 0 and finite, got nan"),
        ({"eval_accumulation_steps": 0}, "eval_accumulation_steps must be >= 1, got 0"),
        ({"dataloader_num_workers": -1}, "dataloader_num_workers must be >= 0 and finite, got -1"),
        ({"num_train_epochs": float("inf")}, "num_train_epochs must be finite, got inf"),
        ({"train_sampling_strategy": "group_by_length"}, "train_sampling_strategy must be one of random, sequential"),
        ({"log_level": "loud"}, "log_level must be one of .*got 'loud'"),
        ({"lr_scheduler_type": "wave"}, "lr_scheduler_type must be one of .*got 'wave'"),
        ({"ddp_backend": "pigeon"}, "ddp_backend must be one of .*got 'pigeon'"),
        ({"torch_compile_backend": "x"}, "torch_compile_backend must be one of .*got 'x'"),
        ({"torch_compile_mode": "x"}, "torch_compile_mode must be one of .*got 'x'"),
        ({"dataloader_multiprocessing_context": "x"}, "dataloader_multiprocessing_context must be one of .*got 'x'"),
        (
            {"dataloader_persistent_workers": True, "dataloader_num_workers": 0, "method": "finetune"},
            "dataloader_persistent_workers needs dataloader_num_workers > 0",
        ),
        ({"accelerator_config": {"x": 1}}, "accelerator_config has no 'x', only .*even_batches"),
        ({"accelerator_config": "nowhere.json"}, "accelerator_config must be a mapping or a JSON file"),
        ({"activation_checkpointing_kwargs": {"x": 1}}, "activation_checkpointing_kwargs has no .x., only"),
        ({"lr_scheduler_kwargs": "x"}, "lr_scheduler_kwargs must be a mapping, got 'x'"),
        ({"lr_scheduler_kwargs": {"x": 1}}, "'cosine' can't be made with lr_scheduler_kwargs {'x': 1}"),
        ({"lr_scheduler_type": "warmup_stable_decay"}, "'warmup_stable_decay' can't be made with .*num_decay_steps"),
        ({"adam_beta1": 1.5}, "optim 'adamw_torch_fused' can't be made with .*adam_beta1 1.5"),
        ({"optim_args": "x"}, "optim 'adamw_torch_fused' can't be made with optim_args 'x'"),
        ({"save_strategy": "best"}, "save_strategy 'best' needs metric_for_best_model"),
        ({"report_to": "pigeon"}, "report_to must be of .*got 'pigeon'"),
        ({"output_dir": "a\0b"}, r"output_dir must be one line .*'\\x00'"),
    ],
)
def test_refused_before_training(make_args, settings, message):
    with pytest.raises(ValueError, match=message):
        make_args(**settings)


def test_uneven_batches_on_several_ranks(make_args, monkeypatch):
    uneven = {"accelerator_config": {"even_batches": False}}
    assert not make_args(**uneven).accelerator_config.even_batches
    monkeypatch.setattr(TrainingArguments, "world_size", 2)
    with pytest.raises(ValueError, match="even_batches must be True on 2 ranks, got False"):
        make_args(**uneven)


def test_limits_are_of_fields_that_there_are():
    known = {field.name for field in dataclasses.fields(TrainingArguments)}
    assert {*UNSUPPORTED, *CHOICES, *NOT_NEGATIVE, *AT_LEAST_ONE, *SEEDS} <= known


@pytest.mark.parametrize(
    "settings",
    [
        {"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": '{"num_decay_steps": 2}'},
        {"optim": "adafactor", "train_sampling_strategy": "sequential"},
        {"activation_checkpointing": True, "activation_checkpointing_kwargs": {"use_reentrant": False}},
        {"eval_use_gather_object": True, "eval_accumulation_steps": 1, "torch_empty_cache_steps": 1},
    ],
)
def test_what_is_not_refused_trains(model, processor, tmp_path, settings):
    trainer = trainer_of(model, short_run(tmp_path, max_steps=1, **settings), processor)
    trainer.train()
    assert "eval_accuracy" in trainer.evaluate()

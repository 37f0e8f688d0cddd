"""What a launcher asks for through the environment, beside the options."""

import pytest

from mulki_hf.train import main


@pytest.mark.parametrize(
    ("environment", "options", "message"),
    [
        ({"ACCELERATE_USE_FSDP": "true"}, {}, "ACCELERATE_USE_FSDP: the launcher asks for FSDP: .*use DDP"),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}, {}, "get_input_embeddings.*0-D logit scale"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, {}, "the launcher asks for DeepSpeed: .*use DDP"),
        ({"ACCELERATE_USE_MEGATRON_LM": "1"}, {}, "the launcher asks for Megatron-LM: the model runs whole"),
        (
            {"ACCELERATE_USE_PARALLELISM_CONFIG": "true", "PARALLELISM_CONFIG_TP_SIZE": "2"},
            {},
            "the launcher asks for a parallelism_config: the model runs whole",
        ),
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, {}, "the launcher says 'bf16', and the options.*--bf16 true"),
        ({"ACCELERATE_MIXED_PRECISION": "fp8"}, {}, "the launcher says 'fp8', .*--bf16 true"),
        ({"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, {}, "says 'inductor', .*--torch_compile_backend inductor"),
        (
            {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"},
            {"gradient_accumulation_steps": 2},
            "the environment says 4 .*, and the options, which count, 2",
        ),
    ],
)
def test_refused_before_training(make_args, monkeypatch, environment, options, message):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        make_args(**options)


@pytest.mark.parametrize(
    ("environment", "options"),
    [
        ({"ACCELERATE_USE_FSDP": "false", "ACCELERATE_USE_DEEPSPEED": "False"}, {}),
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, {"bf16": True}),
        ({"ACCELERATE_MIXED_PRECISION": "no"}, {"bf16": True}),
        ({"ACCELERATE_DYNAMO_BACKEND": "NO"}, {}),
        ({"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, {"torch_compile_backend": "inductor"}),
        ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "1"}, {"gradient_accumulation_steps": 2}),
        ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "2"}, {"gradient_accumulation_steps": 2}),
    ],
)
def test_what_the_options_say_too(make_args, monkeypatch, environment, options):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert make_args(**options).mixed_precision == ("bf16" if options.get("bf16") else "no")


def test_the_command_says_so(stream_yaml, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(SystemExit, match="error: .*the launcher asks for FSDP"):
        main(["--config", str(stream_yaml())])
    assert not (tmp_path / "out").exists()

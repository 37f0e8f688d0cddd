"""A student whose file has half precision is trained in fp32."""

import logging

import pytest
import torch
from support.tiny import tiny_model
from support.training import trainer_of

from mulki_hf.adaptation.lora import add_lora
from mulki_hf.adaptation.precision import in_fp32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("autocast", [False, True], ids=["fp32", "bf16"])
def test_learns_what_its_fp32_twin_learns(make_args, processor, caplog, dtype, autocast):
    """With weights in bf16 most steps would be lost to rounding; without autocast it would not even begin."""
    states, start = [], tiny_model().to(dtype).float().state_dict()
    for student in (tiny_model().to(dtype), tiny_model().to(dtype).float()):
        trainer_of(student, make_args(bf16=autocast, connecting=False), processor).train()
        assert student.dtype == torch.float32
        states.append(student.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    trained = [(value, start[name]) for name, value in states[0].items() if name != "logit_scale"]
    moved = sum((value != before).sum().item() for value, before in trained)
    assert moved > 0.5 * sum(value.numel() for value, _ in trained)
    assert "weights are " + str(dtype).removeprefix("torch.") in caplog.text


def test_as_from_pretrained_gives_it(make_args, processor, tmp_path):
    """The configuration says bf16 as well."""
    tiny_model().to(torch.bfloat16).save_pretrained(tmp_path / "half")
    student = type(tiny_model()).from_pretrained(tmp_path / "half")
    assert student.dtype == torch.bfloat16
    trainer = trainer_of(student, make_args(), processor)
    assert trainer.adaptation.teachers["original"].model.visual_projection.weight.dtype == torch.float32
    trainer.train()
    assert student.dtype == torch.float32


def test_with_adapters(make_args, processor):
    args = make_args(lora_r=2)
    student = add_lora(tiny_model().to(torch.bfloat16), args)
    trainer_of(student, args, processor).train()
    assert {p.dtype for p in student.parameters()} == {torch.float32}


def test_one_in_fp32_stays_as_it_is(caplog):
    model = tiny_model()
    with caplog.at_level(logging.INFO):
        assert in_fp32(model) is model
    assert not caplog.text

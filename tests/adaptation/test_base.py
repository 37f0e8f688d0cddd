"""A new adaptation is one class: what it has to say for itself, and what it gets without saying anything."""

import pytest
import torch
from support.tiny import tiny_model
from transformers import CLIPModel

from mulki_hf import StreamConfig, adaptation
from mulki_hf.adaptation import ADAPTATIONS, Adaptation
from mulki_hf.adaptation.adapters import both_towers
from mulki_hf.adaptation.teacher import Teacher
from mulki_hf.config.parser import parse
from mulki_hf.train import main, run


class Biases(Adaptation):
    """Trains nothing but biases."""

    name = "biases"

    def __init__(self, model, args, original=None, previous=None):
        self.student = model
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.endswith("bias"))
        teacher = Teacher("original", original)
        self.teachers = {"original": teacher, "previous": previous and Teacher("previous", previous) or teacher}

    @classmethod
    def takes(cls, model):
        return isinstance(model, CLIPModel)

    @classmethod
    def start(cls, load, args, before):
        return cls(load(before), args, load, before and (lambda: load(before)))

    def finish(self):
        return self.student

    def facts(self):
        return {"biases": sum(p.requires_grad for p in self.student.parameters())}

    @classmethod
    def note(cls, args, facts):
        return f"{facts['biases']} biases."


@pytest.fixture(autouse=True)
def among_the_others(monkeypatch):
    monkeypatch.setattr(adaptation, "ADAPTATIONS", (Biases, *ADAPTATIONS))


def test_trains_a_stream(stream_yaml, tmp_path):
    stream, config = parse(["--config", str(stream_yaml(connecting=False))])
    assert isinstance(stream, StreamConfig)
    results = run(stream, config)
    count = sum(name.endswith("bias") for name, _ in tiny_model().named_parameters())
    assert [task.facts for task in results.tasks] == [{"biases": count}] * 2
    assert results.tasks[1].note == f"{count} biases."
    start, end = tiny_model(), CLIPModel.from_pretrained(tmp_path / "out/task2-shapes")
    moved = {name for name, value in end.named_parameters() if not torch.equal(value, start.get_parameter(name))}
    assert moved and all(name.endswith("bias") for name in moved)
    assert not torch.equal(both_towers(end.eval()), both_towers(start.eval()))


def test_stage_4_is_refused_before_anything_is_written(stream_yaml, tmp_path):
    with pytest.raises(SystemExit, match="biases can't be averaged.*--no_connecting"):
        main(["--config", str(stream_yaml())])
    assert not (tmp_path / "out").exists()

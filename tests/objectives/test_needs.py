"""A method's needs are declared: nothing else is computed, and nothing else can be read."""

from typing import ClassVar

import pytest
import torch
from support.tiny import rows, tiny_model, tiny_task

from mulki_hf import ConfigurationError, MulKITrainer
from mulki_hf.objectives import OBJECTIVES, FeatureBatch, Objective, TeacherFeatures
from mulki_hf.objectives.batch import PATHS, TEACHERS, UndeclaredNeed


class Reads(Objective):
    """Reads what `path` says, whether it declares it or not."""

    path: ClassVar[str]

    def retention(self, batch):
        value = batch
        for name in self.path.split("."):
            value = getattr(value, name)
        return {"read": (value.textual if "prototypes" in self.path else value).sum() * 0}


def method(monkeypatch, path: str, needs: set[str]) -> None:
    monkeypatch.setitem(OBJECTIVES, "reads", type("Method", (Reads,), {"path": path, "needs": frozenset(needs)}))


def trainer(make_args, processor, **kwargs) -> MulKITrainer:
    models = {"original_model": tiny_model(1), "previous_model": tiny_model(2)}
    args, task = make_args(method="reads", **kwargs.pop("args", {})), tiny_task(per_class=2)
    return MulKITrainer(tiny_model(), args, task, processor, **models, **kwargs)


@pytest.fixture
def reference():
    return rows(["red", "blue"], 5, seed=9).select_columns(["image"])


class TestInTraining:
    @pytest.mark.parametrize("cached", [True, False])
    @pytest.mark.parametrize("path", sorted(PATHS))
    def test_what_is_declared_is_there(self, make_args, processor, monkeypatch, reference, path, cached):
        method(monkeypatch, path, {path})
        given = {"reference_dataset": reference} if "reference" in path else {}
        given |= {"reference_texts": ["red"]} if "texts" in path else {}
        trainer(make_args, processor, args={"cache_teachers": cached, "max_steps": 1}, **given).train()

    @pytest.mark.parametrize("cached", [True, False])
    @pytest.mark.parametrize("path", sorted(PATHS))
    def test_what_is_not_is_named(self, make_args, processor, monkeypatch, reference, path, cached):
        """Also beside other parts, of the same teacher or of the same kind."""
        others = {"reference", "original.image", "previous.reference", "previous.prototypes"} - {path}
        method(monkeypatch, path, others)
        given = {"reference_dataset": reference} if any("reference" in other for other in others) else {}
        with pytest.raises(UndeclaredNeed, match=f"reads '{path}' of the batch, which its `needs` do not name"):
            trainer(make_args, processor, args={"cache_teachers": cached, "max_steps": 1}, **given).train()

    def test_teachers_nobody_asks_are_never_loaded(self, make_args, processor, monkeypatch):
        method(monkeypatch, "original.image", {"original.image"})
        args = make_args(method="reads", max_steps=1)
        MulKITrainer(
            tiny_model(), args, tiny_task(), processor, original_model=tiny_model(1),
            previous_model=lambda: pytest.fail("loaded"),
        ).train()  # fmt: skip

    def test_reference_images_by_declaration(self, make_args, processor, monkeypatch, reference):
        method(monkeypatch, "original.image", {"original.image"})
        with pytest.raises(ConfigurationError, match="reads no reference images: remove reference_dataset"):
            trainer(make_args, processor, reference_dataset=reference)
        with pytest.raises(ConfigurationError, match="reads no reference texts: remove reference_texts"):
            trainer(make_args, processor, reference_texts=["red"])
        method(monkeypatch, "reference", {"reference"})
        with pytest.raises(ConfigurationError, match="needs reference images: set reference_dataset"):
            trainer(make_args, processor)
        method(monkeypatch, "original.texts", {"original.texts"})
        with pytest.raises(ConfigurationError, match="needs reference texts: set reference_texts"):
            trainer(make_args, processor)


def test_a_typing_error_in_needs_is_found_with_the_arguments(make_args, monkeypatch):
    method(monkeypatch, "original.image", {"orignal.image"})
    with pytest.raises(TypeError, match=r"'reads' needs unknown orignal\.image; known are earlier, original\.earlier"):
        make_args(method="reads")


@pytest.mark.parametrize("whose", ["original", "previous"])
def test_needs_may_depend_on_a_setting(make_args, processor, monkeypatch, whose):
    class Either(Objective):
        def __init__(self, args):
            super().__init__(args)
            self.needs = frozenset({f"{args.run_name}.image"})

        def retention(self, batch):
            return {"there": getattr(batch, whose).image.sum() * 0}

    monkeypatch.setitem(OBJECTIVES, "reads", Either)
    loaded = {role: (lambda: tiny_model(1)) if role == whose else lambda: pytest.fail("loaded") for role in TEACHERS}
    args = make_args(method="reads", max_steps=1, run_name=whose)
    models = {f"{role}_model": load for role, load in loaded.items()}
    MulKITrainer(tiny_model(), args, tiny_task(), processor, **models).train()


def test_a_batch_can_be_printed():
    image = torch.zeros(2, 3)
    assert "labels" in repr(FeatureBatch(torch.tensor([0, 1]), 1.0, image, image))


def test_a_batch_by_hand():
    image = torch.zeros(2, 3)
    batch = FeatureBatch(torch.tensor([0, 1]), 1.0, image, image, original=TeacherFeatures(image, role="original"))
    assert batch.original.image is image
    for path in ("reference", "original.prototypes", "previous.image"):
        with pytest.raises(UndeclaredNeed, match=f"'{path}'"):
            value = batch
            for name in path.split("."):
                value = getattr(value, name)


class TestAnchor:
    """The squared distance to the weights at the task's start, which no loss can see."""

    class Anchored(Objective):
        anchor = 0.5

        def retention(self, batch):
            return {}

    @pytest.mark.parametrize("lora", [False, True])
    def test_is_logged_and_holds_back(self, make_args, processor, monkeypatch, tmp_path, lora):
        monkeypatch.setitem(OBJECTIVES, "anchored", self.Anchored)
        drifts, logged = [], []
        for strength in (0.0, 50.0):
            monkeypatch.setattr(self.Anchored, "anchor", strength)
            options = {"lora_r": 2} if lora else {}
            args = make_args(method="anchored", logging_steps=1, output_dir=str(tmp_path / str(strength)), **options)
            student = tiny_model()
            if lora:
                from mulki_hf.adaptation.lora import add_lora

                student = add_lora(student, args)
            trainer = MulKITrainer(student, args, tiny_task(), processor)
            start = {name: value.detach().clone() for name, value in trainer.adaptation.weights()}
            trainer.train()
            expected = sum((value - start[name]).square().sum() for name, value in trainer.adaptation.weights())
            drifts.append(trainer.adaptation.drift(start).item())
            assert drifts[-1] == pytest.approx(expected.item(), rel=1e-5)
            logged.append([entry.get("loss_anchor") for entry in trainer.state.log_history if "loss" in entry])
        assert 0 < drifts[1] < 0.5 * drifts[0]
        assert logged[0] == [None] * 4
        assert logged[1][0] == 0 and all(value > 0 for value in logged[1][1:])


class TestMerge:
    """Between tasks, with whichever teacher a method names."""

    class Merged(Objective):
        teacher = "original"

        @property
        def merge(self):
            return self.teacher, 0.25

        def retention(self, batch):
            return {}

    @pytest.mark.parametrize("teacher", ["original", "previous"])
    @pytest.mark.parametrize("later", [False, True])
    def test_by_the_formula(self, make_args, processor, monkeypatch, teacher, later):
        """In the first task there is no previous one to merge with."""
        monkeypatch.setitem(OBJECTIVES, "merged", self.Merged)
        monkeypatch.setattr(self.Merged, "teacher", teacher)
        teachers = {"original": tiny_model(1), "previous": tiny_model(2)}
        given = {f"{role}_model": model for role, model in teachers.items() if later or role == "original"}
        students = {}
        for name in ("finetune", "merged"):
            students[name] = tiny_model()
            MulKITrainer(students[name], make_args(method=name), tiny_task(), processor, **given).train()
        share = 0.25 if later or teacher == "original" else 0.0
        others = dict(teachers[teacher].named_parameters())
        for name, value in students["finetune"].named_parameters():
            if name != "logit_scale":
                expected = (1 - share) * value + share * others[name]
                torch.testing.assert_close(students["merged"].get_parameter(name), expected)


def test_learns_none_is_zero_shot_alone(stream_yaml, tmp_path, monkeypatch):
    from mulki_hf.results import StreamResults
    from mulki_hf.train import main

    class ZeroShot(Objective):
        learns = "none"

        def retention(self, batch):
            return {}

    monkeypatch.setitem(OBJECTIVES, "zero_shot", ZeroShot)
    main(["--config", str(stream_yaml(method="zero_shot"))])
    results = StreamResults.load(tmp_path / "out")
    assert len(results.zero_shot) == 2 and results.finished == 0
    assert not list((tmp_path / "out").glob("task*"))

"""Adapters through PEFT: one backbone is student and teachers.

With adapters off it is the original teacher, with the previous task's adapter the previous one.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPModel

from ..errors import ConfigurationError
from ..models.dual_encoders import check_dual_encoder, kind_of
from .base import Adaptation
from .precision import in_fp32
from .teacher import Teacher, weights_fingerprint
from .towers import TOWER_WORDS, trains


STUDENT, PREVIOUS = "default", "previous"
FOLDER = "adapter"


class Adapters(Adaptation):
    """A `PeftModel`, whose adapter `default` is the student; what every tuner of PEFT has in common.

    Args:
        model ([`peft.PeftModel`] of a [`CLIPModel`]): trained in place. Its adapter `previous`, if it has one, is
            teacher P.
        args ([`MulKIConfig`]): the settings.
        original, previous: not taken: the model is its own teacher.

    Raises:
        ConfigurationError: the model can't be student and teachers at once.
    """

    def __init__(self, model: Any, args: Any, original: Any = None, previous: Any = None):
        if original is not None or previous is not None:
            raise ConfigurationError(
                "a model with adapters is its own teacher: leave original_model and previous_model"
            )
        check_dual_encoder(model.get_base_model())
        if STUDENT not in model.peft_config:
            names = ", ".join(model.peft_config)
            raise ConfigurationError(f"the adapter to train must be called {STUDENT!r}, got {names}")
        self.check_config(model.peft_config[STUDENT])
        if hasattr(model.base_model, "update_and_allocate"):
            raise ConfigurationError(
                f"{model.peft_config[STUDENT].peft_type.value} wants to be asked after every step to share out its "
                "ranks, and nobody does so here: choose another tuner"
            )
        # peft loads adapters frozen, and leaves active which one came first.
        model.set_adapter(STUDENT)
        self.student = in_fp32(model)
        original = AdapterTeacher("original", model)
        previous = AdapterTeacher("previous", model) if PREVIOUS in model.peft_config else original
        self.teachers = {"original": original, "previous": previous}

    @classmethod
    def check_config(cls, config: Any) -> None:
        """Raise `ConfigurationError` for an adapter that, switched off, does not leave the model as it was."""
        if config.is_prompt_learning or config.is_adaption_prompt:
            raise ConfigurationError(
                f"{config.peft_type.value} can't be switched off, but off the model has to be the original teacher"
            )
        wanted: dict[str, tuple] = {"bias": ("none", None), "modules_to_save": (None, [])}
        for name, allowed in wanted.items():
            if getattr(config, name, None) not in allowed:
                raise ConfigurationError(
                    f"the adapter's {name} must be {' or '.join(map(repr, allowed))}, got {getattr(config, name)!r}: "
                    "the model itself has to stay the original teacher"
                )

    @torch.no_grad()
    def try_out(self, said: Tensor, towers: str, who: str) -> None:
        """Change the adapter at random, switch it off, merge it; for a copy of the model, which is used up.

        Args:
            said: [`both_towers`] before the model had adapters.
            towers: the trained ones.
            who: with what the message begins.

        Raises:
            ConfigurationError: off, the model is not what it was, or merged not what it was with the adapter on, or
                there are adapters outside the trained towers, which count as frozen.
        """
        odd = [tower for tower in ("vision", "text") if towers not in ("both", tower) and trains(self.student, tower)]
        if odd:
            raise ConfigurationError(
                f"{who} has adapters on {TOWER_WORDS[odd[0]]}, but train_towers is {towers!r}: choose other layers "
                "(target_modules, exclude_modules) or train_towers: both"
            )
        with torch.random.fork_rng(devices=[]):
            for parameter in (p for p in self.student.parameters() if p.requires_grad):
                parameter.add_(0.1 * torch.randn_like(parameter))
        on = both_towers(self.student.eval())
        with self.teachers["original"].active(said.device) as original:
            if not torch.equal(both_towers(original), said):
                raise ConfigurationError(f"{who} can't be switched off, but off it has to be the original teacher")
        if not torch.allclose(both_towers(self.finish()), on, atol=1e-3):
            raise ConfigurationError(f"{who} can't be merged, but a task leaves a plain model")

    def finish(self) -> CLIPModel:
        return self.student.merge_and_unload(adapter_names=[STUDENT])

    def save(self, folder: Path, base: str, revision: str | None) -> None:
        save_adapter(self.student, folder / FOLDER, base, revision)


class AdapterTeacher(Teacher):
    """A teacher on the student's own backbone: adapters off, or the previous task's adapter. Takes no memory."""

    def __init__(self, name: str, student: Any):
        super().__init__(name, student.get_base_model)
        self.student = student

    @property
    def model(self) -> CLIPModel:
        """The student's backbone: what it says depends on the adapters, so ask it inside `active`."""
        return self.student.get_base_model()

    @contextmanager
    def active(self, device: torch.device) -> Iterator[CLIPModel]:
        """The backbone as this teacher; the student is as before when the block ends."""
        training = self.student.training
        self.student.eval()
        try:
            if self.name == "original":
                with self.student.disable_adapter():
                    yield self.model
            else:
                self.student.set_adapter(PREVIOUS, inference_mode=True)
                try:
                    yield self.model
                finally:
                    self.student.set_adapter(STUDENT)
        finally:
            self.student.train(training)

    def fingerprint(self) -> str:
        adapters = set(self.student.peft_config)
        others = adapters - {PREVIOUS} if self.name == "previous" else adapters
        state = {name: v for name, v in self.model.state_dict().items() if others.isdisjoint(name.split("."))}
        settings = {}
        if self.name == "previous":
            settings = self.student.peft_config[PREVIOUS].to_dict() | {
                "base_model_name_or_path": None,
                "revision": None,
            }
        return f"{weights_fingerprint(self.model, state)} {json.dumps(settings, sort_keys=True, default=_sorted)}"

    def release(self) -> None:
        """Nothing to do."""


def _sorted(value: Any) -> Any:
    """For JSON: a set in an order that is the same in every process."""
    return sorted(value) if isinstance(value, set) else str(value)


def import_peft(asked_by: str) -> Any:
    """The package, or an error that says how to get it."""
    try:
        import peft
    except ImportError as error:
        raise ConfigurationError(f'{asked_by} needs the package peft: run pip install "mulki-hf[lora]"') from error
    return peft


def is_peft_model(model: Any) -> bool:
    """Whether `model` is a `PeftModel`; does not import peft."""
    return hasattr(model, "peft_config") and hasattr(model, "get_base_model")


def has_adapters(model: nn.Module) -> bool:
    """Whether adapters, of whatever kind, sit on the layers of `model`."""
    return any("base_layer" in name.split(".") for name, _ in model.named_parameters())


def check_unadapted(model: nn.Module, asked_by: str) -> None:
    """Raise `ConfigurationError` if the model has adapters: theirs and ours would be one on top of the other."""
    if is_peft_model(model) or has_adapters(model):
        raise ConfigurationError(
            f"{asked_by}: the model has adapters already; merge them first (merge_and_unload) or train without "
            f"{asked_by}"
        )


@torch.no_grad()
def both_towers(model: CLIPModel) -> Tensor:
    """What both towers say of a grey image and of an empty text, `(2, d)`."""
    vision = model.config.vision_config
    ids = torch.tensor([kind_of(model).short_text(model.config.text_config)], device=model.device)
    pixels = torch.full((1, vision.num_channels, vision.image_size, vision.image_size), 0.5, device=model.device)
    outputs = model(input_ids=ids, pixel_values=pixels)
    return torch.cat([outputs.image_embeds, outputs.text_embeds])


def add_adapter(model: CLIPModel, config: Any, seed: int, previous: Path | None = None) -> Any:
    """`model` as a `PeftModel` whose adapter is the student; in place, without a copy of the weights.

    Args:
        model ([`CLIPModel`]): the original model.
        config ([`peft.PeftConfig`]): of a new adapter.
        seed (`int`): of a new adapter's random part.
        previous (*optional*): folder of the previous task's adapter: where the student starts, and teacher P.
    """
    import peft

    if previous is None:
        # The random half of a new adapter depends on the seed alone, on every rank.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            adapted = peft.get_peft_model(model, config, adapter_name=STUDENT)
    else:
        adapted = peft.PeftModel.from_pretrained(model, str(previous), adapter_name=STUDENT, is_trainable=True)
        adapted.load_adapter(str(previous), adapter_name=PREVIOUS, is_trainable=False)
        adapted.set_adapter(STUDENT)
    for config in adapted.peft_config.values():
        # Where the model was loaded from. By the name in a task's adapter peft would look for it on the Hub whenever
        # Trainer saves a checkpoint.
        config.base_model_name_or_path, config.revision = model.name_or_path, None
    return adapted


def save_adapter(model: Any, folder: Path, base_name: str, base_revision: str | None = None) -> None:
    """Write the student's adapter alone, as `PeftModel.from_pretrained` reads it.

    Args:
        model ([`peft.PeftModel`]): from now on it says, too, that it belongs to `base_name`.
        folder: where to.
        base_name, base_revision: the model that the adapter belongs to.
    """
    config = model.peft_config[STUDENT]
    config.base_model_name_or_path, config.revision = base_name, base_revision
    for name, value in vars(config).items():
        if isinstance(value, set):  # whose order is another in every process
            setattr(config, name, sorted(value))
    # No layer of it is an embedding; to find that out, peft would look for the base model's configuration on the Hub.
    model.save_pretrained(str(folder), selected_adapters=[STUDENT], save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's empty form; the card comes from `report`

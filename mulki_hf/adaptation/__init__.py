"""What is trained: the whole model or a tower, LoRA, any PEFT tuner. A new one is one file, named in `ADAPTATIONS`."""

from typing import Any

from ..errors import ConfigurationError
from .base import Adaptation
from .full import FullModel
from .lora import Lora
from .peft import PeftTuner


# The first that the arguments, or a model, ask for.
ADAPTATIONS: tuple[type[Adaptation], ...] = (Lora, PeftTuner, FullModel)

__all__ = ["ADAPTATIONS", "Adaptation", "FullModel", "Lora", "PeftTuner", "adapt", "adaptation_of"]


def adaptation_of(args: Any) -> type[Adaptation]:
    """What the arguments of a run ask to train."""
    return next(adaptation for adaptation in ADAPTATIONS if adaptation.asked_for(args))


def adapt(model: Any, args: Any, original: Any = None, previous: Any = None) -> Adaptation:
    """The adaptation that trains `model`, as a user hands it to the trainer.

    Args:
        model ([`CLIPModel`], [`peft.PeftModel`] of one or [`Adaptation`]): the student, trained in place.
        args ([`MulKIConfig`]): the settings.
        original, previous ([`CLIPModel`] or a function that loads one, *optional*): the teachers; a model with adapters
            is its own.

    Raises:
        ConfigurationError: nothing can train this model, or not with these settings.
    """
    if isinstance(model, Adaptation):
        if original is not None or previous is not None:
            raise ConfigurationError("an adaptation brings its teachers: leave original_model and previous_model")
        return model
    taken_by = next(adaptation for adaptation in ADAPTATIONS if adaptation.takes(model))
    wanted = adaptation_of(args)
    if taken_by is FullModel and wanted is not FullModel:
        raise ConfigurationError(
            f"the model has no adapters, which the arguments ask for ({wanted.name}): make them with "
            "mulki_hf.adaptation.adaptation_of(args).start(...), or with peft.get_peft_model and leave the arguments"
        )
    return taken_by(model, args, original, previous)

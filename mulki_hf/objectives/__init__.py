"""The methods. A new one is one file with an `Objective` subclass, named in `OBJECTIVES`."""

from typing import Any

from ..errors import ConfigurationError
from .base import FeatureBatch, Objective, Prototypes, TeacherFeatures
from .finetune import Finetune
from .mulki import MulKI
from .snd import SelectAndDistill


OBJECTIVES: dict[str, type[Objective]] = {
    "mulki": MulKI,
    "snd": SelectAndDistill,
    "finetune": Finetune,
}

__all__ = [
    "OBJECTIVES",
    "FeatureBatch",
    "Finetune",
    "MulKI",
    "Objective",
    "Prototypes",
    "SelectAndDistill",
    "TeacherFeatures",
    "check_reference",
    "objective_of",
]


def objective_of(args: Any) -> Objective:
    """The objective that `args.method` names, with its settings."""
    return OBJECTIVES[args.method](args)


def check_reference(method: str, given: bool) -> None:
    """Raise `ConfigurationError` unless reference images are there exactly when `method` reads them."""
    wanted = OBJECTIVES[method].needs_reference()
    if wanted and not given:
        raise ConfigurationError(f"method {method!r} needs reference images: set reference_dataset")
    if given and not wanted:
        raise ConfigurationError(
            f"method {method!r} uses no data beyond the task's own: remove reference_dataset, or choose a method that "
            "reads it"
        )

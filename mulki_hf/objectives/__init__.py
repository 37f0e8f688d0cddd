"""The methods. A new one is one file with an `Objective` subclass, named in `OBJECTIVES`.

By that it is a value of `--method`, and its `arguments` are fields of `MulKIConfig`.
"""

from typing import Any

from ..errors import ConfigurationError
from .base import PATHS, FeatureBatch, Objective, Prototypes, TeacherFeatures
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
    """The objective that `args.method` names, with its settings.

    Raises:
        TypeError: it declares a need that does not exist.
    """
    objective = OBJECTIVES[args.method](args)
    unknown = sorted(objective.needs - PATHS)
    if unknown:
        raise TypeError(
            f"method {args.method!r} needs unknown {', '.join(unknown)}; known are {', '.join(sorted(PATHS))}"
        )
    return objective


def check_reference(method: str, objective: Objective, given: bool) -> None:
    """Raise `ConfigurationError` unless reference images are there exactly when the method's objective reads them."""
    wanted = objective.needs_reference()
    if wanted and not given:
        raise ConfigurationError(f"method {method!r} needs reference images: set reference_dataset")
    if given and not wanted:
        raise ConfigurationError(
            f"method {method!r} uses no data beyond the task's own: remove reference_dataset, or choose a method that "
            "reads it"
        )

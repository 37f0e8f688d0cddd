"""The methods. A new one is one file with an `Objective` subclass, named in `OBJECTIVES`.

By that it is a value of `--method`, and its `arguments` are fields of `MulKIConfig`. A user's own needs neither: it is
named where it lies, `--method my_module:MyObjective`.
"""

from typing import Any

from ..errors import ConfigurationError
from .base import Objective
from .batch import PATHS, FeatureBatch, Prototypes, TeacherFeatures
from .finetune import Finetune
from .foreign import foreign_name, foreign_objective, is_foreign
from .joint import Joint
from .lwf import LwF
from .mulki import MulKI
from .snd import SelectAndDistill
from .wise_ft import WiSEFT
from .zero_shot import ZeroShot
from .zscl import ZSCL


OBJECTIVES: dict[str, type[Objective]] = {
    "mulki": MulKI,
    "snd": SelectAndDistill,
    "zscl": ZSCL,
    "lwf": LwF,
    "wise_ft": WiSEFT,
    "finetune": Finetune,
    "joint": Joint,
    "zero_shot": ZeroShot,
}

LEARNS = ("each", "all", "none")

FORMER_SETTINGS = {"mulki": ("relation_weight", "relation_temperature")}
"""By method: settings of older versions, gone with the equations that they belonged to."""

__all__ = [
    "FORMER_SETTINGS",
    "OBJECTIVES",
    "ZSCL",
    "FeatureBatch",
    "Finetune",
    "Joint",
    "LwF",
    "MulKI",
    "Objective",
    "Prototypes",
    "SelectAndDistill",
    "TeacherFeatures",
    "WiSEFT",
    "ZeroShot",
    "check_reference",
    "find_objective",
    "is_foreign",
    "method_name",
    "objective_of",
]


def find_objective(method: str | type[Objective], load: bool = True) -> type[Objective]:
    """The objective that `method` names.

    Args:
        method: a name of `OBJECTIVES`, `module:Class` of the user's, or the class itself.
        load: import the module. Never so for what a file says that may be somebody else's.

    Raises:
        ConfigurationError: there is none, or it can't be used.
    """
    return _resolved(method, load)[1]


def method_name(method: str | type[Objective]) -> str:
    """What results and recipes call it; raises as [`find_objective`] does."""
    return _resolved(method, load=True)[0]


def _resolved(method: Any, load: bool) -> tuple[str, type[Objective]]:
    if not isinstance(method, str):
        registered = {objective: name for name, objective in OBJECTIVES.items()}
        known = isinstance(method, type) and method in registered
        return registered[method] if known else foreign_name(method), method
    if method in OBJECTIVES:
        return method, OBJECTIVES[method]
    if is_foreign(method):
        return method, foreign_objective(method, load)
    raise ConfigurationError(
        f"method must be one of {', '.join(OBJECTIVES)}, or module:Class for one of your own, got {method!r}"
    )


def objective_of(args: Any) -> Objective:
    """The objective that `args.method` names, with its settings.

    Raises:
        ConfigurationError: there is none.
        TypeError: it declares what does not exist.
    """
    objective = find_objective(args.method)(args)
    if objective.learns not in LEARNS:
        raise TypeError(f"method {args.method!r} learns {objective.learns!r}; it must be one of {', '.join(LEARNS)}")
    unknown = sorted(objective.needs - PATHS)
    if unknown:
        raise TypeError(
            f"method {args.method!r} needs unknown {', '.join(unknown)}; known are {', '.join(sorted(PATHS))}"
        )
    return objective


def check_reference(method: str, objective: Objective, images: bool, texts: str | None) -> None:
    """Raise `ConfigurationError` unless reference data are there exactly when the method's objective reads them.

    Args:
        method: its name.
        objective ([`Objective`]): what it needs.
        images: whether `reference_dataset` was given.
        texts: the field that reference texts were given in, if they were.
    """
    reads_images, reads_texts = objective.needs_reference(), objective.needs_texts()
    if reads_images and not images:
        raise ConfigurationError(f"method {method!r} needs reference images: set reference_dataset")
    if reads_texts and texts is None:
        raise ConfigurationError(
            f"method {method!r} needs reference texts: set reference_texts, or reference_text_column in the YAML "
            "(of reference_dataset or of reference_text_dataset)"
        )
    # A column of texts lies in the dataset, whether its images are read or not.
    surplus = {
        "reference_dataset": images and not reads_images and not (reads_texts and texts == "reference_text_column"),
        texts: texts is not None and not reads_texts,
    }
    for name in (name for name, given in surplus.items() if given):
        what = "images" if name == "reference_dataset" else "texts"
        raise ConfigurationError(
            f"method {method!r} reads no reference {what}: remove {name}, or choose a method that reads them"
        )

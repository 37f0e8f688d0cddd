"""The methods. A new one is one file with an `Objective` subclass, named in `OBJECTIVES`."""

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
]

"""Plain fine-tuning: the task loss alone, the baseline that forgets."""

from torch import Tensor

from .base import Objective
from .batch import FeatureBatch


class Finetune(Objective):
    """`L = L_task`; no teacher, no averaging."""

    summary = (
        "Plain fine-tuning: cross-entropy of the zero-shot classifier over the task's classes, and nothing that keeps "
        "what the model knew. It is the baseline that forgets."
    )

    def retention(self, batch: FeatureBatch) -> dict[str, Tensor]:
        return {}

"""Plain fine-tuning: the task loss alone, the baseline that forgets."""

from torch import Tensor

from .base import FeatureBatch, Objective


class Finetune(Objective):
    """`L = L_task`; no teacher, no averaging."""

    def retention(self, batch: FeatureBatch) -> dict[str, Tensor]:
        return {}

"""Samples that differ from epoch to epoch: who tells them which one it is, and who must not outlive it."""

from typing import Any

from torch.utils.data import Dataset
from transformers import TrainerCallback

from ..errors import ConfigurationError


def set_epoch(samples: Dataset, epoch: int) -> None:
    """Tell `samples` which epoch it is, if that makes a difference to them."""
    if hasattr(samples, "set_epoch"):
        samples.set_epoch(epoch)


class EpochCallback(TrainerCallback):
    """Tells the training samples of every epoch's start.

    accelerate's data loaders do so on a single rank alone, and not in the epoch that a run resumes in.
    """

    def on_epoch_begin(self, args, state, control, train_dataloader=None, **kwargs):
        set_epoch(train_dataloader.dataset, int(state.epoch or 0))


def data_seed(args: Any) -> int:
    """What orders, pairings and crops are drawn from, by Trainer's own rule: `data_seed`, by default `seed`."""
    return args.seed if args.data_seed is None else args.data_seed


def check_crops(args: Any, crop_area: float | None) -> None:
    """Raise `ConfigurationError` where random crops would be the same in every epoch."""
    if crop_area is not None and args.dataloader_persistent_workers:
        raise ConfigurationError(
            "dataloader_persistent_workers must be False with random_resized_crop, got True: workers that outlive an "
            "epoch would repeat its crops"
        )

"""Reference images beside the task's own, tied to each training sample."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch.utils.data import Dataset

from .epochs import set_epoch


@dataclass
class ReferenceArguments:
    """How reference images are trained on."""

    _argument_group_name = "Reference images"

    reference_per_sample: int = field(  # type: ignore[assignment]  # None until the method is known
        default=None,
        metadata={
            "help": "Reference images trained on beside each task image. Default: the method's own, as in its paper "
            "(1 for zscl, else 2)."
        },
    )

    def __post_init__(self):
        if self.reference_per_sample is not None and self.reference_per_sample < 1:
            raise ValueError(f"reference_per_sample must be >= 1, got {self.reference_per_sample}")


class WithReference(Dataset):
    """A task's training set whose every sample brings `per_sample` reference images along.

    The pairing is a function of seed, epoch and sample alone, so that it survives resuming and splitting the batch
    over ranks. Every epoch pairs anew, and runs through the whole reference set before repeating an image.

    Args:
        train, reference: map-style datasets of samples with `pixel_values`; `reference` of any length.
        per_sample (`int`): reference images to each training sample.
        seed (`int`): of the pairing.

    Samples have `reference_pixel_values` of shape `(per_sample, 3, H, W)` in addition, and likewise whatever else the
    samples of `reference` hold.
    """

    def __init__(self, train, reference, per_sample: int, seed: int):
        self.train = train
        self.reference = reference
        self.per_sample = per_sample
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw the pairing of `epoch`."""
        for samples in (self.train, self.reference):
            set_epoch(samples, epoch)
        rng = np.random.default_rng((self.seed, epoch))
        needed = len(self.train) * self.per_sample
        rounds = -(-needed // len(self.reference))
        order = np.concatenate([rng.permutation(len(self.reference)) for _ in range(rounds)])
        self.pairing = order[:needed].reshape(len(self.train), self.per_sample)

    def __len__(self) -> int:
        return len(self.train)

    def __getitems__(self, indices: list[int]) -> list[dict]:
        samples = self.train.__getitems__(indices)
        drawn = self.pairing[indices]
        images = self.reference.__getitems__(drawn.ravel().tolist())
        for position, sample in enumerate(samples):
            own = images[position * self.per_sample : (position + 1) * self.per_sample]
            for name in own[0]:
                sample[f"reference_{name}"] = torch.stack([torch.as_tensor(image[name]) for image in own])
        return samples

    def __getitem__(self, index: int) -> dict:
        return self.__getitems__([index])[0]

"""Images beside the task's own, reference images or views, tied to its training samples."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import default_data_collator

from ..objectives.batch import IMAGE_PARTS
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


class WithImages(Dataset):
    """A task's training set whose samples bring other images along.

    The pairing is a function of seed, epoch and sample alone, so that it survives resuming and splitting the batch
    over ranks. Every epoch pairs anew, and runs through all of the others before repeating one.

    Args:
        train, others: map-style datasets of samples with `pixel_values`; `others` of any length.
        count (`int`): how many of them an epoch brings. If they are fewer than the training samples, these take turns:
            every epoch draws anew which of them have one.
        seed (`int`): of the pairing.
        kind: `reference` or `views`.

    Samples that have `n > 0` of them have `KIND_pixel_values` of shape `(n, 3, H, W)` in addition, and likewise
    whatever else the samples of `others` hold.
    """

    def __init__(self, train, others, count: int, seed: int, kind: str = "reference"):
        self.train = train
        self.others = others
        self.count = count
        self.seed = seed
        self.kind = kind
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw the pairing of `epoch`."""
        for samples in (self.train, self.others):
            set_epoch(samples, epoch)
        # A zero at the end would make no difference to the draws.
        rng = np.random.default_rng((self.seed, epoch, *([] if self.kind == IMAGE_PARTS[0] else [1])))
        rounds = -(-self.count // len(self.others))
        self.drawn = np.concatenate([rng.permutation(len(self.others)) for _ in range(rounds)])[: self.count]
        each, more = divmod(self.count, len(self.train))
        counts = np.full(len(self.train), each)
        if more:
            counts[rng.permutation(len(self.train))[:more]] += 1
        self.ends = counts.cumsum()
        self.starts = self.ends - counts

    def paired(self, index: int) -> list[int]:
        """Which of the others come with a sample."""
        return self.drawn[self.starts[index] : self.ends[index]].tolist()

    def __len__(self) -> int:
        return len(self.train)

    def __getitems__(self, indices: list[int]) -> list[dict]:
        samples = self.train.__getitems__(indices)
        drawn = [self.paired(index) for index in indices]
        numbers = [number for own in drawn for number in own]
        images = iter(self.others.__getitems__(numbers) if numbers else ())
        for sample, own in zip(samples, drawn, strict=True):
            beside = [next(images) for _ in own]
            for name in beside[0] if beside else ():
                sample[f"{self.kind}_{name}"] = torch.stack([torch.as_tensor(image[name]) for image in beside])
        return samples

    def __getitem__(self, index: int) -> dict:
        return self.__getitems__([index])[0]


def collate(samples: list[dict], own_collator: Callable = default_data_collator) -> dict[str, torch.Tensor]:
    """A batch of samples: a row a sample, and of the images beside them one after another, as many as there are.

    `own_collator` makes a batch of the samples without the images beside them.
    """
    kinds = tuple(f"{kind}_" for kind in IMAGE_PARTS)
    own = [{name: value for name, value in sample.items() if not name.startswith(kinds)} for sample in samples]
    beside = dict.fromkeys(name for sample in samples for name in sample if name.startswith(kinds))
    there = {name: [sample[name] for sample in samples if name in sample] for name in beside}
    return {**own_collator(own), **{name: torch.cat(parts) for name, parts in there.items()}}

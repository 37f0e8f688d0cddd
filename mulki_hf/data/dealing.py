"""How the images of an epoch are dealt out to several ranks: each once, in the batches that one process would see."""

from collections.abc import Iterator

import torch
from accelerate.data_loader import BatchSamplerShard
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from .epochs import set_epoch


UNCOUNTED = -100
"""Label of an image that counts for nothing, which Trainer leaves out where it counts a step's images, too."""


class EvenBatches(BatchSampler):
    """Batches for accelerate to deal out in turn, as many for each rank, with every image of an epoch once.

    What is left over for the last batches is shared out evenly; a rank for which nothing is left gets an image that
    counts for nothing (see [`WithFillers`]), so that none waits for its gradients.

    Args:
        sampler: of an epoch's images, the same on every rank.
        batch_size (`int`): images of a rank's batch.
        drop_last (`bool`): leave out the last batches where they are not full.
        ranks (`int`): how many batches there are at a time.
    """

    def __init__(self, sampler: Sampler[int], batch_size: int, drop_last: bool, ranks: int):
        super().__init__(sampler, batch_size, drop_last)
        self.ranks = ranks

    def __len__(self) -> int:
        together = self.batch_size * self.ranks
        full, left = divmod(len(self.sampler), together)
        return self.ranks * (full + (left > 0 and not self.drop_last))

    def __iter__(self) -> Iterator[list[int]]:
        for images in BatchSampler(self.sampler, self.batch_size * self.ranks, self.drop_last):
            least, more = divmod(len(images), self.ranks)
            filler = [len(self.sampler) + images[0]]
            for rank in range(self.ranks):
                start = rank * least + min(rank, more)
                yield images[start : start + least + (rank < more)] or filler


class WithFillers(Dataset):
    """A dataset behind whose last sample all of them lie once more, with the label [`UNCOUNTED`].

    Args:
        samples: a map-style dataset with `__getitems__`.
    """

    def __init__(self, samples: Dataset):
        self.samples = samples

    def set_epoch(self, epoch: int) -> None:
        """Tell the samples which epoch it is."""
        set_epoch(self.samples, epoch)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitems__(self, indices: list[int]) -> list[dict]:
        count = len(self)
        samples = self.samples.__getitems__([index % count for index in indices])
        for sample, index in zip(samples, indices, strict=True):
            if index >= count:
                sample["labels"] = UNCOUNTED
        return samples

    def __getitem__(self, index: int) -> dict:
        return self.__getitems__([index])[0]


def deal_evenly(loader: DataLoader) -> DataLoader:
    """`loader`, as accelerate prepared it, with [`EvenBatches`] in place of last batches that begin the epoch again.

    On one rank, and where one rank reads for all (`dispatch_batches`), it stays as it is.
    """
    shard = loader.batch_sampler
    if isinstance(shard, BatchSamplerShard):
        own = shard.batch_size // shard.num_processes if shard.split_batches else shard.batch_size
        batches = EvenBatches(shard.batch_sampler.sampler, own, shard.drop_last, shard.num_processes)
        shard.batch_sampler, shard.batch_size, shard.split_batches, shard.even_batches = batches, own, False, False
    return loader


def counted(labels: Tensor) -> Tensor:
    """Which images of a batch count, `(B,)`."""
    return torch.ne(labels, UNCOUNTED)

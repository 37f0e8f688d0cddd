"""What is computed once for every sample and then read: teacher features, decoded images."""

import errno
import hashlib
import json
import logging
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers.utils.logging import tqdm

from ..durable import sync
from ..errors import ConfigurationError
from .epochs import set_epoch


logger = logging.getLogger(__name__)


@dataclass
class CacheArguments:
    """What is computed once instead of in every step; the same result up to rounding."""

    _argument_group_name = "Caches"

    cache_teachers: bool = field(
        default=True,
        metadata={
            "help": "Compute the teachers' image features once per task, to disk, and let the teachers go. Off, and "
            "with random_resized_crop, where every step sees other pixels: the teachers run in every step."
        },
    )
    cache_images: bool = field(
        default=False,
        metadata={
            "help": "Decode and resize every image once, to disk as bytes (3 * height * width each). Training images "
            "only without random_resized_crop."
        },
    )


class Table:
    """An array on disk with a row for each sample of a dataset, mapped into memory by every process that reads it.

    A `.npy` file, and behind the array the SHA-256 of all that comes before it.
    """

    def __init__(self, path: Path):
        self.path = path

    @cached_property
    def rows(self) -> np.ndarray:
        """The array; only the pages that are read take memory."""
        return np.load(self.path, mmap_mode="r")

    def __getstate__(self):
        # A worker maps the file anew, where pickling would carry the array along.
        return {"path": self.path}

    def __getitem__(self, indices) -> Tensor:
        """Copies of the rows `indices`."""
        return torch.from_numpy(np.asarray(self.rows[indices]).copy())

    @property
    def intact(self) -> bool:
        """Whether the file is what was written; one that has not changed since it was is not read again."""
        about = self.path.stat()
        return _intact(self.path, about.st_size, about.st_mtime_ns)


@cache
def _intact(path: Path, size: int, changed: int) -> bool:
    digest, left = hashlib.sha256(), size - hashlib.sha256().digest_size
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(left, 2**24))):
            digest.update(block)
            left -= len(block)
        return file.read() == digest.digest()


class ArrayCache:
    """Tables in a folder, each computed once by all ranks together and dropped when what it depends on changes.

    Args:
        folder: where the tables lie; a run that is resumed finds them there.
        accelerator ([`Accelerator`]): ranks share the work; one of each machine writes.
        batch_size (`int`): samples a rank and step.
        num_workers (`int`): data loader workers.
    """

    def __init__(self, folder: str | Path, accelerator: Accelerator, batch_size: int, num_workers: int = 0):
        self.folder = Path(folder)
        self.accelerator = accelerator
        self.batch_size = batch_size
        self.num_workers = num_workers

    def table(
        self,
        name: str,
        depends_on: list,
        samples: Dataset,
        compute: Callable[[dict[str, Tensor]], Tensor],
        description: str,
        avoided_by: str | None = None,
    ) -> Table:
        """The table `name`, from disk if it was computed from the same things.

        Args:
            name: there is one table of each name; another one takes its place when `depends_on` has changed.
            depends_on: everything that the values depend on, as JSON takes it: fingerprints of weights, data, ....
            samples: a map-style dataset.
            compute: from a collated batch of samples to a tensor with a row for each of them.
            description: shown beside the progress bar.
            avoided_by (*optional*): the setting with which nobody asks for this table, for who has no room for it.

        Raises:
            ConfigurationError: the disk has no room for it.
        """
        key = [hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()[:16]]
        # Rank 0's, should a dataset's fingerprint be a random one.
        broadcast_object_list(key)
        path = self.folder / f"{name}-{key[0]}.npy"
        there = torch.tensor([self._holds(path)], device=self.accelerator.device)
        if not self.accelerator.gather(there).all():
            self._fill(path, name, samples, compute, description, avoided_by)
        return Table(path)

    def _holds(self, path: Path) -> bool:
        """Whether a table is there; the ranks that write look whether it is whole, too."""
        if not path.is_file():
            return False
        if not self.accelerator.is_local_main_process or Table(path).intact:
            return True
        logger.warning(f"{path} is damaged: it is computed again")
        return False

    def _fill(
        self, path: Path, name: str, samples: Dataset, compute: Callable, description: str, avoided_by: str | None
    ) -> None:
        # A generator of its own: drawing from the global one would make the training after it another.
        loader = DataLoader(
            samples, batch_size=self.batch_size, num_workers=self.num_workers, generator=torch.Generator()
        )
        loader = self.accelerator.prepare_data_loader(loader)
        writes = self.accelerator.is_local_main_process
        partial = path.with_suffix(f".{self.accelerator.process_index}.partial")
        rows: Any = None
        done, digest = 0, hashlib.sha256()
        if writes:
            self.folder.mkdir(parents=True, exist_ok=True)
        for batch in tqdm(loader, desc=description, leave=False):
            with torch.no_grad(), self.accelerator.autocast():
                values = self.accelerator.gather_for_metrics(compute(batch))
            # numpy knows no bf16.
            values = values.float() if values.dtype == torch.bfloat16 else values
            if done == 0:
                shape, like = (len(samples), *values.shape[1:]), values.new_empty(0).cpu().numpy()
                rows = self._make(partial, name, shape, like.dtype, avoided_by)
                if writes:
                    with partial.open("rb") as file:
                        digest.update(file.read(rows.offset))
            if writes:
                rows[done : done + len(values)] = values.cpu().numpy()
                digest.update(rows[done : done + len(values)])
            done += len(values)
        if writes:
            rows.flush()
            with partial.open("ab") as file:
                file.write(digest.digest())
            sync(partial)
            # Of an earlier run, or of this table before what it depends on changed. Partial files of other ranks stay:
            # another machine may be about to write the same on a shared disk.
            for kind in ("npy", f"{self.accelerator.process_index}.partial"):
                for stale in self.folder.glob(f"{name}-{'[0-9a-f]' * 16}.{kind}"):
                    if stale != partial:
                        stale.unlink(missing_ok=True)
            os.replace(partial, path)
            sync(self.folder)
        self.accelerator.wait_for_everyone()

    def _make(
        self, partial: Path, name: str, shape: tuple[int, ...], dtype: np.dtype, avoided_by: str | None
    ) -> np.ndarray | None:
        """The array to fill, on the ranks that write; refused on all of them where the disk has no room for it."""
        rows, full, size = None, False, math.prod(shape) * dtype.itemsize
        if self.accelerator.is_local_main_process:
            try:
                rows = np.lib.format.open_memmap(partial, mode="w+", dtype=dtype, shape=shape)
                reserve(partial, partial.stat().st_size)
            except OSError as error:
                partial.unlink(missing_ok=True)
                if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise
                full = True
        if self.accelerator.gather(torch.tensor([full], device=self.accelerator.device)).any():
            raise ConfigurationError(
                f"no room in {str(self.folder)!r} for the table {name!r} of {shape[0]} samples, {size / 1e9:.1f} GB: "
                "free as much or choose another output_dir" + (f", or set {avoided_by}" if avoided_by else "")
            )
        return rows


def reserve(path: Path, size: int) -> None:
    """Take `size` bytes of the disk for a file that is mapped: where it runs full later, writing kills the process.

    Raises:
        OSError: there is no room.
    """
    if hasattr(os, "posix_fallocate"):
        try:
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, size)
            return
        except OSError as error:
            # Not every file system can.
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
    if shutil.disk_usage(path.parent).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


class WithTables(Dataset):
    """A dataset whose every sample has its row of some tables in addition.

    Args:
        samples: a map-style dataset with `__getitems__`.
        tables: by the name of the column that the rows become.
    """

    def __init__(self, samples: Dataset, tables: dict[str, Table]):
        self.samples = samples
        self.tables = tables

    def set_epoch(self, epoch: int) -> None:
        """Tell the samples which epoch it is."""
        set_epoch(self.samples, epoch)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitems__(self, indices: list[int]) -> list[dict]:
        samples = self.samples.__getitems__(indices)
        for name, table in self.tables.items():
            for sample, row in zip(samples, table[indices], strict=True):
                sample[name] = row
        return samples

    def __getitem__(self, index: int) -> dict:
        return self.__getitems__([index])[0]

"""The running average of whatever an adaptation names, in memory or on disk."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from transformers import TrainerCallback

from ..errors import ConfigurationError


@dataclass
class AverageArguments:
    """Where the running weight average is kept."""

    _argument_group_name = "Weight average"

    average_on_disk: bool | None = field(
        default=None,
        metadata={
            "help": "Keep stage 4's running average, which the main process alone has, on disk and not in memory of "
            "the model's device. Default: on disk on the CPU, for models of 16 M parameters or more."
        },
    )

    def __post_init__(self):
        if self.average_on_disk not in (None, True, False):
            raise ValueError(f"average_on_disk must be true or false, got {self.average_on_disk!r}")


class WeightAverage:
    """Uniform running average of tensors that training changes.

    The values before the first step are the first sample, those after the last step the last one, wherever training
    ends. Kept in fp32, updated in place.

    Args:
        weights: gives what is averaged as it is now, by name, one tensor after another.
        every (`int`): optimizer steps between two samples.
        folder (*optional*): keep the average on disk, where one tensor at a time takes memory. Default: in the memory
            of the model's device.
    """

    CHECKPOINT = "weight_average"

    def __init__(
        self, weights: Callable[[], Iterable[tuple[str, Tensor]]], every: int, folder: str | Path | None = None
    ):
        self.weights = weights
        self.every = every
        self.folder = folder
        self.average: Mapping[str, Tensor] = {}

    @torch.no_grad()
    def start(self) -> None:
        """Take the current weights as the first sample."""
        if self.folder is None:
            self.average = {name: value.detach().float().clone() for name, value in self.weights()}
        else:
            self.average = MappedTensors.write(self.folder, self.weights())

    @torch.no_grad()
    def step(self, global_step: int) -> None:
        """Take the weights after optimizer step `global_step` (1-based) into the average if it is their turn."""
        if global_step % self.every == 0:
            self._take(global_step // self.every)

    def last(self, global_step: int) -> None:
        """Training ended with `global_step`: take the weights, unless it was their turn."""
        if global_step % self.every:
            self._take(global_step // self.every + 1)

    @torch.no_grad()
    def _take(self, taken: int) -> None:
        for name, value in self.weights():
            average = self.average[name]
            average.lerp_(value.to(average), 1 / (taken + 1))

    @torch.no_grad()
    def as_if_last(self, global_step: int) -> Mapping[str, Tensor]:
        """What the average would be if `global_step` were the last step; goes on unchanged."""
        if not global_step % self.every:
            return self.average
        share = 1 / (global_step // self.every + 2)
        return {name: self.average[name].lerp(value.to(self.average[name]), share) for name, value in self.weights()}

    def clear(self) -> None:
        """Give back memory and disk."""
        self.average = {}
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def save(self, checkpoint: str | Path) -> None:
        """Write the average into a Trainer checkpoint."""
        MappedTensors.write(Path(checkpoint) / self.CHECKPOINT, self.average.items())

    @torch.no_grad()
    def load(self, checkpoint: str | Path) -> None:
        """Go on from the average in a Trainer checkpoint.

        Raises:
            ConfigurationError: it is not there, or that of another model.
        """
        self.start()
        kept = MappedTensors(Path(checkpoint) / self.CHECKPOINT, mode="c")
        if set(kept) != set(self.average):
            raise ConfigurationError(
                f"{kept.folder} does not hold the weight average of this model: resume with the average_every, "
                "train_towers and lora_* that the checkpoint was made with, or start anew"
            )
        for name, saved in kept.items():
            self.average[name].copy_(saved)


class MappedTensors(Mapping):
    """Tensors in a folder, a file each: mapped into memory when asked for, out of it with the last reference.

    `names.json`, written last, tells whether the folder is whole; those of older versions have none.

    Args:
        folder: where the files lie.
        mode: of [`numpy.load`]; with `r+` changes of a tensor are changes of its file, with `c` files stay as they are.
    """

    NAMES = "names.json"

    def __init__(self, folder: str | Path, mode: Literal["r+", "c"] = "r+"):
        self.folder = Path(folder)
        self.mode = mode

    @classmethod
    def write(cls, folder: str | Path, tensors: Iterable[tuple[str, Tensor]]) -> "MappedTensors":
        """Write `tensors` in fp32, in place of what the folder held."""
        mapped = cls(folder)
        shutil.rmtree(mapped.folder, ignore_errors=True)
        mapped.folder.mkdir(parents=True)
        names = []
        for name, value in tensors:
            np.save(mapped.folder / f"{name}.npy", value.detach().float().cpu().numpy())
            names.append(name)
        (mapped.folder / cls.NAMES).write_text(json.dumps(names), encoding="utf-8")
        return mapped

    def lacking(self) -> list[str]:
        """Files that the folder's list names and that are not there; of a folder without a list none is known."""
        names = self.folder / self.NAMES
        listed = json.loads(names.read_text(encoding="utf-8")) if names.is_file() else []
        return [f"{name}.npy" for name in listed if not (self.folder / f"{name}.npy").is_file()]

    def __getitem__(self, name: str) -> Tensor:
        path = self.folder / f"{name}.npy"
        if not path.is_file():
            raise KeyError(name)
        return torch.from_numpy(np.load(path, mmap_mode=self.mode))

    def __iter__(self) -> Iterator[str]:
        return (path.stem for path in sorted(self.folder.glob("*.npy")))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class AveragingCallback(TrainerCallback):
    """Feeds a [`WeightAverage`] during training."""

    def __init__(self, average: WeightAverage):
        self.average = average

    def on_train_begin(self, args, state, control, **kwargs):
        # Also where training begins again, with a smaller batch; a checkpoint brings its average along.
        if state.global_step == 0:
            self.average.start()

    def on_step_end(self, args, state, control, **kwargs):
        self.average.step(state.global_step)

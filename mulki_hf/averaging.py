"""Stage 4, making connections between models: a running weight average within a task, a merge between tasks."""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from .errors import ConfigurationError


class WeightAverage:
    """Uniform running average of a model's trainable parameters, the starting weights counted as the first sample.

    Kept in fp32, updated in place.

    Args:
        model: its parameters with `requires_grad` are averaged; frozen ones never change.
        every (`int`): optimizer steps between two samples; at most the number of steps of the task, so that a short
            task does not average to its starting weights.
        folder (*optional*): keep the average on disk, where one tensor at a time takes memory. Default: in the memory
            of the model's device.
    """

    CHECKPOINT = "weight_average"

    def __init__(self, model: nn.Module, every: int, folder: str | Path | None = None):
        self.model = model
        self.every = every
        self.folder = folder
        self.average: Mapping[str, Tensor] = {}

    def values(self) -> Iterator[tuple[str, Tensor]]:
        """What is averaged, one tensor after another."""
        return ((name, p) for name, p in self.model.named_parameters() if p.requires_grad)

    @torch.no_grad()
    def start(self) -> None:
        """Take the current weights as the first sample."""
        if self.folder is None:
            self.average = {name: value.detach().float().clone() for name, value in self.values()}
        else:
            self.average = MappedTensors.write(self.folder, self.values())

    @torch.no_grad()
    def step(self, global_step: int) -> None:
        """Take the weights after optimizer step `global_step` (1-based) into the average if it is their turn."""
        if global_step % self.every == 0:
            samples = global_step // self.every + 1
            for name, value in self.values():
                average = self.average[name]
                average.lerp_(value.to(average), 1 / samples)

    @torch.no_grad()
    def apply(self) -> None:
        """Make the average the model's weights."""
        for name, parameter in self.values():
            parameter.copy_(self.average[name])

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

    Args:
        folder: where the files lie.
        mode: of [`numpy.load`]; with `r+` changes of a tensor are changes of its file, with `c` files stay as they are.
    """

    def __init__(self, folder: str | Path, mode: str = "r+"):
        self.folder = Path(folder)
        self.mode = mode

    @classmethod
    def write(cls, folder: str | Path, tensors: Iterable[tuple[str, Tensor]]) -> "MappedTensors":
        """Write `tensors` in fp32, in place of what the folder held."""
        mapped = cls(folder)
        shutil.rmtree(mapped.folder, ignore_errors=True)
        mapped.folder.mkdir(parents=True)
        for name, value in tensors:
            np.save(mapped.folder / f"{name}.npy", value.detach().float().cpu().numpy())
        return mapped

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
        self.every = average.every

    def on_train_begin(self, args, state, control, **kwargs):
        self.average.every = min(self.every, state.max_steps)

    def on_step_end(self, args, state, control, **kwargs):
        self.average.step(state.global_step)


@torch.no_grad()
def merge_weights(model: nn.Module, other: nn.Module, alpha: float) -> None:
    """In place, on the trainable parameters: `model = (1 - alpha) * model + alpha * other`."""
    others = dict(other.named_parameters())
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.lerp_(others[name].to(parameter), alpha)

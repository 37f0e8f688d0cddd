"""Stage 4, making connections between models: a running weight average within a task, a merge between tasks."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TrainerCallback


class WeightAverage:
    """Uniform running average of a model's trainable parameters, the starting weights counted as the first sample.

    Kept in fp32, updated in place.

    Args:
        model: its parameters with `requires_grad` are averaged; frozen ones never change.
        every (`int`): optimizer steps between two samples; at most the number of steps of the task, so that a short
            task does not average to its starting weights.
    """

    FILE = "weight_average.safetensors"

    def __init__(self, model: nn.Module, every: int):
        self.model = model
        self.every = every
        self.average = {name: p.detach().float().clone() for name, p in self._trainable()}

    def _trainable(self):
        return ((name, p) for name, p in self.model.named_parameters() if p.requires_grad)

    @torch.no_grad()
    def step(self, global_step: int) -> None:
        """Take the weights after optimizer step `global_step` (1-based) into the average if it is their turn."""
        if global_step % self.every == 0:
            samples = global_step // self.every + 1
            for name, parameter in self._trainable():
                self.average[name].lerp_(parameter.float(), 1 / samples)

    @torch.no_grad()
    def apply(self) -> None:
        """Make the average the model's weights."""
        for name, parameter in self._trainable():
            parameter.copy_(self.average[name])

    def save(self, folder: str | Path) -> None:
        """Write the average beside a Trainer checkpoint."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        save_file(self.average, str(Path(folder) / self.FILE))

    def load(self, folder: str | Path) -> None:
        """Go on from the average in a Trainer checkpoint."""
        for name, saved in load_file(str(Path(folder) / self.FILE)).items():
            self.average[name].copy_(saved)


class AveragingCallback(TrainerCallback):
    """Feeds a [`WeightAverage`] during training and applies it at the end."""

    def __init__(self, average: WeightAverage):
        self.average = average

    def on_train_begin(self, args, state, control, **kwargs):
        self.average.every = min(self.average.every, state.max_steps)

    def on_step_end(self, args, state, control, **kwargs):
        self.average.step(state.global_step)

    def on_train_end(self, args, state, control, **kwargs):
        self.average.apply()


@torch.no_grad()
def merge_weights(model: nn.Module, other: nn.Module, alpha: float) -> None:
    """In place, on the trainable parameters: `model = (1 - alpha) * model + alpha * other`."""
    others = dict(other.named_parameters())
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.lerp_(others[name].to(parameter), alpha)

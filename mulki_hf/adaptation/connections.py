"""What an objective wants done in weight space: average within a task, merge after it, anchor."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast
from torch import Tensor

from ..objectives import Objective
from .averaging import AveragingCallback
from .base import Adaptation


class Connections:
    """The weight space of one task's training.

    The main process alone keeps the average and connects; the other ranks, whose weights are the same, receive the
    outcome.

    Args:
        adaptation ([`Adaptation`]): what is trained.
        objective ([`Objective`]): declares `average_every`, `merge` and `anchor`.
        args ([`MulKIConfig`]): where the average lies.

    Raises:
        ConfigurationError: the adaptation can't do what the objective declares.
    """

    def __init__(self, adaptation: Adaptation, objective: Objective, args: Any):
        adaptation.can_connect(objective)
        self.adaptation = adaptation
        self.merge = objective.merge
        self.strength = objective.anchor
        self.wanted = bool(objective.average_every or objective.merge)
        self.average = adaptation.running_average(objective.average_every, args)
        self._main_process = args.process_index == 0
        self._start: dict[str, Tensor] = {}

    def callbacks(self) -> list[AveragingCallback]:
        """What the Trainer has to call."""
        return [] if self.average is None else [AveragingCallback(self.average)]

    def begin(self, resumed: bool = False) -> None:
        """Before the first step: remember the weights that anchor and merge refer to, unless it goes on."""
        asked = self.strength or (self.merge is not None and self.merge[0] == "start")
        if asked and not (resumed and self._start):
            self._start = {name: value.detach().clone() for name, value in self.adaptation.weights()}

    def anchor(self) -> dict[str, Tensor]:
        """The part of the loss that holds the weights where they were, with gradient, by name."""
        return {"anchor": self.strength * self.adaptation.drift(self._start)} if self.strength else {}

    def connect(self, step: int) -> None:
        """After the last optimizer step, `step`: the student becomes what the task returns; memory is given back."""
        if self.average is not None:
            self.average.last(step)
        self._connect(None if self.average is None else self.average.average)
        self._start = {}
        if self.average is not None:
            self.average.clear()

    @contextmanager
    def as_returned(self, step: int) -> Iterator[None]:
        """Inside the block the student is what the task would return if `step` were the last one."""
        trained = self._trained() if self.wanted else []
        kept = [parameter.detach().clone() for parameter in trained]
        self._connect(None if self.average is None else self.average.as_if_last(step))
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, value in zip(trained, kept, strict=True):
                    parameter.copy_(value)

    def _connect(self, average: Mapping[str, Tensor] | None) -> None:
        if self.wanted:
            if self._main_process:
                teacher, alpha = self.merge or (None, 0.0)
                if teacher == "start":
                    average, teacher = self._with_start(average, alpha), None
                self.adaptation.connect(average, teacher, alpha)
            for parameter in self._trained():
                broadcast(parameter.data)

    def _with_start(self, average: Mapping[str, Tensor] | None, alpha: float) -> dict[str, Tensor]:
        """`(1 - alpha) * average + alpha * start`, where without an average the weights as they are take its place."""
        now = dict(self.adaptation.weights()) if average is None else average
        return {name: torch.lerp(now[name].detach().to(value), value, alpha) for name, value in self._start.items()}

    def _trained(self) -> list[Tensor]:
        return [parameter for parameter in self.adaptation.student.parameters() if parameter.requires_grad]

    # In the Trainer's checkpoints

    def save(self, checkpoint: str | Path) -> None:
        """Write the average into a checkpoint; for the main process."""
        if self.average is not None:
            self.average.save(checkpoint)

    def load(self, checkpoint: str | Path) -> None:
        """Go on from the average in a checkpoint.

        Raises:
            ConfigurationError: it is not there, or that of another model.
        """
        if self.average is not None:
            self.average.load(checkpoint)

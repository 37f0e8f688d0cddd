"""What an adaptation is: it makes the student, knows its teachers, and alone touches weights."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn
from transformers import CLIPModel

from ..errors import ConfigurationError
from ..objectives import Objective
from ..records import ArtefactRecord
from .averaging import WeightAverage
from .teacher import Teacher


Load: TypeAlias = Callable[..., CLIPModel]

LARGE = 2**24
"""Parameters of a model whose average goes to disk."""
FLOAT = 4
"""Bytes of a number in fp32."""


class Adaptation(ABC):
    """What is trained, for one task.

    Attributes:
        student: the model that the trainer trains.
        teachers: `original` and `previous`; in the first task one teacher under both names.
        name: what it is called in messages.
        switch: the field that asks for it when it is given; None: what is trained when no other is asked for.
        arguments: dataclass of its own fields; they become part of `MulKIConfig` and a group of options.
    """

    name: ClassVar[str]
    switch: ClassVar[str | None] = None
    arguments: ClassVar[type | None] = None
    student: nn.Module
    teachers: dict[str, Teacher]

    @classmethod
    def asked_for(cls, args: Any) -> bool:
        """Whether the arguments of a run ask for it."""
        return cls.switch is None or getattr(args, cls.switch) is not None

    @classmethod
    def settle(cls, args: Any) -> None:
        """Fill in fields of `args` that follow from others."""
        return

    @classmethod
    @abstractmethod
    def takes(cls, model: Any) -> bool:
        """Whether `model`, from a user, is one that it trains."""

    @abstractmethod
    def __init__(self, model: Any, args: Any, original: Any = None, previous: Any = None): ...

    @classmethod
    @abstractmethod
    def start(cls, load: Load, args: Any, before: Path | None) -> "Adaptation":
        """For a task of a stream.

        Args:
            load: loads the model of a task's folder or, without one, the model that the stream started from.
            args ([`MulKIConfig`]): the settings.
            before (*optional*): the folder of the task before.
        """

    @classmethod
    def check(cls, model: CLIPModel, args: Any, objective: Objective) -> None:
        """Raise `ConfigurationError` for what `start` or training would refuse; `model` stays as it is."""
        if cls.can_connect is Adaptation.can_connect:
            refuse_connections(cls.name, objective)

    @classmethod
    def checkpoint_size(cls, model: CLIPModel, args: Any, averaged: bool) -> int:
        """Bytes of one of Trainer's checkpoints, about; small adapters and their optimizer are not counted.

        Args:
            model ([`CLIPModel`]): that is trained.
            args ([`MulKIConfig`]): the settings.
            averaged: there is a running average, which is as large as what changes in the model.
        """
        return FLOAT * count(model) * averaged

    @classmethod
    def artefact(cls, args: Any) -> ArtefactRecord | None:
        """What a run with these arguments saves beside the model, if anything."""
        return None

    @abstractmethod
    def finish(self) -> CLIPModel:
        """The plain model that is evaluated and saved; uses the student up."""

    def save(self, folder: Path, base: str, revision: str | None) -> None:
        """Write the artefact into a task's `folder`, before `finish`; `base` and its `revision`: what it belongs to."""
        return

    def facts(self) -> dict[str, Any]:
        """What training showed, by name, for the task's record in `results.json`."""
        return {}

    @classmethod
    def note(cls, args: Any, facts: dict[str, Any]) -> str:
        """A sentence on `facts` for the artefact's card, if there is anything to say."""
        return ""

    # Weight space: average, merge, anchor

    def running_average(self, every: int, args: Any) -> WeightAverage | None:
        """A running mean of `weights`, a sample every so many steps; 0: none.

        For the main process, which alone connects: see [`MulKITrainer.connect`].
        """
        if not every or args.process_index:
            return None
        on_disk = args.average_on_disk
        if on_disk is None:
            # Files of many small tensors take longer to open than to read.
            large = count(self.student) >= LARGE
            on_disk = large and args.device.type == "cpu"
        return WeightAverage(self.weights, every, Path(args.output_dir) / "_weight_average" if on_disk else None)

    def can_connect(self, objective: Objective) -> None:
        """Raise `ConfigurationError` for an average, merge or anchor of the objective that can't be done."""
        refuse_connections(self.name, objective)

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """What a mean is taken of, as it is now: parameters, or changes of layers."""
        raise ConfigurationError(f"{self.name} has no weights to average")

    def connect(self, average: Mapping[str, Tensor] | None, teacher: str | None, alpha: float) -> None:
        """The student becomes `(1 - alpha) * average + alpha * teacher`.

        Args:
            average: of `weights`; None: the student as it is.
            teacher: `original` or `previous`; in the first task there is no previous one to merge with.
            alpha (`float`): the teacher's share.
        """
        raise ConfigurationError(f"{self.name} has no weights to connect")

    def drift(self, start: Mapping[str, Tensor]) -> Tensor:
        """Squared distance of `weights` to those of `start`, with gradient: what an objective's `anchor` weighs."""
        return torch.stack([(value - start[name]).square().sum() for name, value in self.weights()]).sum()

    @property
    def first(self) -> bool:
        """Whether this is the first task, where nothing was learned before."""
        return self.teachers["previous"] is self.teachers["original"]


def count(model: nn.Module) -> int:
    """A model's parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def refuse_connections(name: str, objective: Objective) -> None:
    """Raise `ConfigurationError` if the objective wants anything in weight space, of what is called `name`."""
    wishes = {"averaged": objective.average_every, "merged": objective.merge, "anchored": objective.anchor}
    for wish, wanted in wishes.items():
        if wanted:
            raise ConfigurationError(
                f"{name} can't be {wish}: there is no mean of its weight changes that could be written back; "
                f"{objective.disconnected_by}"
            )

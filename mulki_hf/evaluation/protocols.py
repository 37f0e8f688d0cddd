"""Which classes compete when an image is classified: masks over the classes of the whole stream. Needs no torch."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import ConfigurationError


class Protocol(ABC):
    """A rule of competition.

    Attributes:
        sentence: what it means, as cards say it after "Accuracy in percent on every task, ...".
    """

    sentence: str

    @abstractmethod
    def mask(self, owner: Any, position: int, learned: int) -> Any:
        """The classes that compete for the images of a task, a boolean array or tensor `(N,)`.

        Args:
            owner (`(N,)`): position of the task that each class of the stream belongs to.
            position (`int`): the task's.
            learned (`int`): how many tasks the model has learned.
        """


class TaskIncremental(Protocol):
    sentence = "each among the classes of its own task (task-incremental)"

    def mask(self, owner: Any, position: int, learned: int) -> Any:
        return owner == position


class ClassIncremental(Protocol):
    sentence = "each among the classes of all tasks seen so far and its own (class-incremental)"

    def mask(self, owner: Any, position: int, learned: int) -> Any:
        return (owner < learned) | (owner == position)


class TaskAgnostic(Protocol):
    sentence = "each among the classes of every task of the stream (cross-domain task-agnostic)"

    def mask(self, owner: Any, position: int, learned: int) -> Any:
        return owner >= 0


PROTOCOLS: dict[str, Protocol] = {"til": TaskIncremental(), "cil": ClassIncremental(), "xtail": TaskAgnostic()}


@dataclass
class EvaluationArguments:
    """What accuracy means."""

    protocol: Literal["til", "cil", "xtail"] = field(
        default="til",
        metadata={
            "help": "Classes that compete in evaluation: the task's own (til), those of all tasks seen so far and its "
            "own (cil), or those of every task in the stream (xtail)."
        },
    )

    def __post_init__(self):
        if self.protocol not in PROTOCOLS:
            raise ConfigurationError(f"protocol must be one of {', '.join(PROTOCOLS)}, got {self.protocol!r}")

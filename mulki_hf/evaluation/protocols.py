"""Which classes compete when an image is classified: masks over the classes of the whole stream. Needs no torch."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigurationError, shown


class Protocol(ABC):
    """A rule of competition.

    Attributes:
        sentence: what it means, as cards say it after "Accuracy in percent on every task, ...".
        of_all_tasks: whether the classes of tasks that are far from learned compete too, so that a task that is
            appended changes every cell.
    """

    sentence: str
    of_all_tasks = False

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
    of_all_tasks = True

    def mask(self, owner: Any, position: int, learned: int) -> Any:
        return owner >= 0


PROTOCOLS: dict[str, Protocol] = {"til": TaskIncremental(), "cil": ClassIncremental(), "xtail": TaskAgnostic()}


@dataclass
class EvaluationArguments:
    """What accuracy means.

    Raises:
        ConfigurationError: a protocol is unknown or there twice, or there is none.
    """

    protocols: list[str] = field(
        default_factory=lambda: ["til"],
        metadata={
            "help": "Classes that compete in evaluation: the task's own (til), those of all tasks seen so far and its "
            "own (cil), or those of every task in the stream (xtail). Of several (til,cil,xtail) the first is the "
            "headline; images are encoded once for all.",
            # What it was called while there was one.
            "aliases": ["--protocol"],
        },
    )

    def __post_init__(self):
        given = [self.protocols] if isinstance(self.protocols, str) else self.protocols
        # `til,cil` is one word of a command line, `til, cil` two.
        names = " ".join(given).replace(",", " ").split()
        if not names:
            raise ConfigurationError(f"protocols must name at least one of {', '.join(PROTOCOLS)}, got {given}")
        for name in names:
            if name not in PROTOCOLS:
                raise ConfigurationError(f"protocols must be of {', '.join(PROTOCOLS)}, got {shown(name)}")
            if names.count(name) > 1:
                raise ConfigurationError(f"protocols must differ from each other, got {name!r} twice")
        self.protocols = names


def renamed(recipe: dict[str, Any], source: str) -> dict[str, Any]:
    """A recipe of older versions, which knew one `protocol`, with that among `protocols`.

    Raises:
        ConfigurationError: it has both.
    """
    if "protocol" not in recipe:
        return recipe
    if "protocols" in recipe:
        raise ConfigurationError(f"{source}: protocol is an older name of protocols: give one of them, got both")
    return {"protocols" if name == "protocol" else name: value for name, value in recipe.items()}

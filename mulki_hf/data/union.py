"""Several tasks as one, for training on all of them at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from datasets import Dataset, concatenate_datasets

from .labels import labels_of, with_labels
from .task import Task


@dataclass(frozen=True)
class Union(Task):
    """A task of all classes and images of others; made by [`union`].

    Attributes:
        parts: the tasks, in order; their classes follow one another. Every part keeps its templates.
    """

    tasks: tuple[Task, ...] = ()

    @property
    def parts(self) -> tuple[Task, ...]:
        return self.tasks


def union(tasks: Sequence[Task], name: str = "joint") -> Union:
    """One task of all of `tasks`; classes that several of them have stay apart, named `TASK: CLASS`."""
    starts = np.cumsum([0, *(len(task.class_names) for task in tasks)])

    def together(split: str) -> Dataset:
        rows = [getattr(task, split) for task in tasks]
        return concatenate_datasets(
            [with_labels(part, labels_of(part) + start) for part, start in zip(rows, starts[:-1], strict=True)]
        )

    return Union(
        name,
        [f"{task.name}: {class_name}" for task in tasks for class_name in task.class_names],
        list(dict.fromkeys(template for task in tasks for template in task.templates)),
        together("train"),
        together("evaluation"),
        validation=together("validation") if all(task.validation is not None for task in tasks) else None,
        tasks=tuple(tasks),
    )

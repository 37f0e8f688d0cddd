"""Which rows of which splits a task's parts are: splits as they are, or drawn at random from one."""

from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
from datasets import Dataset

from ..errors import Attempt, ConfigurationError
from .classes import classes_of
from .labels import LEFT_OUT, Classes, read_labels
from .rows import check_column, load_split
from .splitting import sorted_rows
from .task_config import TaskConfig


@dataclass(frozen=True)
class Source:
    """Where a part of a task comes from.

    Attributes:
        split: of the dataset.
        drawn (*optional*): which part of its random split it is.
    """

    split: str
    drawn: str | None = None


@dataclass(frozen=True)
class Loaded:
    """The rows of a part, not yet looked at.

    Attributes:
        split: that they are of.
        rows: `N` of them, with those of other parts.
        classes ([`Classes`]): what their labels mean.
        where: dataset and split, for messages.
        own (`(N,)`, bool, *optional*): the part's; None: all of them.
    """

    split: str
    rows: Dataset
    classes: Classes
    where: str
    own: np.ndarray | None

    @property
    def used(self) -> np.ndarray:
        """The part's rows `(N,)`, bool."""
        return np.ones(len(self.rows), dtype=bool) if self.own is None else self.own

    @property
    def count(self) -> int:
        return int(self.used.sum())


def find_sources(task: TaskConfig, on_validation: bool = False, validation: bool = False) -> dict[str, Source]:
    """Of each part of a task its source: `train`, `evaluation` and, if they are asked for and there, `validation`.

    Args:
        task: its entry.
        on_validation: validation data take the place of those for evaluation.
        validation: they are wanted beside them.

    Raises:
        ConfigurationError: there are no validation data that could take that place.
    """
    drawn = task.random_split.gives if task.random_split else ()
    splits = {"train": task.train_split, "evaluation": task.eval_split, "validation": task.validation_split}
    splits |= dict.fromkeys(drawn, task.train_split)
    sources = {name: Source(split, name if name in drawn else None) for name, split in splits.items() if split}
    held_out = sources.pop("validation", None)
    if on_validation:
        if held_out is None:
            raise ConfigurationError(
                f"task {task.name!r}, {task.origin}: evaluate_on is validation but the task has no validation_split"
            )
        sources["evaluation"] = held_out
    elif validation and held_out is not None:
        sources["validation"] = held_out
    return sources


def load_sources(
    task: TaskConfig, sources: dict[str, Source], where: str, attempt: Attempt = nullcontext
) -> dict[str, Loaded]:
    """The rows of each part; a split that several are drawn from is loaded once.

    Args:
        task, sources, where: its entry, what [`find_sources`] says of it, and both for messages.
        attempt: around each split; parts of one whose error it takes are left out.

    Raises:
        ConfigurationError: a split can't be loaded, a column is missing, or the classes are not those of the data.
    """
    splits: dict[str, Loaded] = {}
    # The training split comes first: unless they are mapped, names mean in all of them what they mean there.
    for split in dict.fromkeys(source.split for source in sources.values()):
        with attempt():
            splits[split] = _load(task, split, where, next(iter(splits.values()), None), attempt)
    parts: dict[str, dict[str, np.ndarray]] = {}
    for split in {source.split for source in sources.values() if source.drawn} & {*splits}:
        with attempt():
            parts[split] = _draw(task, splits[split])
    return {
        name: replace(own, own=parts[source.split][source.drawn]) if source.drawn else own
        for name, source in sources.items()
        if (own := splits.get(source.split)) and (not source.drawn or source.split in parts)
    }


def _load(task: TaskConfig, split: str, where: str, first: Loaded | None, attempt: Attempt) -> Loaded:
    rows = load_split(where, task.dataset, split, task.config_name, task.data_dir, task.data_files, task.revision)
    here = f"{where}, split {split!r}"
    with attempt():
        check_column(rows, task.image_column, here)
    check_column(rows, task.label_column, here)
    if first is None or isinstance(task.class_names, dict):
        classes = classes_of(task, rows.features[task.label_column], here)
    else:
        classes = first.classes
    if not task.left_out_classes:
        return Loaded(split, rows, classes, here, None)
    every = np.ones(len(rows), dtype=bool)
    return Loaded(split, rows, classes, here, read_labels(rows, task.label_column, every, classes, here) != LEFT_OUT)


def _draw(task: TaskConfig, loaded: Loaded) -> dict[str, np.ndarray]:
    """Of each part that the random split makes its rows `(N,)`, bool."""
    if task.random_split is None:
        return {}
    rows, where = loaded.rows, f"{loaded.where}, random_split, sorted_by"
    for column in task.random_split.sorted_by:
        check_column(rows, column, where)
    labels = read_labels(rows, task.label_column, loaded.used, loaded.classes, loaded.where)
    order = sorted_rows(rows, labels, task.random_split.sorted_by, task.label_column, where)
    parts = {}
    for name, numbers in task.random_split.parts(order).items():
        parts[name] = np.zeros(len(rows), dtype=bool)
        parts[name][numbers] = True
    return parts

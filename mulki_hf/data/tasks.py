"""The stream of tasks from `datasets`: load, check and bring into one form (columns `image` and `label`)."""

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from datasets import ClassLabel

from ..errors import Attempt, ConfigurationError, shown
from .checked import parts_fingerprint
from .class_orders import class_groups
from .config import DataArguments
from .given import checked_task
from .labels import LEFT_OUT, of_classes, read_labels, with_labels
from .row_files import read_rows
from .rows import Split, with_images
from .sampling import RECORDED, Chosen, Limit
from .sources import Loaded, find_sources, load_sources
from .task import Task
from .task_config import LIMITS, TaskConfig


logger = logging.getLogger(__name__)


def load_stream(config: DataArguments, validation: bool = False) -> list[Task]:
    """Load and check every task of the stream, in order.

    Args:
        config: with the tasks.
        validation: also the validation data of those that have some, for evaluations during training.

    Raises:
        ConfigurationError: anything that would stop training later: a dataset, split, column, label, class name,
            template or image that is missing or unusable. The message names task, dataset and row or field.
    """
    tasks = []
    for entry in config.task_configs():
        tasks += [checked_task(entry, config)] if isinstance(entry, Task) else load_task(entry, config, validation)
    check_unique(tasks)
    for task in tasks:
        absent = task.classes_without_training_images()
        if absent:
            few = ", ".join(map(shown, absent[:5])) + (", ..." if len(absent) > 5 else "")
            logger.warning(
                f"task {task.name!r}: no training image of {len(absent)} of {len(task.class_names)} classes ({few}); "
                "they get no visual prototype"
            )
        if len(task.class_names) == 1:
            logger.warning(
                f"task {task.name!r} has a single class, {shown(task.class_names[0])}: its loss has nothing to tell "
                "apart, and among its own classes (protocol til) every image is right"
            )
    return tasks


def check_unique(tasks: Sequence[Task]) -> None:
    """Raise `ConfigurationError` for tasks of one name."""
    names = [task.name for task in tasks]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigurationError(f"tasks: names must be unique, got {', '.join(repeated)} more than once")


def load_task(
    task: TaskConfig, config: DataArguments, validation: bool = False, attempt: Attempt = nullcontext
) -> list[Task]:
    """The task that `task` describes or, with `class_incremental`, the tasks.

    Args:
        task, config, validation: its entry, and as [`load_stream`] has them.
        attempt: around each check; where it takes an error that leaves nothing to go on with, there are no tasks.
    """
    where = f"task {task.name!r}, {task.origin}"
    limits, given = config.limits(task), dict[str, Chosen]()
    if task.rows is not None:
        found = read_rows(task.rows, f"task {task.name!r}")
        asked: dict[str, Any] = {**found.limits}
        task, given = replace(task, rows=None, **asked), found.parts
        # The stream's have no say in what is listed.
        limits = {name: value for name, value in found.limits.items() if name in LIMITS}
    sources = find_sources(task, config.evaluate_on == "validation", validation)
    loaded = load_sources(task, sources, where, attempt)
    for name, own in loaded.items():
        with attempt():
            _check_same_names(task, next(iter(loaded.values())), own, where)
        if task.benchmark is not None:
            with attempt():
                task.benchmark.check_classes(len(own.classes.names), where)
        counted = name == "train" or (name == "evaluation" and config.evaluate_on == "test")
        if task.benchmark is not None and counted:
            with attempt():
                task.benchmark.check_images(name, own.count, where)
    parts: dict[str, Part] = {}
    if loaded.keys() == sources.keys():
        class_names = loaded["train"].classes.names
        groups = class_groups(
            task.class_incremental, task.class_order, task.class_order_seed, class_names, f"task {task.name!r}"
        )
        for name, own in loaded.items():
            with attempt():
                parts[name] = _part(task, own, groups, name, limits, given.get(name), config)
    if parts.keys() != sources.keys():
        return []
    return [
        _of_classes(task, name, classes, class_names, parts, number, limits, config)
        for number, (name, classes) in enumerate(zip(task.task_names, groups, strict=True))
    ]


def _check_same_names(task: TaskConfig, first: Loaded, other: Loaded, where: str) -> None:
    """Unless they are mapped, the labels of a split that have names must have those of the training split."""
    features = [one.rows.features[task.label_column] for one in (first, other)]
    if isinstance(task.class_names, dict) or not all(isinstance(one, ClassLabel) for one in features):
        return
    if features[0].names != features[1].names:
        raise ConfigurationError(
            f"{where}: column {task.label_column!r} has other class names, or another order of them, in split "
            f"{other.split!r} than in {first.split!r}"
        )


@dataclass(frozen=True)
class Part:
    """A split as the tasks of an entry share it.

    Attributes:
        name: of the split.
        split ([`Split`]): its images.
        labels (`(N,)`): positions among all class names; [`LEFT_OUT`] where no task has the row.
        found: by task, of how many images its own were drawn; empty if none were left out.
    """

    name: str
    split: Split
    labels: np.ndarray
    found: list[int]


def _part(
    task: TaskConfig,
    loaded: Loaded,
    groups: list[list[int]],
    name: str,
    limits: dict[str, int],
    given: Chosen | None,
    config: DataArguments,
) -> Part:
    """The part `name` with what the tasks, the classes of `groups`, have of it; the images of no other are read.

    Of a sample it is the rows that are `given`, or drawn anew.
    """
    rows, where = loaded.rows, loaded.where
    limit = Limit.of(limits, task.sample_seed, training=name == "train")
    wanted, found = loaded.own, []
    if limit:
        labels = read_labels(rows, task.label_column, loaded.used, loaded.classes, where)
        wanted = np.zeros(len(rows), dtype=bool)
        for classes in groups:
            own = np.isin(labels, classes)
            wanted |= limit.kept(np.where(own, labels, LEFT_OUT))
            found.append(int(own.sum()))
        if given is not None:
            wanted = given.wanted(loaded.split, labels != LEFT_OUT, where)
            for own_name, classes in zip(task.task_names, groups, strict=True):
                if not (wanted & np.isin(labels, classes)).any():
                    raise ConfigurationError(
                        f"{where}: rows has none of task {own_name!r}; with class_incremental it lists the files of "
                        "all its tasks"
                    )
        class_names = loaded.classes.names
        short = [f"{shown(class_names[label])} ({count})" for label, count in limit.short(labels).items()]
        if short:
            few = ", ".join(short[:5]) + (", ..." if len(short) > 5 else "")
            logger.warning(
                f"task {task.name!r}: shots is {limit.shots}, but {len(short)} of {len(class_names)} classes have "
                f"fewer training images and give all of them: {few}"
            )
    split = with_images(rows, task.image_column, where, config, wanted)
    if given is not None:
        given.check(split.digests, split.seen, where)
    return Part(loaded.split, split, read_labels(rows, task.label_column, split.used, loaded.classes, where), found)


def _of_classes(
    task: TaskConfig,
    name: str,
    classes: list[int],
    class_names: list[str],
    parts: dict[str, Part],
    number: int,
    limits: dict[str, int],
    config: DataArguments,
) -> Task:
    """The task of some classes, the `number`th of its entry."""
    own = {part: (kept.split, of_classes(kept.labels, classes)) for part, kept in parts.items()}
    found = {RECORDED[part]: kept.found[number] for part, kept in parts.items() if kept.found and part in RECORDED}
    return Task(
        name,
        [class_names[label] for label in classes],
        task.templates or config.templates,
        dataset=task.dataset,
        fingerprint=parts_fingerprint(
            [(split.digests[labels != LEFT_OUT], labels[labels != LEFT_OUT]) for split, labels in own.values()]
        ),
        limits=limits | {"sample_seed": task.sample_seed} | found if limits else {},
        eval_templates=task.eval_templates,
        settings=task.settings,
        chosen={
            part: Chosen.of(kept.name, own[part][1] != LEFT_OUT, kept.split.digests)
            for part, kept in parts.items()
            if kept.found
        },
        benchmark=task.benchmark and (task.benchmark.part() if task.task_count > 1 else task.benchmark),
        **{part: with_labels(split.images, labels) for part, (split, labels) in own.items()},
    )

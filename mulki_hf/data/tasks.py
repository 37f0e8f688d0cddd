"""The stream of tasks from `datasets`: load, check and bring into one form (columns `image` and `label`)."""

import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, Image

from ..errors import ConfigurationError, shown
from .captions import read_texts, texts_of
from .checked import content_fingerprint
from .config import DataArguments, TaskConfig
from .labels import LEFT_OUT, labels_of, of_classes, read_labels, with_labels
from .names import check_class_names
from .rows import Split, check_column, load_split, with_images
from .sampling import Limit
from .task import Task


logger = logging.getLogger(__name__)

RECORDED = {"train": "training_images", "evaluation": "evaluation_images"}
"""What a [`TaskRecord`] calls how many images a split has."""


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
    names = [task.name for task in tasks]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigurationError(f"tasks: names must be unique, got {', '.join(repeated)} more than once")
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


def checked_task(task: Task, config: DataArguments) -> Task:
    """A task that was given in Python, its images checked as those of any other."""
    where = f"task {task.name!r}"
    if config.evaluate_on == "validation":
        if task.validation is None:
            raise ConfigurationError(f"{where}: evaluate_on is validation but the task has no validation data")
        task = replace(task, evaluation=task.validation, validation=None)
    asked = config.limits(task)
    own, contents = {}, []
    found: dict[str, int] = {}
    for name, rows in task.splits.items():
        if not getattr(rows.features["image"], "decode", False):
            rows = rows.cast_column("image", Image())
        wanted, limit = None, Limit.of(asked, seed=0, training=name == "train")
        if limit:
            wanted = limit.kept(labels_of(rows))
            found |= {RECORDED[name]: len(rows)} if name in RECORDED else {}
        split = with_images(rows, "image", f"{where}, {name} data", config, wanted)
        used = np.flatnonzero(split.used)
        own[name] = rows if len(used) == len(rows) else rows.select(used)
        contents.append((split.digests[used], labels_of(rows)[used]))
    limits = asked | {"sample_seed": 0} | found if asked else task.limits
    return replace(task, fingerprint=_fingerprint(contents), limits=limits, **own)


def _fingerprint(splits: list[tuple[np.ndarray, np.ndarray]]) -> str:
    """Of digests and labels: of training and evaluation data and, behind a dash, of validation data."""
    validation = [content_fingerprint(splits[2:])[:16]] if splits[2:] else []
    return "-".join([content_fingerprint(splits[:2]), *validation])


def load_task(task: TaskConfig, config: DataArguments, validation: bool = False) -> list[Task]:
    """The task that `task` describes or, with `class_incremental: N`, the N tasks."""
    where = f"task {task.name!r}, dataset {task.dataset!r}"
    splits = {"train": task.train_split, "evaluation": task.eval_split}
    if config.evaluate_on == "validation":
        if task.validation_split is None:
            raise ConfigurationError(f"{where}: evaluate_on is validation but the task has no validation_split")
        splits["evaluation"] = task.validation_split
    elif validation and task.validation_split is not None:
        splits["validation"] = task.validation_split
    loaded = {name: _rows(task, split, where) for name, split in splits.items()}
    class_names = _class_names(task, loaded["train"])
    known = {name: rows.features[task.label_column] for name, rows in loaded.items()}
    for name, feature in known.items():
        own = known["train"], feature
        if all(isinstance(one, ClassLabel) for one in own) and own[0].names != own[1].names:
            raise ConfigurationError(
                f"{where}: column {task.label_column!r} has other class names, or another order of them, in split "
                f"{splits[name]!r} than in {splits['train']!r}"
            )
    groups = _split_classes(task, len(class_names))
    parts = {
        name: _part(task, rows, class_names, groups, name, f"{where}, split {splits[name]!r}", config)
        for name, rows in loaded.items()
    }
    names = [task.name] if task.class_incremental == 1 else [f"{task.name}-{n + 1}" for n in range(len(groups))]
    return [
        _of_classes(task, name, classes, class_names, parts, number, config)
        for number, (name, classes) in enumerate(zip(names, groups, strict=True))
    ]


@dataclass(frozen=True)
class Part:
    """A split as the tasks of an entry share it.

    Attributes:
        split ([`Split`]): its images.
        labels (`(N,)`): positions among all class names; [`LEFT_OUT`] where no task has the row.
        found: by task, of how many images its own were drawn; empty if none were left out.
    """

    split: Split
    labels: np.ndarray
    found: list[int]


def _rows(task: TaskConfig, split: str, where: str) -> Dataset:
    rows = load_split(where, task.dataset, split, task.config_name, task.data_dir, task.data_files, task.revision)
    check_column(rows, task.label_column, f"{where}, split {split!r}")
    return rows


def _part(
    task: TaskConfig,
    rows: Dataset,
    class_names: list[str],
    groups: list[list[int]],
    name: str,
    where: str,
    config: DataArguments,
) -> Part:
    """The split `name` with what the tasks, the classes of `groups`, have of it; the images of no other are read."""
    limit = Limit.of(config.limits(task), task.sample_seed, training=name == "train")
    wanted, found = None, []
    if limit:
        labels = read_labels(rows, task.label_column, np.ones(len(rows), dtype=bool), class_names, where)
        wanted = np.zeros(len(rows), dtype=bool)
        for classes in groups:
            own = np.isin(labels, classes)
            wanted |= limit.kept(np.where(own, labels, LEFT_OUT))
            found.append(int(own.sum()))
        short = [f"{shown(class_names[label])} ({count})" for label, count in limit.short(labels).items()]
        if short:
            few = ", ".join(short[:5]) + (", ..." if len(short) > 5 else "")
            logger.warning(
                f"task {task.name!r}: shots is {limit.shots}, but {len(short)} of {len(class_names)} classes have "
                f"fewer training images and give all of them: {few}"
            )
    split = with_images(rows, task.image_column, where, config, wanted)
    return Part(split, read_labels(rows, task.label_column, split.used, class_names, where), found)


def _of_classes(
    task: TaskConfig,
    name: str,
    classes: list[int],
    class_names: list[str],
    parts: dict[str, Part],
    number: int,
    config: DataArguments,
) -> Task:
    """The task of some classes, the `number`th of its entry."""
    own = {part: (kept.split, of_classes(kept.labels, classes)) for part, kept in parts.items()}
    asked = config.limits(task)
    found = {RECORDED[part]: kept.found[number] for part, kept in parts.items() if kept.found and part in RECORDED}
    return Task(
        name,
        [class_names[label] for label in classes],
        task.templates or config.templates,
        dataset=task.dataset,
        fingerprint=_fingerprint(
            [(split.digests[labels != LEFT_OUT], labels[labels != LEFT_OUT]) for split, labels in own.values()]
        ),
        limits=asked | {"sample_seed": task.sample_seed} | found if asked else {},
        eval_templates=task.eval_templates,
        settings=task.settings,
        **{part: with_labels(split.images, labels) for part, (split, labels) in own.items()},
    )


@dataclass(frozen=True)
class Reference:
    """The unlabelled reference images, and reference texts, which belong to no image.

    Attributes:
        images ([`datasets.Dataset`], *optional*): one column, `image`.
        dataset: where they come from, as the configuration names it.
        fingerprint (*optional*): of their content, as a task's.
        texts: each once, in the order in which they first come.
    """

    images: Dataset | None
    dataset: str | None = None
    fingerprint: str | None = None
    texts: tuple[str, ...] = ()


def load_reference(config: DataArguments) -> Reference | None:
    """The unlabelled reference set, if there is one.

    Raises:
        ConfigurationError: images or texts are missing or unusable; the message names dataset, row or file.
    """
    if config.reference_dataset is None:
        return of_texts(read_texts(config.reference_texts)) if config.reference_texts else None
    where = f"reference_dataset {config.reference_dataset!r}"
    rows = load_split(
        where,
        config.reference_dataset,
        config.reference_split,
        config.reference_config_name,
        None,
        config.reference_data_files,
        config.reference_revision,
    )
    texts: tuple[str, ...] = ()
    if config.reference_texts is not None:
        texts = read_texts(config.reference_texts)
    elif config.reference_text_column is not None:
        texts = texts_of(rows, config.reference_text_column, where)
    split = with_images(rows, config.reference_image_column, f"{where}, split {config.reference_split!r}", config)
    used = np.flatnonzero(split.used)
    images = split.images if len(used) == len(split.used) else split.images.select(used)
    fingerprint = content_fingerprint([(split.digests[used], np.zeros(len(used), dtype=np.int64))])
    return replace(of_texts(texts, fingerprint), images=images, dataset=config.reference_dataset)


def of_texts(texts: tuple[str, ...], images: str | None = None) -> Reference:
    """Reference texts, with the fingerprint of both where there are `images` of that fingerprint too."""
    if not texts:
        return Reference(None, fingerprint=images)
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
    return Reference(None, fingerprint=f"{images}-{digest}" if images else digest, texts=texts)


def _class_names(task: TaskConfig, train: Dataset) -> list[str]:
    where = f"task {task.name!r}"
    names = task.class_names
    if isinstance(names, str):
        try:
            text = Path(names).read_text(encoding="utf-8-sig")
            names = [line.strip() for line in text.splitlines() if line.strip()]
        except (OSError, ValueError) as error:
            reason = f"it is not UTF-8 text ({error}); save it as UTF-8" if isinstance(error, UnicodeError) else error
            raise ConfigurationError(f"{where}: can't read class_names file {shown(names)}: {reason}") from error
    if names is None:
        feature = train.features[task.label_column]
        if not isinstance(feature, ClassLabel):
            raise ConfigurationError(
                f"{where}: class names are missing: column {task.label_column!r} of {task.dataset!r} is "
                f"{feature}, not a ClassLabel; give class_names"
            )
        names = feature.names
    check_class_names(names, where)
    return list(names)


def _split_classes(task: TaskConfig, num_classes: int) -> list[list[int]]:
    """The classes of each task that the entry stands for."""
    if task.class_incremental > num_classes:
        raise ConfigurationError(
            f"task {task.name!r}: class_incremental is {task.class_incremental}, but there are {num_classes} classes"
        )
    if task.class_incremental == 1:
        return [list(range(num_classes))]
    order = np.arange(num_classes)
    if task.class_order_seed is not None:
        np.random.default_rng(task.class_order_seed).shuffle(order)
    return [part.tolist() for part in np.array_split(order, task.class_incremental)]

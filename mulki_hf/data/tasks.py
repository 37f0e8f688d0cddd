"""The stream of tasks from `datasets`: load, check and bring into one form (columns `image` and `label`)."""

import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset

from ..errors import ConfigurationError, shown
from .captions import read_texts, texts_of
from .checked import content_fingerprint
from .config import DataArguments, TaskConfig
from .labels import LEFT_OUT, check_labels, labels_of, of_classes, read_labels, with_labels
from .names import check_class_names, check_templates
from .rows import Split, check_column, check_no_transform, load_split, with_images


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """One task of the stream, ready to train on.

    Attributes:
        name: short name, part of the checkpoint's folder name.
        class_names: `C` unique names; a label is a position in it.
        templates: prompt templates with `{}` for the class name.
        train, evaluation ([`datasets.Dataset`]): columns `image` ([`datasets.Image`]) and `label` (0..C-1).
        dataset: where the data come from, as the configuration names it.
        fingerprint (*optional*): of images and labels, the same on every machine and in every format.

    Raises:
        ConfigurationError: class names, templates, columns, labels or rows are not as described, or the rows have a
            transform, which the model's own would replace.
    """

    name: str
    class_names: list[str]
    templates: list[str]
    train: Dataset
    evaluation: Dataset
    dataset: str | None = None
    fingerprint: str | None = None

    def __post_init__(self):
        where = f"task {self.name!r}"
        check_class_names(self.class_names, where)
        check_templates(self.templates, where)
        for split, rows in (("train", self.train), ("evaluation", self.evaluation)):
            for column in ("image", "label"):
                if column not in rows.column_names:
                    raise ConfigurationError(
                        f"{where}: {split} data have no column {column!r}, only {rows.column_names}"
                    )
            if len(rows) == 0:
                raise ConfigurationError(f"{where}: {split} data are empty")
            check_no_transform(rows, f"{where}: {split} data")
            labels = labels_of(rows, f"{where}, {split} data")
            check_labels(labels, self.class_names, f"{where}, {split} data")

    @property
    def parts(self) -> tuple["Task", ...]:
        """The tasks that it is made of: itself, but see [`Union`]."""
        return (self,)

    def classes_without_training_images(self) -> list[str]:
        """Names of the classes that no training image shows; they get no visual prototype."""
        seen = set(np.unique(labels_of(self.train)).tolist())
        return [name for label, name in enumerate(self.class_names) if label not in seen]


def check_evaluation(task: Task, rows: Any) -> None:
    """Raise `ConfigurationError` for evaluation data of one's own that can't be those of `task`.

    Args:
        task ([`Task`]): whose classes are evaluated.
        rows: a [`datasets.Dataset`], several by name, or None. Rows with a transform are its maker's to answer for.
    """
    for part in rows.values() if isinstance(rows, dict) else [] if rows is None else [rows]:
        if not isinstance(part, Dataset):
            raise ConfigurationError(
                f"task {task.name!r}: eval_dataset must be a Dataset or a dict of them, got {type(part).__name__}"
            )
        if part.format["type"] != "custom":
            replace(task, evaluation=part)


def load_stream(config: DataArguments) -> list[Task]:
    """Load and check every task of the stream, in order.

    Raises:
        ConfigurationError: anything that would stop training later: a dataset, split, column, label, class name,
            template or image that is missing or unusable. The message names task, dataset and row or field.
    """
    tasks = [task for task_config in config.task_configs() for task in load_task(task_config, config)]
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


def load_task(task: TaskConfig, config: DataArguments) -> list[Task]:
    """The task that `task` describes or, with `class_incremental: N`, the N tasks."""
    where = f"task {task.name!r}, dataset {task.dataset!r}"
    eval_split = task.eval_split
    if config.evaluate_on == "validation":
        if task.validation_split is None:
            raise ConfigurationError(f"{where}: evaluate_on is validation but the task has no validation_split")
        eval_split = task.validation_split

    def load(split: str) -> Split:
        rows = load_split(where, task.dataset, split, task.config_name, task.data_dir, task.data_files, task.revision)
        check_column(rows, task.label_column, f"{where}, split {split!r}")
        return with_images(rows, task.image_column, f"{where}, split {split!r}", config)

    train, evaluation = load(task.train_split), load(eval_split)
    class_names = _class_names(task, train.rows)
    known = [split.rows.features[task.label_column] for split in (train, evaluation)]
    if all(isinstance(feature, ClassLabel) for feature in known) and known[0].names != known[1].names:
        raise ConfigurationError(
            f"{where}: column {task.label_column!r} has other class names, or another order of them, in split "
            f"{eval_split!r} than in {task.train_split!r}"
        )
    parts = [
        (split, read_labels(split.rows, task.label_column, split.used, class_names, f"{where}, split {name!r}"))
        for split, name in ((train, task.train_split), (evaluation, eval_split))
    ]
    if task.class_incremental == 1:
        return [_of_classes(task, task.name, list(range(len(class_names))), class_names, parts, config)]
    return [
        _of_classes(task, f"{task.name}-{number}", classes, class_names, parts, config)
        for number, classes in enumerate(_split_classes(task, len(class_names)), start=1)
    ]


def _of_classes(
    task: TaskConfig,
    name: str,
    classes: list[int],
    class_names: list[str],
    parts: list[tuple[Split, np.ndarray]],
    config: DataArguments,
) -> Task:
    """The task of some classes; `parts` are the splits for training and evaluation with all their labels."""
    own = [(split, of_classes(labels, classes)) for split, labels in parts]
    train, evaluation = (with_labels(split.images, labels) for split, labels in own)
    kept = [(split.digests[labels != LEFT_OUT], labels[labels != LEFT_OUT]) for split, labels in own]
    return Task(
        name,
        [class_names[label] for label in classes],
        task.templates or config.templates,
        train,
        evaluation,
        task.dataset,
        content_fingerprint(kept),
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
    if task.class_incremental > num_classes:
        raise ConfigurationError(
            f"task {task.name!r}: class_incremental is {task.class_incremental}, but there are {num_classes} classes"
        )
    order = np.arange(num_classes)
    if task.class_order_seed is not None:
        np.random.default_rng(task.class_order_seed).shuffle(order)
    return [part.tolist() for part in np.array_split(order, task.class_incremental)]

"""The stream of tasks from `datasets`: load, check and bring into one form (columns `image` and `label`)."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset

from ..errors import ConfigurationError
from .config import DataArguments, TaskConfig, check_templates
from .rows import check_column, check_labels, load_split, with_classes, with_images, with_labels


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

    Raises:
        ConfigurationError: class names, templates, columns, labels or rows are not as described.
    """

    name: str
    class_names: list[str]
    templates: list[str]
    train: Dataset
    evaluation: Dataset
    dataset: str | None = None

    def __post_init__(self):
        where = f"task {self.name!r}"
        _check_class_names(self.class_names, where)
        check_templates(self.templates, where)
        for split, rows in (("train", self.train), ("evaluation", self.evaluation)):
            for column in ("image", "label"):
                if column not in rows.column_names:
                    raise ConfigurationError(
                        f"{where}: {split} data have no column {column!r}, only {rows.column_names}"
                    )
            if len(rows) == 0:
                raise ConfigurationError(f"{where}: {split} data are empty")
            check_labels(np.asarray(rows.with_format("numpy")["label"]), self.class_names, f"{where}, {split} data")

    def classes_without_training_images(self) -> list[str]:
        """Names of the classes that no training image shows; they get no visual prototype."""
        seen = set(np.unique(self.train.with_format("numpy")["label"]).tolist())
        return [name for label, name in enumerate(self.class_names) if label not in seen]


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
            logger.warning(
                f"task {task.name!r}: no training image of {len(absent)} of {len(task.class_names)} classes "
                f"({', '.join(absent[:5])}{', ...' if len(absent) > 5 else ''}); they get no visual prototype"
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

    def load(split: str) -> Dataset:
        rows = load_split(where, task.dataset, split, task.config_name, task.data_dir, task.data_files, task.revision)
        check_column(rows, task.label_column, f"{where}, split {split!r}")
        return with_images(rows, task.image_column, f"{where}, split {split!r}", config)

    train, evaluation = load(task.train_split), load(eval_split)
    class_names = _class_names(task, train)
    known = [rows.features[task.label_column] for rows in (train, evaluation)]
    if all(isinstance(feature, ClassLabel) for feature in known) and known[0].names != known[1].names:
        raise ConfigurationError(
            f"{where}: column {task.label_column!r} has other class names, or another order of them, in split "
            f"{eval_split!r} than in {task.train_split!r}"
        )
    train, evaluation = (
        with_labels(rows, task.label_column, class_names, f"{where}, split {split!r}")
        for rows, split in ((train, task.train_split), (evaluation, eval_split))
    )
    templates = task.templates or config.templates
    if task.class_incremental == 1:
        return [Task(task.name, class_names, templates, train, evaluation, task.dataset)]
    return [
        Task(
            f"{task.name}-{number}",
            [class_names[label] for label in labels],
            templates,
            with_classes(train, labels),
            with_classes(evaluation, labels),
            task.dataset,
        )
        for number, labels in enumerate(_split_classes(task, len(class_names)), start=1)
    ]


def load_reference(config: DataArguments) -> Dataset | None:
    """The unlabelled reference set, if there is one: one column, `image`."""
    if config.reference_dataset is None:
        return None
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
    rows = with_images(rows, config.reference_image_column, f"{where}, split {config.reference_split!r}", config)
    return rows.select_columns(["image"])


def _class_names(task: TaskConfig, train: Dataset) -> list[str]:
    where = f"task {task.name!r}"
    names = task.class_names
    if isinstance(names, str):
        try:
            names = [line.strip() for line in Path(names).read_text(encoding="utf-8").splitlines() if line.strip()]
        except OSError as error:
            raise ConfigurationError(f"{where}: can't read class_names file {task.class_names!r}: {error}") from error
    if names is None:
        feature = train.features[task.label_column]
        if not isinstance(feature, ClassLabel):
            raise ConfigurationError(
                f"{where}: class names are missing: column {task.label_column!r} of {task.dataset!r} is "
                f"{feature}, not a ClassLabel; give class_names"
            )
        names = feature.names
    _check_class_names(names, where)
    return list(names)


def _check_class_names(names: list[str], where: str) -> None:
    if not isinstance(names, list) or not names:
        raise ConfigurationError(f"{where}: class_names must be a non-empty list, got {names!r}")
    for position, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise ConfigurationError(
                f"{where}: class name {position} must be a non-empty string, got {name!r} (quote it in YAML?)"
            )
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigurationError(f"{where}: class_names must be unique, got {', '.join(repeated)} more than once")


def _split_classes(task: TaskConfig, num_classes: int) -> list[list[int]]:
    if task.class_incremental > num_classes:
        raise ConfigurationError(
            f"task {task.name!r}: class_incremental is {task.class_incremental}, but there are {num_classes} classes"
        )
    order = np.arange(num_classes)
    if task.class_order_seed is not None:
        np.random.default_rng(task.class_order_seed).shuffle(order)
    return [part.tolist() for part in np.array_split(order, task.class_incremental)]

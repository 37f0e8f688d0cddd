"""The stream of tasks from `datasets`: load, check and bring into one form (columns `image` and `label`)."""

import logging
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
from datasets import ClassLabel, Dataset, load_dataset, load_from_disk

from .config import StreamConfig, TaskConfig, check_templates
from .embedded import load_embedded_dataset
from .errors import ConfigurationError
from .results import TaskRecord


logger = logging.getLogger(__name__)

EMBEDDED_PREFIX = "embedded:"
_FILE_BUILDERS = {".parquet": "parquet", ".arrow": "arrow", ".csv": "csv", ".json": "json", ".jsonl": "json"}
_FILE_BUILDERS |= {".tar": "webdataset"}
_LOCAL_BUILDERS = {*_FILE_BUILDERS.values(), "text", "xml", "imagefolder", "folder"}


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
            _check_labels(np.asarray(rows.with_format("numpy")["label"]), self.class_names, f"{where}, {split} data")

    def record(self) -> TaskRecord:
        """What the results say of the task."""
        return TaskRecord(
            self.name,
            dataset_name(self.dataset),
            self.class_names,
            self.templates,
            len(self.train),
            len(self.evaluation),
            self.train.info.license or None,
        )

    def classes_without_training_images(self) -> list[str]:
        """Names of the classes that no training image shows; they get no visual prototype."""
        seen = set(np.unique(self.train.with_format("numpy")["label"]).tolist())
        return [name for label, name in enumerate(self.class_names) if label not in seen]


def load_stream(config: StreamConfig) -> list[Task]:
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


def load_task(task: TaskConfig, config: StreamConfig) -> list[Task]:
    """The task that `task` describes or, with `class_incremental: N`, the N tasks."""
    where = f"task {task.name!r}, dataset {task.dataset!r}"
    eval_split = task.eval_split
    if config.evaluate_on == "validation":
        if task.validation_split is None:
            raise ConfigurationError(f"{where}: evaluate_on is validation but the task has no validation_split")
        eval_split = task.validation_split

    def load(split: str) -> Dataset:
        rows = _load_split(where, task.dataset, split, task.config_name, task.data_dir, task.data_files, task.revision)
        _check_column(rows, task.label_column, f"{where}, split {split!r}")
        return _with_images(rows, task.image_column, f"{where}, split {split!r}", config)

    train, evaluation = load(task.train_split), load(eval_split)
    class_names = _class_names(task, train)
    known = [rows.features[task.label_column] for rows in (train, evaluation)]
    if all(isinstance(feature, ClassLabel) for feature in known) and known[0].names != known[1].names:
        raise ConfigurationError(
            f"{where}: column {task.label_column!r} has other class names, or another order of them, in split "
            f"{eval_split!r} than in {task.train_split!r}"
        )
    train, evaluation = (
        _with_labels(rows, task.label_column, class_names, f"{where}, split {split!r}")
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
            _with_classes(train, labels),
            _with_classes(evaluation, labels),
            task.dataset,
        )
        for number, labels in enumerate(_split_classes(task, len(class_names)), start=1)
    ]


def dataset_name(dataset: str | None) -> str:
    """What may be said of a `dataset` outside this machine: its Hub id or embedded name, else `local files`."""
    local = dataset is None or Path(dataset).exists() or dataset in _LOCAL_BUILDERS
    return "local files" if local else dataset


def load_reference(config: StreamConfig) -> Dataset:
    """The unlabelled reference set: one column, `image`."""
    where = f"reference_dataset {config.reference_dataset!r}"
    rows = _load_split(
        where,
        config.reference_dataset,
        config.reference_split,
        config.reference_config_name,
        None,
        config.reference_data_files,
        config.reference_revision,
    )
    rows = _with_images(rows, config.reference_image_column, f"{where}, split {config.reference_split!r}", config)
    return rows.select_columns(["image"])


def _load_split(where, dataset, split, config_name, data_dir, data_files, revision) -> Dataset:
    path = Path(dataset)
    try:
        if dataset.startswith(EMBEDDED_PREFIX):
            rows = load_embedded_dataset(dataset.removeprefix(EMBEDDED_PREFIX), split=split)
        elif (path / "dataset_dict.json").is_file():
            saved = load_from_disk(dataset)
            if split not in saved:
                raise ValueError(f"it has the splits {', '.join(saved)}")
            rows = saved[split]
        elif path.is_file() and path.suffix in _FILE_BUILDERS:
            rows = load_dataset(_FILE_BUILDERS[path.suffix], data_files=dataset, split=split)
        else:
            rows = load_dataset(
                dataset, config_name, data_dir=data_dir, data_files=data_files, revision=revision, split=split
            )
    except (ValueError, OSError, ImportError, datasets.exceptions.DatasetsError) as error:
        raise ConfigurationError(f"{where}: can't load split {split!r}: {error}") from error
    if len(rows) == 0:
        raise ConfigurationError(f"{where}: split {split!r} is empty")
    return rows


def _check_column(rows: Dataset, column: str, where: str) -> None:
    if column not in rows.column_names:
        raise ConfigurationError(f"{where}: no column {column!r}; the columns are {', '.join(rows.column_names)}")


def _with_images(rows: Dataset, column: str, where: str, config: StreamConfig) -> Dataset:
    """`rows` with their image column named `image` and checked to decode."""
    _check_column(rows, column, where)
    feature = rows.features[column]
    if not isinstance(feature, datasets.Image) and getattr(feature, "dtype", None) not in ("string", "binary"):
        raise ConfigurationError(f"{where}: column {column!r} holds {feature}, neither images nor paths of images")
    if column != "image":
        rows = rows.remove_columns("image") if "image" in rows.column_names else rows
        rows = rows.rename_column(column, "image")
    encoded = rows.select_columns(["image"]).cast_column("image", datasets.Image(decode=False))
    problems = encoded.map(
        _image_problem,
        input_columns=["image"],
        remove_columns=["image"],
        num_proc=config.dataset_num_proc,
        desc=f"Checking images: {where}",
    )["problem"]
    bad = [row for row, problem in enumerate(problems) if problem]
    if bad and config.unreadable_images == "error":
        raise ConfigurationError(
            f"{where}: {len(bad)} unreadable image(s), the first in row {bad[0]}: {problems[bad[0]]}; "
            "mend the data or set unreadable_images: skip"
        )
    rows = rows.cast_column("image", datasets.Image())
    if bad:
        logger.warning(f"{where}: {len(bad)} unreadable image(s) left out, the first in row {bad[0]}")
        rows = rows.select(sorted(set(range(len(rows))) - set(bad)))
        if len(rows) == 0:
            raise ConfigurationError(f"{where}: no readable image is left")
    return rows


def _image_problem(encoded: dict | None) -> dict:
    if encoded is None:
        return {"problem": "no image"}
    try:
        datasets.Image().decode_example(encoded).convert("RGB")
    except Exception as error:  # decoders raise errors of many kinds; each is reported
        return {"problem": f"{type(error).__name__}: {error}"}
    return {"problem": ""}


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


def _with_labels(rows: Dataset, column: str, class_names: list[str], where: str) -> Dataset:
    """`rows` reduced to `image` and `label`, the labels as positions in `class_names`."""
    values = rows.with_format("arrow")[column].to_pylist()
    if any(isinstance(value, str) for value in values):
        position = {name: label for label, name in enumerate(class_names)}
        for row, value in enumerate(values):
            if value not in position:
                raise ConfigurationError(f"{where}, row {row}: label {value!r} is not among the class names")
        values = [position[value] for value in values]
    else:
        for row, value in enumerate(values):
            if not isinstance(value, int) or isinstance(value, bool):
                raise ConfigurationError(f"{where}, row {row}: label {value!r} is neither an integer nor a class name")
    labels = np.asarray(values, dtype=np.int64)
    _check_labels(labels, class_names, where)
    return rows.select_columns(["image"]).add_column("label", labels)


def _check_labels(labels: np.ndarray, class_names: list[str], where: str) -> None:
    outside = np.flatnonzero((labels < 0) | (labels >= len(class_names)))
    if len(outside):
        raise ConfigurationError(
            f"{where}, row {outside[0]}: label {labels[outside[0]]} is outside the {len(class_names)} class names "
            f"(0..{len(class_names) - 1})"
        )


def _split_classes(task: TaskConfig, num_classes: int) -> list[list[int]]:
    if task.class_incremental > num_classes:
        raise ConfigurationError(
            f"task {task.name!r}: class_incremental is {task.class_incremental}, but there are {num_classes} classes"
        )
    order = np.arange(num_classes)
    if task.class_order_seed is not None:
        np.random.default_rng(task.class_order_seed).shuffle(order)
    return [part.tolist() for part in np.array_split(order, task.class_incremental)]


def _with_classes(rows: Dataset, labels: list[int]) -> Dataset:
    """The rows of `labels`, relabelled by position in it."""
    old = np.asarray(rows.with_format("numpy")["label"])
    kept = np.flatnonzero(np.isin(old, labels))
    position = {label: new for new, label in enumerate(labels)}
    new = np.asarray([position[label] for label in old[kept].tolist()], dtype=np.int64)
    return rows.select(kept).select_columns(["image"]).add_column("label", new)

"""`Task`: one task of the stream, as a user makes one too, and what its data must be."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from datasets import Dataset, IterableDataset

from ..errors import ConfigurationError
from .labels import check_labels, labels_of
from .names import check_class_names, check_templates
from .own_settings import check_settings
from .registry import Benchmark
from .sampling import Chosen


STREAMED = (
    "rows are read by their number: what teachers say of each is kept, a resumed run goes on at the row where it "
    "stopped, and every image is checked before training"
)
"""Why a dataset that can only be run through is none to train on."""


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
        validation ([`datasets.Dataset`], *optional*): what evaluations during training are of, in place of
            `evaluation`: early stopping, the best checkpoint, a learning rate that follows them.
        limits: what was asked of a sample, by the field of [`TaskConfig`], and of how many images it was drawn, by the
            field of [`TaskRecord`]; empty if all are used.
        eval_templates (*optional*): templates of the accuracy matrix alone. Default: `templates`.
        settings: training settings of its own in a stream, by the field of [`OwnSettings`]. A [`MulKITrainer`] of this
            task alone is given all of them in its arguments.
        benchmark ([`Benchmark`], *optional*): the one whose dataset it is.
        chosen: by part, as in `splits`, the rows that a sample holds of what was loaded.

    Raises:
        ConfigurationError: class names, templates, columns, labels or rows are not as described, or the rows can't be
            read by number, or have a transform, which the model's own would replace.
    """

    name: str
    class_names: list[str]
    templates: list[str]
    train: Dataset
    evaluation: Dataset
    dataset: str | None = None
    fingerprint: str | None = None
    validation: Dataset | None = None
    limits: dict[str, int] = field(default_factory=dict)
    eval_templates: list[str] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    benchmark: Benchmark | None = None
    chosen: dict[str, Chosen] = field(default_factory=dict)

    def __post_init__(self):
        where = f"task {self.name!r}"
        check_class_names(self.class_names, where)
        check_templates(self.templates, where)
        if self.eval_templates is not None:
            check_templates(self.eval_templates, where, "eval_templates")
        check_settings(self.settings, where)
        for split, rows in self.splits.items():
            check_dataset(rows, f"{where}: {split} data")
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
    def splits(self) -> dict[str, Dataset]:
        """Its data by name; `validation` only where there are some."""
        splits = {"train": self.train, "evaluation": self.evaluation}
        return splits if self.validation is None else splits | {"validation": self.validation}

    @property
    def evaluation_templates(self) -> list[str]:
        """Those of the accuracy matrix."""
        return self.templates if self.eval_templates is None else self.eval_templates

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
        check_dataset(part, f"task {task.name!r}: eval_dataset", "must be a Dataset or a dict of them")
        if part.format["type"] != "custom":
            replace(task, evaluation=part)


def check_dataset(rows: Any, what: str, wanted: str = "must be a Dataset") -> None:
    """Raise `ConfigurationError` unless `rows` are a [`datasets.Dataset`], whose rows are read by number."""
    if isinstance(rows, IterableDataset):
        raise ConfigurationError(
            f"{what} {wanted}, got an IterableDataset, which streams: {STREAMED}. Load it with streaming=False, or "
            "take some of it: Dataset.from_list(list(rows.take(1000)), features=rows.features)"
        )
    if not isinstance(rows, Dataset):
        raise ConfigurationError(f"{what} {wanted}, got {type(rows).__name__}")


def check_not_streamed(keys: Iterable[Any], where: str, instead: str) -> None:
    """Raise `ConfigurationError` for a key that asks to stream; `instead` gives a part of the data."""
    for key in keys:
        if str(key).endswith("streaming"):
            raise ConfigurationError(
                f"{where}: {key} can't be given: {STREAMED}. Leave it out; for a part of the data give {instead}"
            )


def check_no_transform(rows: Dataset, what: str) -> None:
    """Raise `ConfigurationError` for rows with a transform of the user's, which the model's own would replace."""
    if rows.format["type"] == "custom":
        raise ConfigurationError(
            f"{what} have a transform (set_transform, with_transform) that the model's own would replace: apply it "
            "with map, or leave it to the processor with reset_format"
        )

"""Labels of a dataset's rows: read, checked and written, without touching an image."""

from dataclasses import dataclass

import numpy as np
from datasets import Dataset

from ..errors import ConfigurationError, shown


LEFT_OUT = -1
"""In place of a label: the row is none of the task's."""


@dataclass(frozen=True)
class Classes:
    """The classes of a task, and how the labels of a split name them.

    Attributes:
        names: the `C` classes in order, as prompts have them.
        positions: by a label's name in the data its class, or [`LEFT_OUT`].
        numbered (*optional*): the names of labels that are numbers, by number; without it a number is its own name.
    """

    names: list[str]
    positions: dict[str, int]
    numbered: list[str] | None = None


def labels_of(rows: Dataset, where: str = "rows") -> np.ndarray:
    """The column `label` as integers `(N,)`.

    Raises:
        ConfigurationError: it holds something else.
    """
    # The whole column at once: datasets reads a column row by row until it is sliced.
    column = rows.select_columns(["label"]).with_format("arrow")[:]["label"]
    if column.null_count or not str(column.type).startswith(("int", "uint")):
        missing = ", with missing values" if column.null_count else ""
        raise ConfigurationError(f"{where}: column 'label' must hold integers, it holds {column.type}{missing}")
    return column.to_numpy().astype(np.int64)


def read_labels(rows: Dataset, column: str, used: np.ndarray, classes: Classes, where: str) -> np.ndarray:
    """The class of every row `(N,)`; [`LEFT_OUT`] where `used` is False or the label stands for none of the classes.

    Args:
        rows: with a column of class numbers or class names.
        used (`(N,)`, bool): rows to read.

    Raises:
        ConfigurationError: a label is no class; the message names the row.
    """
    values = rows.select_columns([column]).with_format("arrow")[:][column].to_pylist()
    labels = np.full(len(rows), LEFT_OUT, dtype=np.int64)
    named = any(isinstance(value, str) for value in values)
    for row in np.flatnonzero(used).tolist():
        value = name = values[row]
        if not named:
            if not isinstance(value, int) or isinstance(value, bool):
                raise ConfigurationError(
                    f"{where}, row {row}: label {shown(value)} is neither an integer nor a class name"
                )
            if classes.numbered is not None and not 0 <= value < len(classes.numbered):
                raise outside(row, value, classes.numbered, where)
            name = str(value) if classes.numbered is None else classes.numbered[value]
        if name not in classes.positions:
            raise ConfigurationError(f"{where}, row {row}: label {shown(value)} is not among the class names")
        labels[row] = classes.positions[name]
    return labels


def check_labels(labels: np.ndarray, class_names: list[str], where: str) -> None:
    """Raise `ConfigurationError` for a label that is no position in `class_names`."""
    wrong = np.flatnonzero((labels < 0) | (labels >= len(class_names)))
    if len(wrong):
        raise outside(wrong[0], labels[wrong[0]], class_names, where)


def outside(row: int, label: int, class_names: list[str], where: str) -> ConfigurationError:
    """The error of a label that is no position in `class_names`."""
    return ConfigurationError(
        f"{where}, row {row}: label {label} is outside the {len(class_names)} class names (0..{len(class_names) - 1})"
    )


def of_classes(labels: np.ndarray, classes: list[int]) -> np.ndarray:
    """`labels` by position in `classes`; [`LEFT_OUT`] where they are none of them."""
    # Sized to the largest label, and one more: that is where LEFT_OUT looks.
    position = np.full(max(labels.max(), *classes) + 2, LEFT_OUT)
    position[classes] = np.arange(len(classes))
    return position[labels]


def with_labels(rows: Dataset, labels: np.ndarray) -> Dataset:
    """`rows` reduced to `image` and `label`, those of [`LEFT_OUT`] gone.

    The column goes in while all rows are there: into selected ones `datasets` adds one by copying every image.
    """
    rows = rows.select_columns(["image"]).add_column("label", labels)
    kept = np.flatnonzero(labels != LEFT_OUT)
    return rows if len(kept) == len(rows) else rows.select(kept)

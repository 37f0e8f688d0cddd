"""A split drawn at random, the same on every machine: as `torch.utils.data.random_split` draws it."""

import logging
from dataclasses import dataclass, field

import datasets
import numpy as np
import torch
from datasets import Dataset

from .labels import LEFT_OUT


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RandomSplit:
    """How a task's `train_split` is divided.

    Of `n` rows `int(share * n)` are trained on and `int(validation_share * n)` are validation data, which come behind
    them in the same permutation; the rest is evaluated on. Where both shares are all of it, `eval_split` is.

    Attributes:
        share: for training, in (0, 1).
        seed: of `torch.Generator`.
        sorted_by: columns by which rows are sorted before they are drawn; none: they are drawn as they lie.
        validation_share: in [0, 1).

    Raises:
        ValueError: a share is out of range.
    """

    share: float
    seed: int
    sorted_by: list[str] = field(default_factory=list)
    validation_share: float = 0.0

    def __post_init__(self):
        if not 0 < self.share < 1:
            raise ValueError(f"share must be in (0, 1), got {self.share}")
        if not 0 <= self.validation_share <= 1 - self.share + 1e-9:
            raise ValueError(f"validation_share must be in [0, 1 - share], got {self.validation_share}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be in [0, 2**63), got {self.seed}")

    @property
    def gives(self) -> tuple[str, ...]:
        """The parts that it makes: `train`, and `validation` and `evaluation` where something is left for them."""
        whole = self.share + self.validation_share > 1 - 1e-9
        return ("train", *["validation"] * (self.validation_share > 0), *["evaluation"] * (not whole))

    def parts(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The numbers `rows` `(n,)`, dealt out in order."""
        drawn = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(self.seed)).numpy()]
        train = int(self.share * len(rows))
        validation = train + int(self.validation_share * len(rows)) if "evaluation" in self.gives else len(rows)
        parts = {"train": drawn[:train], "validation": drawn[train:validation], "evaluation": drawn[validation:]}
        return {name: parts[name] for name in self.gives}


def sorted_rows(rows: Dataset, labels: np.ndarray, sorted_by: list[str], label_column: str, where: str) -> np.ndarray:
    """The numbers of the rows that have a class, sorted by columns: labels by class, anything else as text.

    Of images it is the names of their files; no image is looked at.

    Args:
        rows: `N` of them, which have the columns.
        labels (`(N,)`): their classes, or [`LEFT_OUT`].
        sorted_by: columns, the first decides first. Rows that are alike stay in order.
        label_column: the one whose rows have the `labels`.
        where: for messages.
    """
    keys = [labels if name == label_column else _texts(rows, name, where) for name in reversed(sorted_by)]
    order = np.lexsort(keys) if keys else np.arange(len(rows))
    return order[labels[order] != LEFT_OUT]


def _texts(rows: Dataset, column: str, where: str) -> np.ndarray:
    rows = rows.select_columns([column])
    if isinstance(rows.features[column], datasets.Image):
        encoded = rows.cast_column(column, datasets.Image(decode=False)).with_format("arrow")[:][column]
        names = [name for chunk in encoded.chunks for name in chunk.field("path").to_pylist()]
        if None in names:
            logger.warning(
                f"{where}: random_split sorts by the names of the files of column {column!r}, but {names.count(None)} "
                f"of {len(names)} images have none; these stay in the order in which they come"
            )
        return np.array([name or "" for name in names])
    return np.array([str(value) for value in rows.with_format("arrow")[:][column].to_pylist()])

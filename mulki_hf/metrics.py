"""Continual-learning metrics over the accuracy matrix."""

from collections.abc import Sequence
from typing import Any

import numpy as np


METRICS = ("transfer", "avg", "last", "bwt", "forgetting", "degradation", "snd_forgetting", "snd_degradation")
"""The keys of [`continual_metrics`], in order."""


def continual_metrics(
    accuracy: Sequence[Sequence[float | None]], zero_shot: Sequence[float | None] | None = None
) -> dict[str, float | None]:
    """Transfer, Avg, Last, BWT, Forgetting and Degradation of one stream, in percent, and Select-and-Distill's own.

    Args:
        accuracy (`(T, T)` or `(1, T)`): `accuracy[i][j]` is the accuracy in percent on task `j` after learning task
            `i`, for every `j`: tasks not yet learned included. A single row is that of a model that learned all tasks
            at once. `None`: not measured; every metric is of the cells that are known, see [`cells_used`].
        zero_shot (`(T,)`, *optional*): accuracy in percent on each task before any training.

    Returns:
        `dict` with the keys
        - `transfer`: mean over tasks `j >= 2` of the mean accuracy on `j` before learning it;
        - `avg`: mean of all entries; `last`: mean of the last row;
        - `bwt`: mean over `j < T` of `A[T, j] - A[j, j]`;
        - `forgetting`: mean over `j < T` of `max_i A[i, j] - A[T, j]`;
        - `degradation`: mean over `j >= 2` of `max(0, Z[j] - mean_{i<j} A[i, j])`;
        - `snd_forgetting`: mean over `j < T` of `max_{i>j} (A[j, j] - A[i, j])`;
        - `snd_degradation`: mean over `j >= 2` of `max_{i<j} (Z[j] - A[i, j])`. Neither is cut off at 0.

        A metric that is not defined is `None`, never NaN: all but `avg` and `last` for a single task or a single row,
        `degradation` and `snd_degradation` without `zero_shot`, any of which no cell is known.

    Raises:
        ValueError: `accuracy` has another shape, `zero_shot` another length, or a value is NaN or outside 0..100.

    References: Transfer, Avg and Last as in ZSCL (arXiv 2303.06628); `snd_forgetting` and `snd_degradation` as the
    text of Select-and-Distill (arXiv 2403.09296) has them, whose average accuracy is `last`.
    """
    matrix, level = _checked(accuracy, zero_shot)
    tasks = matrix.shape[1]
    values: dict[str, list[float]] = {name: [] for name in METRICS}
    values |= {"avg": matrix.ravel().tolist(), "last": matrix[-1].tolist()}
    for j in range(tasks if len(matrix) > 1 else 0):
        before, own, last = _known(matrix[:j, j]), matrix[j, j], matrix[-1, j]
        if len(before):
            lost = level[j] - before
            values["transfer"].append(before.mean())
            values["degradation"].append(max(0.0, lost.mean()) if _known(lost).size else np.nan)
            values["snd_degradation"].append(lost.max())
        if j < tasks - 1:
            column, since = _known(matrix[:, j]), _known(matrix[j + 1 :, j])
            values["bwt"].append(last - own)
            values["forgetting"].append(column.max() - last if column.size else np.nan)
            values["snd_forgetting"].append(own - since.min() if since.size else np.nan)
    known = {name: _known(np.array(own)) for name, own in values.items()}
    return {name: float(own.mean()) if own.size else None for name, own in known.items()}


def cells_used(
    accuracy: Sequence[Sequence[float | None]], zero_shot: Sequence[float | None] | None = None
) -> dict[str, tuple[int, int]]:
    """How many cells of the matrix each of [`continual_metrics`] is made of, and of how many it would be.

    Arguments and errors are those of [`continual_metrics`]; metrics of which no cell matters are left out.
    """
    matrix, level = _checked(accuracy, zero_shot)
    rows, tasks = matrix.shape
    cells = {"avg": np.ones_like(matrix, dtype=bool), "last": np.arange(rows)[:, None] == np.full(tasks, rows - 1)}
    if rows > 1:
        row, column = np.indices(matrix.shape)
        left = column < tasks - 1
        before = row < column
        cells |= {"transfer": before, "bwt": left & ((row == column) | (row == rows - 1)), "forgetting": left}
        cells["snd_forgetting"] = left & (row >= column)
        if zero_shot is not None:
            cells |= {"degradation": before, "snd_degradation": before}
    known = ~np.isnan(matrix)
    with_level = known & ~np.isnan(level)
    counts = {}
    for name in METRICS:
        if name in cells and cells[name].any():
            have = with_level if name.endswith("degradation") else known
            counts[name] = (int((cells[name] & have).sum()), int(cells[name].sum()))
    return counts


def cells_lacking(
    accuracy: Sequence[Sequence[float | None]], zero_shot: Sequence[float | None] | None = None
) -> dict[str, str]:
    """The metrics that not all cells are known of, and of how many: `transfer` is `8 of 10`; see [`cells_used`]."""
    used = cells_used(accuracy, zero_shot)
    return {name: f"{have} of {wanted}" for name, (have, wanted) in used.items() if have < wanted}


def _known(values: np.ndarray) -> np.ndarray:
    return values[~np.isnan(values)]


def _checked(accuracy: Any, zero_shot: Any) -> tuple[np.ndarray, np.ndarray]:
    """Matrix and zero-shot row, NaN where nothing was measured."""
    matrix = _percentages("accuracy", accuracy)
    if matrix.ndim != 2 or matrix.size == 0 or len(matrix) not in (1, matrix.shape[1]):
        raise ValueError(f"accuracy must be a T x T matrix, or one row of T, got shape {matrix.shape}")
    tasks = matrix.shape[1]
    level = np.full(tasks, np.nan) if zero_shot is None else _percentages("zero_shot", zero_shot)
    if level.shape != (tasks,):
        raise ValueError(f"zero_shot must hold one value for each of the {tasks} tasks, got shape {level.shape}")
    return matrix, level


def _percentages(name: str, values: Any) -> np.ndarray:
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be rows of numbers of equal length: {error}") from error
    given = np.array(values, dtype=object).reshape(array.shape) != None  # noqa: E711  # of each element
    odd = np.isnan(array) & given
    if odd.any():
        raise ValueError(f"{name} holds NaN at {np.argwhere(odd)[0].tolist()}")
    outside = (array < 0) | (array > 100)
    if outside.any():
        where = tuple(np.argwhere(outside)[0].tolist())
        raise ValueError(f"{name} must be percentages in [0, 100], got {array[where]} at {list(where)}")
    return array


def accuracy(prediction: Any) -> dict[str, float]:
    """`compute_metrics` of a Trainer: share of correct predictions, in percent.

    Args:
        prediction ([`transformers.EvalPrediction`]): logits and labels, in one array each or, with
            `eval_do_concat_batches=False`, in one for each batch.
    """
    logits, labels = (
        np.concatenate(part) if isinstance(part, list) else part
        for part in (prediction.predictions, prediction.label_ids)
    )
    return {"accuracy": 100.0 * float((logits.argmax(-1) == labels).mean())}

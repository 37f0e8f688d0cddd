"""Continual-learning metrics over the accuracy matrix."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def continual_metrics(
    accuracy: Sequence[Sequence[float]], zero_shot: Sequence[float] | None = None
) -> dict[str, float | None]:
    """Transfer, Avg, Last, BWT, Forgetting and Degradation of one stream, in percent.

    Args:
        accuracy (`(T, T)`): `accuracy[i][j]` is the accuracy in percent on task `j` after learning task `i`, for every
            `j`: tasks not yet learned included.
        zero_shot (`(T,)`, *optional*): accuracy in percent on each task before any training.

    Returns:
        `dict` with the keys
        - `transfer`: mean over tasks `j >= 2` of the mean accuracy on `j` before learning it;
        - `avg`: mean of all entries; `last`: mean of the last row;
        - `bwt`: mean over `j < T` of `A[T, j] - A[j, j]`;
        - `forgetting`: mean over `j < T` of `max_i A[i, j] - A[T, j]`;
        - `degradation`: mean over `j >= 2` of `max(0, Z[j] - mean_{i<j} A[i, j])`.

        A metric that is not defined is `None`, never NaN: all but `avg` and `last` for a single task, `degradation`
        without `zero_shot`.

    Raises:
        ValueError: `accuracy` is not square, `zero_shot` has another length, or a value is NaN or outside 0..100.

    References: Transfer, Avg and Last as in ZSCL (arXiv 2303.06628), Degradation as in Select-and-Distill
    (arXiv 2403.09296).
    """
    matrix = _percentages("accuracy", accuracy)
    if matrix.ndim != 2 or matrix.size == 0 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"accuracy must be a T x T matrix, got shape {matrix.shape}")
    tasks = len(matrix)
    level = None if zero_shot is None else _percentages("zero_shot", zero_shot)
    if level is not None and level.shape != (tasks,):
        raise ValueError(f"zero_shot must hold one value for each of the {tasks} tasks, got shape {level.shape}")

    metrics = {"transfer": None, "avg": matrix.mean(), "last": matrix[-1].mean()}
    metrics |= {"bwt": None, "forgetting": None, "degradation": None}
    if tasks > 1:
        before = np.array([matrix[:j, j].mean() for j in range(1, tasks)])
        final = matrix[-1, :-1]
        metrics["transfer"] = before.mean()
        metrics["bwt"] = (final - np.diag(matrix)[:-1]).mean()
        metrics["forgetting"] = (matrix[:, :-1].max(axis=0) - final).mean()
        if level is not None:
            metrics["degradation"] = np.maximum(0.0, level[1:] - before).mean()
    return {name: None if value is None else float(value) for name, value in metrics.items()}


def _percentages(name: str, values) -> np.ndarray:
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be rows of numbers of equal length: {error}") from error
    if np.isnan(array).any():
        raise ValueError(f"{name} holds NaN at {np.argwhere(np.isnan(array))[0].tolist()}")
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

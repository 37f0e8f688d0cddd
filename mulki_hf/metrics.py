"""Continual-learning metrics over the accuracy matrix."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def continual_metrics(
    accuracy: Sequence[Sequence[float]], zero_shot: Sequence[float] | None = None
) -> dict[str, float | None]:
    """Transfer, Avg, Last, BWT, Forgetting and Degradation of one stream, in percent, and Select-and-Distill's own.

    Args:
        accuracy (`(T, T)` or `(1, T)`): `accuracy[i][j]` is the accuracy in percent on task `j` after learning task
            `i`, for every `j`: tasks not yet learned included. A single row is that of a model that learned all tasks
            at once.
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
        `degradation` and `snd_degradation` without `zero_shot`.

    Raises:
        ValueError: `accuracy` has another shape, `zero_shot` another length, or a value is NaN or outside 0..100.

    References: Transfer, Avg and Last as in ZSCL (arXiv 2303.06628); `snd_forgetting` and `snd_degradation` as the
    text of Select-and-Distill (arXiv 2403.09296) has them, whose average accuracy is `last`.
    """
    matrix = _percentages("accuracy", accuracy)
    if matrix.ndim != 2 or matrix.size == 0 or len(matrix) not in (1, matrix.shape[1]):
        raise ValueError(f"accuracy must be a T x T matrix, or one row of T, got shape {matrix.shape}")
    tasks = matrix.shape[1]
    level = None if zero_shot is None else _percentages("zero_shot", zero_shot)
    if level is not None and level.shape != (tasks,):
        raise ValueError(f"zero_shot must hold one value for each of the {tasks} tasks, got shape {level.shape}")

    metrics = {"transfer": None, "avg": matrix.mean(), "last": matrix[-1].mean()}
    metrics |= dict.fromkeys(("bwt", "forgetting", "degradation", "snd_forgetting", "snd_degradation"))
    if len(matrix) > 1:
        learned, final = np.diag(matrix)[:-1], matrix[-1, :-1]
        before = [matrix[:j, j] for j in range(1, tasks)]
        since = np.array([matrix[j + 1 :, j].min() for j in range(tasks - 1)])
        metrics["transfer"] = np.mean([column.mean() for column in before])
        metrics["bwt"] = (final - learned).mean()
        metrics["forgetting"] = (matrix[:, :-1].max(axis=0) - final).mean()
        metrics["snd_forgetting"] = (learned - since).mean()
        if level is not None:
            lost = [own - column for own, column in zip(level[1:], before, strict=True)]
            metrics["degradation"] = np.mean([max(0.0, loss.mean()) for loss in lost])
            metrics["snd_degradation"] = np.mean([loss.max() for loss in lost])
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

"""Which class each image was taken for, counted while a model is evaluated."""

from collections.abc import Collection

import torch
from torch import Tensor

from .evaluator import StreamEvaluator


class ConfusionCounts:
    """Told of batches by [`StreamEvaluator.cells`] as `seen`; counts by the first protocol and number of tasks there.

    Args:
        evaluator ([`StreamEvaluator`]): of the stream.
        positions: of the tasks to count.

    Attributes:
        tables: by position `(C, N)`: images by the task's `C` classes and all `N` of the stream.
    """

    def __init__(self, evaluator: StreamEvaluator, positions: Collection[int]):
        classes = len(evaluator.owner)
        self.tables = {
            position: evaluator.owner.new_zeros(len(evaluator.tasks[position].class_names), classes)
            for position in positions
        }

    def __call__(self, position: int, labels: Tensor, taken: Tensor) -> None:
        if position in self.tables:
            table = self.tables[position]
            cells = labels * table.shape[1] + taken[:, 0]
            table += torch.bincount(cells, minlength=table.numel()).view_as(table)

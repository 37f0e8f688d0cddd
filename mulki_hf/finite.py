"""Numbers that are not finite: found without waiting for the device, and said with the rows that they came from."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from accelerate.utils import gather_object
from torch import Tensor, nn

from .errors import TrainingError


class FiniteWatch:
    """Remembers, on the device, the first batch whose loss is not finite; nobody waits for it before somebody asks.

    Args:
        task (`str`): what is trained, for the message.
    """

    def __init__(self, task: str):
        self.task = task
        self._first: Tensor | None = None
        self._rows: Tensor | None = None

    @torch.no_grad()
    def see(self, step: int, loss: Tensor, rows: Tensor) -> None:
        """A micro-batch of optimizer step `step` (1-based) of the training data's `rows` (`(B,)`), with its loss."""
        if self._first is None or self._rows is None:
            self._first, self._rows = torch.full((), -1, device=loss.device), torch.full_like(rows, -1)
        size = max(len(rows), len(self._rows))
        found = ~torch.isfinite(loss) & (self._first < 0)
        self._first = torch.where(found, step, self._first)
        self._rows = torch.where(found, *(F.pad(kept, (0, size - len(kept)), value=-1) for kept in (rows, self._rows)))

    def check_logs(self, logs: Mapping[str, Any], step: int, scaled: bool) -> None:
        """Raise [`TrainingError`] if what is logged after `step` is not finite; on every rank, or on none.

        Args:
            logs: the same on every rank.
            step (`int`): the optimizer step.
            scaled (`bool`): the loss is scaled, in fp16, where gradients may overflow: their step is left out.
        """
        odd = [name for name, value in logs.items() if isinstance(value, float) and not math.isfinite(value)]
        odd = [name for name in odd if not (scaled and name == "grad_norm")]
        if odd:
            self._stop(f"{', '.join(f'{name} is {logs[name]}' for name in odd)} at step {step}")

    def check_weights(self, parameters: Iterable[tuple[str, nn.Parameter]], step: int) -> None:
        """Raise [`TrainingError`] if a parameter, the same on every rank, is not finite after `step`."""
        name = not_finite(parameters)
        if name is not None:
            self._stop(f"a weight is not finite after step {step} ({name})")

    def check_features(self, features: Tensor, step: int) -> None:
        """Raise [`TrainingError`] if what the model says, the same on every rank, is not finite after `step`.

        Weights too large to compute with can be finite themselves.
        """
        if not bool(features.isfinite().all()):
            self._stop(f"what the model says is not finite after step {step}")

    def _stop(self, what: str) -> None:
        first = -1 if self._first is None else int(self._first)
        rows = [] if first < 0 or self._rows is None else [row for row in self._rows.tolist() if row >= 0]
        # On several ranks one alone may have met it.
        found = [entry for entry in gather_object([(first, rows)]) if entry[0] >= 0]
        where = ""
        if found:
            first = min(step for step, _ in found)
            rows = sorted({row for step, part in found if step == first for row in part})
            shown = ", ".join(map(str, rows[:64])) + (", ..." if len(rows) > 64 else "")
            where = f"; the first loss that was not finite is that of step {first}, rows {shown} of the training data"
        raise TrainingError(
            f"task {self.task!r}: {what}{where}. Nothing of this was written: lower learning_rate, clip gradients "
            "(max_grad_norm), and look at those images"
        )


@torch.no_grad()
def not_finite(parameters: Iterable[tuple[str, Tensor]]) -> str | None:
    """Name of the first tensor with a value that is not finite; waits for the device once."""
    named = list(parameters)
    if not named:
        return None
    finite = torch.stack([value.isfinite().all() for _, value in named]).tolist()
    return next((name for (name, _), good in zip(named, finite, strict=True) if not good), None)

"""Numbers that are not finite: found without waiting for the device, and said with the rows that they came from."""

import json
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from accelerate.utils import gather_object, reduce
from torch import Tensor, nn

from .errors import ConfigurationError, TrainingError


logger = logging.getLogger(__name__)

IN_A_ROW, FEW, SHARE = 5, 3, 0.01
"""Training stops where so many steps in a row are left out, or more than `FEW` and than that share of all."""


@dataclass
class FiniteArguments:
    """What happens where a number is not finite."""

    _argument_group_name = "Numbers that are not finite"

    on_nonfinite: Literal["stop", "skip"] = field(
        default="stop",
        metadata={
            "help": "An optimizer step whose loss or gradient is not finite: stop training with the rows that it came "
            "from, or skip the step, which is counted and reported; looks at each step. More than 3 steps and "
            "a hundredth of a task's, or 5 in a row, stop training all the same. May be changed with --resume."
        },
    )

    def __post_init__(self):
        if self.on_nonfinite not in ("stop", "skip"):
            raise ValueError(f"on_nonfinite must be stop or skip, got {self.on_nonfinite!r}")


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

    def found(self) -> Tensor | None:
        """Whether a loss was not finite on this rank, `()` on the device; None: there was no batch."""
        return None if self._first is None else self._first >= 0

    def forget(self) -> None:
        """From now on the first is one that comes after this."""
        self._first = self._rows = None

    def where(self) -> tuple[int, str] | None:
        """Step and rows of the first loss that was not finite, on any rank; every rank asks, and waits."""
        first = -1 if self._first is None else int(self._first)
        rows = [] if first < 0 or self._rows is None else [row for row in self._rows.tolist() if row >= 0]
        # On several ranks one alone may have met it.
        found = [entry for entry in gather_object([(first, rows)]) if entry[0] >= 0]
        if not found:
            return None
        first = min(step for step, _ in found)
        rows = sorted({row for step, part in found if step == first for row in part})
        return first, ", ".join(map(str, rows[:64])) + (", ..." if len(rows) > 64 else "")

    def _stop(self, what: str) -> None:
        found, where = self.where(), ""
        if found:
            where = "; the first loss that was not finite is that of step {}, rows {} of the training data".format(
                *found
            )
        raise TrainingError(
            f"task {self.task!r}: {what}{where}. Nothing of this was written: lower learning_rate, clip gradients "
            "(max_grad_norm), and look at those images"
        )


class LeftOut:
    """The optimizer steps of a task that are left out, since their loss or their gradient was not finite.

    Weights, optimizer and whatever else a step changes stay as they were; the schedule of the learning rate goes on.

    Args:
        watch ([`FiniteWatch`]): sees every micro-batch.

    Attributes:
        count (`int`): how many there were, before an interruption included; the same on every rank.
    """

    FILE = "left_out.json"

    def __init__(self, watch: FiniteWatch):
        self.watch = watch
        self.count = self.in_a_row = 0

    def takes(self, step: int, steps: int, norm: Tensor | float | None) -> bool:
        """Whether optimizer step `step` of `steps` is to be left out, and counted; waits for the device, once.

        Args:
            norm: of the gradient of all ranks; None: nobody asks for it.

        Raises:
            TrainingError: on every rank: there were too many.
        """
        if step == 1:  # also where training begins again, with a smaller batch
            self.count = self.in_a_row = 0
        found = self.watch.found()
        if norm is not None:
            odd = ~torch.isfinite(torch.as_tensor(norm))
            found = odd if found is None else found | odd.to(found.device)
        # A rank may be the only one whose loss is not finite.
        if found is None or not bool(reduce(found.float(), "sum")):
            self.in_a_row = 0
            return False
        self.count, self.in_a_row = self.count + 1, self.in_a_row + 1
        where = self.watch.where()
        what = f"the loss of rows {where[1]} of the training data" if where else "the gradient"
        line = f"task {self.watch.task!r}: {what} is not finite at step {step}"
        most = min(max(FEW, int(SHARE * steps)), steps - 1)
        if self.in_a_row >= IN_A_ROW or self.count > most:
            why = f"{self.in_a_row} steps in a row" if self.in_a_row >= IN_A_ROW else f"{self.count:,} of {steps:,}"
            raise TrainingError(
                f"{line}, and with it {why} were left out, more than on_nonfinite skip lets pass: the model won't "
                "recover. Nothing of this was written: lower learning_rate, clip gradients (max_grad_norm), and look "
                "at those images"
            )
        logger.warning(f"{line}: left out, as {self.count:,} of {steps:,} steps so far")
        self.watch.forget()
        return True

    def facts(self) -> dict[str, int]:
        """For the task's record in `results.json`."""
        return {"left_out": self.count} if self.count else {}

    def sentences(self, steps: int) -> list[str]:
        """The same in a sentence, for the card, if there is anything to say of a task of so many `steps`."""
        if not self.count:
            return []
        were = "was" if self.count == 1 else "were"
        return [
            f"In task {self.watch.task} {self.count:,} of {steps:,} steps {were} left out: the loss or the gradient "
            "was not finite (on_nonfinite skip)."
        ]

    # In the Trainer's checkpoints

    def save(self, checkpoint: Path) -> None:
        """Write the count into a checkpoint, if there is one."""
        if self.count:
            checkpoint.mkdir(parents=True, exist_ok=True)
            content = {"count": self.count, "in_a_row": self.in_a_row}
            (checkpoint / self.FILE).write_text(json.dumps(content), encoding="utf-8")

    def load(self, checkpoint: Path) -> None:
        """Go on from the count in a checkpoint.

        Raises:
            ConfigurationError: it can't be read.
        """
        self.count = self.in_a_row = 0
        path = checkpoint / self.FILE
        if path.is_file():
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                self.count, self.in_a_row = int(content["count"]), int(content["in_a_row"])
            except (ValueError, TypeError, KeyError, OverflowError) as error:
                raise ConfigurationError(f"{path} is damaged ({error}): choose another checkpoint") from error


@torch.no_grad()
def not_finite(parameters: Iterable[tuple[str, Tensor]]) -> str | None:
    """Name of the first tensor with a value that is not finite; waits for the device once."""
    named = list(parameters)
    if not named:
        return None
    finite = torch.stack([value.isfinite().all() for _, value in named]).tolist()
    return next((name for (name, _), good in zip(named, finite, strict=True) if not good), None)

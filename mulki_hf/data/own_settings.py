"""Training settings that a task may have of its own, in place of the stream's."""

import copy
import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from ..errors import ConfigurationError, shown


logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class OwnSettings:
    """Training settings of one task; what is not given is as for the others."""

    learning_rate: float | None = field(
        default=None, metadata={"help": "Peak learning rate while this task is learned. Default: the stream's."}
    )
    text_learning_rate: float | None = field(default=None, metadata={"help": "Likewise, of the text tower."})
    max_steps: int | None = field(default=None, metadata={"help": "Optimizer steps for this task. Default: likewise."})
    num_train_epochs: float | None = field(
        default=None, metadata={"help": "Epochs for this task, in place of any max_steps. Default: likewise."}
    )
    warmup_steps: float | None = field(default=None, metadata={"help": "Warm-up of this task. Default: likewise."})
    weight_decay: float | None = field(default=None, metadata={"help": "Weight decay of this task. Default: likewise."})
    label_smoothing_factor: float | None = field(
        default=None, metadata={"help": "Label smoothing of this task's loss, in [0, 1). Default: likewise."}
    )


NAMES = tuple(f.name for f in fields(OwnSettings))


def check_settings(settings: dict[str, Any], where: str) -> None:
    """Raise `ConfigurationError` for settings that no task can have of its own, or that are out of range."""
    for name, value in settings.items():
        if name not in NAMES:
            raise ConfigurationError(f"{where}: settings has no {shown(name)}, a task's own are {', '.join(NAMES)}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigurationError(f"{where}: {name} must be a number, got {shown(value)}")
        if name == "max_steps":
            wrong = "" if isinstance(value, int) and value >= 1 else "an integer >= 1"
        elif name == "num_train_epochs":
            wrong = "" if 0 < value < math.inf else "> 0 and finite"
        elif name == "label_smoothing_factor":
            wrong = "" if 0 <= value < 1 else "in [0, 1)"
        else:
            wrong = "" if 0 <= value < math.inf else ">= 0 and finite"
        if wrong:
            raise ConfigurationError(f"{where}: {name} must be {wrong}, got {value}")
    if settings.keys() >= {"max_steps", "num_train_epochs"}:
        raise ConfigurationError(
            f"{where}: max_steps and num_train_epochs exclude each other, got {settings['max_steps']} and "
            f"{settings['num_train_epochs']}"
        )


def with_settings(args: Any, settings: dict[str, Any]) -> Any:
    """Set a task's own `settings` on `args`, training arguments that are the task's alone; returns them."""
    for name, value in settings.items():
        setattr(args, name, value)
    if "num_train_epochs" in settings:
        args.max_steps = -1  # else it would win
    return args


def settings_of(stage: Any, args: Any) -> Any:
    """A copy of `args`, training arguments, for a `stage`: a task, or several at once, which take all their steps."""
    own = with_settings(copy.copy(args), stage.settings)
    if stage.parts != (stage,) and own.max_steps > 0:
        own.max_steps = sum(task.settings.get("max_steps", own.max_steps) for task in stage.parts)
    return own


def warn_of_settings(tasks: Iterable[Any], method: str) -> None:
    """Say that a `method` which learns all `tasks` at once passes over what they have of their own, but `max_steps`."""
    for task in tasks:
        passed = [name for name in task.settings if name != "max_steps"]
        if passed:
            logger.warning(
                f"task {task.name!r}: method {method!r} learns all tasks at once, so that {', '.join(passed)} of its "
                "own are passed over"
            )

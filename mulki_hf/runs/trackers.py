"""What `report_to` names: experiment trackers, to which a stream is one run."""

import copy
from collections.abc import Callable
from typing import Any

from transformers import Trainer
from transformers.integrations import get_reporting_integration_callbacks

from ..errors import ConfigurationError


def check_trackers(report_to: list[str]) -> None:
    """Refuse a `report_to` whose package is missing, which the Trainer would find out after the first evaluation."""
    for callback in get_reporting_integration_callbacks(report_to):
        try:
            callback()
        except (RuntimeError, ImportError) as error:
            raise ConfigurationError(f"report_to {report_to}: {error}") from error


def count_on(trainer: Trainer, steps: int) -> None:
    """Let the trackers of a task's trainer count its steps after the `steps` of the tasks before it."""
    kinds = tuple(get_reporting_integration_callbacks(trainer.args.report_to))
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, kinds):
            callback.on_log = _later(callback.on_log, steps)


def _later(on_log: Callable[..., Any], steps: int) -> Callable[..., Any]:
    def counted(args, state, control, **kwargs):
        shifted = copy.copy(state)
        shifted.global_step += steps
        shifted.max_steps += steps
        return on_log(args, shifted, control, **kwargs)

    return counted

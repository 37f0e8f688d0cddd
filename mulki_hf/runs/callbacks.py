"""Callbacks for a whole stream, each task of which has a trainer of its own."""

import copy
from collections.abc import Sequence
from typing import Any

from transformers import EarlyStoppingCallback, TrainerCallback, TrainerState
from transformers.trainer_callback import ExportableState

from ..config import MulKIConfig
from ..errors import ConfigurationError, shown


def callbacks_of_task(callbacks: Sequence[Any]) -> list[TrainerCallback]:
    """Those of one task's trainer.

    Args:
        callbacks: a `TrainerCallback` is the same object in all tasks, but one whose state checkpoints keep
            (`EarlyStoppingCallback`), which begins anew with each; a class or a function makes one for each.
    """
    return [_of_task(one) for one in callbacks]


def _of_task(given: Any) -> TrainerCallback:
    if isinstance(given, type) or not isinstance(given, TrainerCallback):
        return given()
    return copy.deepcopy(given) if isinstance(given, ExportableState) else given


def check_callbacks(callbacks: Any, config: MulKIConfig) -> None:
    """Raise `ConfigurationError` for callbacks that are none, or that would fail when the first task begins."""
    if not isinstance(callbacks, list | tuple):
        raise ConfigurationError(f"callbacks must be a list, got {shown(callbacks)}")
    for given in callbacks:
        made = _of_task(given) if callable(given) or isinstance(given, TrainerCallback) else given
        if not isinstance(made, TrainerCallback):
            raise ConfigurationError(
                f"callbacks: {shown(given)} is neither a TrainerCallback nor a class or function that makes one"
            )
    if stops_early(callbacks) and (config.metric_for_best_model is None or str(config.eval_strategy.value) == "no"):
        raise ConfigurationError(
            "callbacks: EarlyStoppingCallback needs metric_for_best_model (loss or accuracy) and eval_strategy (steps "
            f"or epoch), got {config.metric_for_best_model} and {config.eval_strategy.value}"
        )


def stops_early(callbacks: Sequence[Any]) -> bool:
    """Whether evaluations decide how long a task is trained."""
    return any(isinstance(one, EarlyStoppingCallback) for one in callbacks_of_task(callbacks))


def stopped_early(state: TrainerState) -> bool:
    """Whether it is the state of a training that had been stopped for good when its checkpoint was written."""
    kept = state.stateful_callbacks.get(EarlyStoppingCallback.__name__, [])
    return any(
        one["attributes"]["early_stopping_patience_counter"] >= one["args"]["early_stopping_patience"]
        for one in (kept if isinstance(kept, list) else [kept])
    )

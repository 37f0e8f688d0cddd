"""What `report_to` names: experiment trackers, to which a stream is one run."""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback
from transformers.integrations import TensorBoardCallback, get_reporting_integration_callbacks

from ..errors import ConfigurationError
from ..report.metadata import metrics_so_far
from ..results import StreamResults
from .folder import LOGS


def check_trackers(report_to: list[str]) -> None:
    """Refuse a `report_to` whose package is missing, which the Trainer would find out after the first evaluation."""
    for callback in get_reporting_integration_callbacks(report_to):
        try:
            callback()
        except (RuntimeError, ImportError) as error:
            raise ConfigurationError(f"report_to {report_to}: {error}") from error


class Trackers:
    """The trackers of a stream: they begin with the first task that is learned and end with the last.

    Their callbacks go from a task's trainer to the next one's. Steps count over the whole stream, and after each task
    come its row of the matrix and the metrics so far.

    Args:
        folder: the run's, for what is written to files.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.callbacks: dict[type, TrainerCallback] = {}
        # As their class has them; what the callbacks have instead is for the task.
        self._events: dict[type, tuple[Callable[..., Any], Callable[..., Any]]] = {}

    def follow(self, trainer: Trainer, results: StreamResults, position: int) -> None:
        """Let them hear of a task: its steps count after those of the tasks before it."""
        kinds = tuple(get_reporting_integration_callbacks(trainer.args.report_to))
        steps = sum(stage.steps or 0 for stage in results.learned[:position])
        for place, callback in enumerate(trainer.callback_handler.callbacks):
            if isinstance(callback, kinds):
                trainer.callback_handler.callbacks[place] = self._of_stream(callback, steps)
        if position == 0:
            self._log(trainer, row_logs(results, None), trainer.model)

    def report(self, trainer: Trainer, results: StreamResults, model: Any) -> None:
        """Log the row of the task that was just learned to `model`, and the metrics so far; after the last one, end."""
        self._log(trainer, row_logs(results, results.finished - 1), model)
        if results.finished == len(results.learned):
            for _, end in self._events.values():
                end(*_standing(trainer), model=model, processing_class=trainer.processing_class)

    def _of_stream(self, callback: TrainerCallback, steps: int) -> TrainerCallback:
        """The tracker that was there before of the kind of `callback`, or that one."""
        kind = type(callback)
        if kind in self.callbacks:
            callback = self.callbacks[kind]
            callback.on_train_begin = _unheard
        else:
            self.callbacks[kind] = callback
            self._events[kind] = (callback.on_log, callback.on_train_end)
            callback.on_train_end = _unheard
            if isinstance(callback, TensorBoardCallback):
                callback.logging_dir = callback.logging_dir or str(self.folder / LOGS)
        callback.on_log = partial(_later, self._events[kind][0], steps)
        return callback

    def _log(self, trainer: Trainer, logs: dict[str, float], model: Any) -> None:
        for callback in self.callbacks.values():
            callback.on_log(*_standing(trainer), logs=dict(logs), model=model)


def row_logs(results: StreamResults, row: int | None) -> dict[str, float]:
    """What trackers are told of a row of the matrix (None: of zero-shot): accuracies, and the metrics as of now.

    Trackers make `eval/stream/...` of it; protocols but the headline's have their name in between.
    """
    logs: dict[str, float | None] = {}
    for protocol in results.protocols:
        own, prefix = results.of(protocol), "eval_stream" if protocol == results.protocol else f"eval_stream/{protocol}"
        cells = own.zero_shot if row is None else own.accuracy[row]
        logs |= {f"{prefix}/accuracy/{name}": cell for name, cell in zip(results.names, cells, strict=True)}
        if row is not None:
            logs |= {f"{prefix}/{name}": value for name, value in metrics_so_far(results, protocol).items()}
    return {name: value for name, value in logs.items() if value is not None}


def _standing(trainer: Trainer) -> tuple[Any, Any, Any]:
    return trainer.args, trainer.state, trainer.control


def _unheard(args: Any, state: Any, control: Any, **_: Any) -> None:
    """The stream's beginning and end are the tracker's, not those of a task."""


def _later(on_log: Callable[..., Any], steps: int, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
    shifted = copy.copy(state)
    shifted.global_step += steps
    shifted.max_steps += steps
    return on_log(args, shifted, control, **kwargs)

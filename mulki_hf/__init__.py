"""Continual learning of CLIP, native to Hugging Face."""

from importlib import import_module
from typing import TYPE_CHECKING

from .resources import __version__ as __version__


# Loaded on first use: metrics must not cost an import of torch.
_HOMES = {
    "ConfigurationError": "errors",
    "MulKIConfig": "config",
    "MulKITrainer": "trainer",
    "Report": "report.notebook",
    "Stream": "stream",
    "StreamConfig": "config",
    "StreamEvaluator": "evaluation.evaluator",
    "StreamResults": "results",
    "Task": "data.task",
    "TaskConfig": "config",
    "continual_metrics": "metrics",
    "load_stream": "data.tasks",
    "run": "train",
}

__all__ = [
    "ConfigurationError",
    "MulKIConfig",
    "MulKITrainer",
    "Report",
    "Stream",
    "StreamConfig",
    "StreamEvaluator",
    "StreamResults",
    "Task",
    "TaskConfig",
    "continual_metrics",
    "load_stream",
    "run",
]

if TYPE_CHECKING:
    from .config import MulKIConfig, StreamConfig, TaskConfig
    from .data.task import Task
    from .data.tasks import load_stream
    from .errors import ConfigurationError
    from .evaluation.evaluator import StreamEvaluator
    from .metrics import continual_metrics
    from .report.notebook import Report
    from .results import StreamResults
    from .stream import Stream
    from .train import run
    from .trainer import MulKITrainer


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)

"""Continual learning of CLIP, native to Hugging Face."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING


try:
    __version__ = version("mulki-hf")
except PackageNotFoundError:  # a clone that is not installed
    __version__ = "0+unknown"

# Loaded on first use: metrics must not cost an import of torch.
_HOMES = {
    "ConfigurationError": "errors",
    "MulKIConfig": "config",
    "MulKITrainer": "trainer",
    "StreamConfig": "config",
    "StreamEvaluator": "evaluation",
    "StreamResults": "results",
    "Task": "tasks",
    "TaskConfig": "config",
    "continual_metrics": "metrics",
    "load_stream": "tasks",
}

__all__ = [
    "ConfigurationError",
    "MulKIConfig",
    "MulKITrainer",
    "StreamConfig",
    "StreamEvaluator",
    "StreamResults",
    "Task",
    "TaskConfig",
    "continual_metrics",
    "load_stream",
]

if TYPE_CHECKING:
    from .config import MulKIConfig, StreamConfig, TaskConfig
    from .errors import ConfigurationError
    from .evaluation import StreamEvaluator
    from .metrics import continual_metrics
    from .results import StreamResults
    from .tasks import Task, load_stream
    from .trainer import MulKITrainer


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)

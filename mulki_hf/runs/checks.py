"""May a stream begin? What would stop it later, or spoil its results, stops it here."""

from collections.abc import Sequence
from typing import Any

from transformers import CLIPProcessor

from ..config import MulKIConfig, StreamConfig
from ..config.recipes import LED_BY_EVALUATION
from ..data.prompts import tokenize, tokenize_prompts
from ..data.task import Task
from ..data.task_config import TaskConfig
from ..errors import ConfigurationError
from .callbacks import stops_early


def check_selection(stream: StreamConfig, config: MulKIConfig, callbacks: Sequence[Any] = ()) -> None:
    """Refuse to choose a model by the figures that the accuracy matrix reports, and not by a task's validation data."""
    schedule = str(getattr(config.lr_scheduler_type, "value", config.lr_scheduler_type))
    led = {
        "load_best_model_at_end must not be True": config.load_best_model_at_end,
        f"lr_scheduler_type must not be {schedule}": schedule in LED_BY_EVALUATION,
        "callbacks must not hold EarlyStoppingCallback": stops_early(callbacks),
    }
    without = [task.name for task in stream.task_configs() if not _has_validation(task)]
    for refusal, is_led in led.items():
        if is_led and without and stream.evaluate_on != "validation":
            raise ConfigurationError(
                f"{refusal}: task {without[0]!r} would be learned by figures of the split that the results are "
                "measured on; give every task a validation_split (a Task: validation), or leave it"
            )
    measured = ("loss", "accuracy")
    if config.metric_for_best_model not in (None, *measured, *(f"eval_{name}" for name in measured)):
        raise ConfigurationError(
            f"metric_for_best_model must be one of {', '.join(measured)}, got {config.metric_for_best_model!r}"
        )


def _has_validation(task: TaskConfig | Task) -> bool:
    return (task.validation if isinstance(task, Task) else task.validation_split) is not None


def check_texts(texts: Sequence[str], field: str | None, processor: CLIPProcessor) -> None:
    """Refuse reference texts that are longer than the text tower reads; `field` is where they were given."""
    if texts:
        try:
            tokenize(processor, list(texts), "reference text", "shorten it or leave it out")
        except ConfigurationError as error:
            raise ConfigurationError(f"{field}: {error}") from error


def check_task(task: Task, processor: CLIPProcessor, config: MulKIConfig) -> None:
    """Refuse a task whose prompts are too long, or that is too small for a single step."""
    try:
        for templates in (task.templates, task.evaluation_templates):
            tokenize_prompts(processor, task.class_names, templates)
    except ConfigurationError as error:
        raise ConfigurationError(f"task {task.name!r}: {error}") from error
    batch = config.train_batch_size * config.world_size
    if config.dataloader_drop_last and len(task.train) < batch:
        raise ConfigurationError(
            f"task {task.name!r}: {len(task.train)} training images are less than a batch of {batch}, and "
            "dataloader_drop_last drops the rest"
        )

"""May a stream begin? What would stop it later, or spoil its results, stops it here."""

from collections.abc import Sequence

from transformers import CLIPProcessor

from ..config import MulKIConfig, StreamConfig
from ..config.recipes import LED_BY_EVALUATION
from ..data.prompts import tokenize, tokenize_prompts
from ..data.task import Task
from ..errors import ConfigurationError


def check_selection(stream: StreamConfig, config: MulKIConfig) -> None:
    """Refuse to choose a model by the figures that the accuracy matrix reports."""
    if stream.evaluate_on == "validation":
        return
    schedule = str(getattr(config.lr_scheduler_type, "value", config.lr_scheduler_type))
    for name, value in {"load_best_model_at_end": config.load_best_model_at_end, "lr_scheduler_type": schedule}.items():
        if value is True or value in LED_BY_EVALUATION:
            raise ConfigurationError(
                f"{name} must not be {value}: each task would be learned by figures of the split that the results are "
                "measured on; leave it, or tune with a validation_split in each task and evaluate_on validation"
            )
    measured = ("loss", "accuracy")
    if config.metric_for_best_model not in (None, *measured, *(f"eval_{name}" for name in measured)):
        raise ConfigurationError(
            f"metric_for_best_model must be one of {', '.join(measured)}, got {config.metric_for_best_model!r}"
        )


def check_texts(texts: Sequence[str], field: str | None, processor: CLIPProcessor) -> None:
    """Refuse reference texts that are longer than the text tower reads; `field` is where they were given."""
    if texts:
        try:
            tokenize(processor.tokenizer, list(texts), "reference text", "shorten it or leave it out")
        except ConfigurationError as error:
            raise ConfigurationError(f"{field}: {error}") from error


def check_task(task: Task, processor: CLIPProcessor, config: MulKIConfig) -> None:
    """Refuse a task whose prompts are too long, or that is too small for a single step."""
    try:
        tokenize_prompts(processor.tokenizer, task.class_names, task.templates)
    except ConfigurationError as error:
        raise ConfigurationError(f"task {task.name!r}: {error}") from error
    batch = config.train_batch_size * config.world_size
    if config.dataloader_drop_last and len(task.train) < batch:
        raise ConfigurationError(
            f"task {task.name!r}: {len(task.train)} training images are less than a batch of {batch}, and "
            "dataloader_drop_last drops the rest"
        )

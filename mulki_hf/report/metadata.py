"""What a card says to the Hub: its metadata, from the results alone."""

import re

from huggingface_hub import EvalResult, ModelCardData

from ..metrics import continual_metrics
from ..results import StreamResults
from .samples import images_text, is_sample


def draft_card(results: StreamResults) -> str:
    """A card with the metadata that a person chooses, for the Hub to check before there are results."""
    data = ModelCardData(
        language=results.config["language"],
        license=results.base.license,
        library_name="transformers",
        base_model=results.base.hub_id,
        datasets=[task.dataset for task in results.tasks if on_hub(task.dataset)] or None,
    )
    return f"---\n{data.to_yaml()}\n---\n"


def card_data(results: StreamResults, name: str, library: str, relation: str, *tags: str) -> ModelCardData:
    """The metadata that the Hub reads."""
    base = results.base
    return ModelCardData(
        language=results.config["language"],
        license=base.license,
        library_name=library,
        pipeline_tag="zero-shot-image-classification",
        tags=[base.encoder.model_type, "continual-learning", *tags, "mulki-hf", results.method.rpartition(":")[2]],
        base_model=base.hub_id,
        base_model_relation=relation if base.hub_id else None,
        datasets=hub_datasets(results) or None,
        metrics=["accuracy"],
        model_name=name,
        eval_results=[entry for protocol in results.protocols for entry in eval_results(results, protocol)],
    )


def on_hub(dataset: str) -> bool:
    """Whether a recorded dataset is a Hub id."""
    return bool(re.fullmatch(r"[\w.-]+/[\w.-]+", dataset))


def hub_datasets(results: StreamResults) -> list[str]:
    """Hub ids of the data that the model was trained with so far."""
    names = [task.dataset for task in results.tasks[: results.tasks_learned]]
    if results.reference is not None:
        names += [results.reference.dataset, results.reference.text_dataset or ""]
    return list(dict.fromkeys(name for name in names if on_hub(name)))


def metrics_so_far(results: StreamResults, protocol: str) -> dict[str, float | None]:
    """The stream's metrics by a protocol as if it ended with the last finished task."""
    own, count = results.of(protocol), results.tasks_learned
    return continual_metrics([row[:count] for row in own.accuracy], own.zero_shot[:count])


def eval_results(results: StreamResults, protocol: str) -> list[EvalResult]:
    """The `model-index` by a protocol: accuracy on each task; Transfer, Avg and Last of the stream; shares of one."""
    kind, so_far = "zero-shot-image-classification", metrics_so_far(results, protocol)
    sample = "evaluation_images"
    by = "" if protocol == results.protocol else f" ({protocol})"
    last = results.of(protocol).accuracy[-1]
    entries = [
        EvalResult(
            task_type=kind,
            dataset_type=task.dataset if on_hub(task.dataset) else task.name,
            dataset_name=f"{task.name}, {'learned' if position < results.tasks_learned else 'not learned'}"
            + (f", a sample of {images_text(task, sample)} images" if is_sample(task, sample) else ""),
            metric_type="accuracy",
            metric_name=f"Accuracy ({protocol})",
            metric_value=round(value / 100, 4),
        )
        for position, (task, value) in enumerate(zip(results.tasks, last, strict=True))
        if value is not None
    ]
    count = results.tasks_learned
    tasks = "1 task" if count == 1 else f"{count} tasks"
    entries += [
        EvalResult(
            task_type=kind,
            dataset_type="stream",
            dataset_name=f"stream of {tasks}: {', '.join(results.names[:count])}",
            metric_type=name,
            metric_name=name.capitalize() + by,
            metric_value=round(value / 100, 4),
        )
        for name in ("transfer", "avg", "last")
        # Of a single task they would say its accuracy again.
        if len(results.tasks) > 1 and (value := so_far[name]) is not None
    ]
    return entries

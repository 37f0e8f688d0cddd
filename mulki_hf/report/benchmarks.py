"""What is to be said of benchmarks' datasets: how far a model is from what was published, what is not confirmed."""

from ..markdown import text
from ..records import TaskRecord
from ..results import StreamResults
from .samples import is_sample


PUBLISHED_FOR = "openai/clip-vit-base-patch16"
"""The model whose accuracy before any training benchmarks know."""

TOLERANCE = 1.5
"""Points that it may be measured apart: libraries resize images and round a little differently."""


def zero_shot_warnings(results: StreamResults) -> list[str]:
    """A sentence for each task whose accuracy before any training is not what was published of the same model.

    It is the usual cause of figures that nobody can reproduce: other images, names, prompts or preprocessing. Nothing
    is said of another model, of a sample of the evaluation images, of validation data, or of a benchmark that was
    changed.
    """
    known = results.base.hub_id == PUBLISHED_FOR and "til" in results.protocols
    if not known or results.config.get("evaluate_on", "test") != "test":
        return []
    sentences = []
    for task, measured in zip(results.tasks, results.of("til").zero_shot, strict=False):
        published = _published(task)
        if published is None or measured is None or abs(measured - published) <= TOLERANCE:
            continue
        side = "above" if measured > published else "below"
        sentences.append(
            f"Zero-shot accuracy on {task.name} is {measured:.1f} %, {abs(measured - published):.1f} points "
            f"{side} the {published:.1f} % published for {benchmark_name(task)}: "
            "images, class names, prompts or preprocessing are not those of the benchmark, and no figure of this task "
            "compares with published ones."
        )
    return sentences


def _published(task: TaskRecord) -> float | None:
    if task.benchmark is None or task.benchmark.get("changed") or is_sample(task, "evaluation_images"):
        return None
    return task.benchmark.get("zero_shot")


def benchmark_name(task: TaskRecord) -> str:
    """`mtil:aircraft`; empty if its data are of no benchmark."""
    return str((task.benchmark or {}).get("name") or "")


def notes(results: StreamResults) -> list[str]:
    """What is to be known of benchmarks' datasets, as Markdown: each sentence behind the tasks that it is of."""
    tasks: dict[str, list[str]] = {}
    for task in results.tasks:
        own = task.benchmark or {}
        said = [str(note) for note in own.get("notes") or ()]
        if changed := own.get("changed"):
            said.append(
                f"Not {own.get('name')} as published: the task says otherwise in {', '.join(map(str, changed))}."
            )
        for note in said:
            tasks.setdefault(note, []).append(task.name)
    return [f"{', '.join(map(text, names))}: {text(note)}" for note, names in tasks.items()]

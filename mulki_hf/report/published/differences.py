"""What of a run is not as published, though it is of the published setting: its steps, and images drawn at random."""

from ...results import StreamResults
from .records import Setting


IMAGES = {"train": "training", "evaluation": "test"}
"""By the names of [`Benchmark.redrawn`]."""


def differences(results: StreamResults, setting: Setting) -> list[str]:
    """A clause each; steps are also said where nobody knows those of the published rows."""
    return [*filter(None, [_training(results, setting), _splits(results)])]


def _training(results: StreamResults, setting: Setting) -> str:
    steps = [task.steps for task in results.tasks if task.steps is not None]
    if not steps:
        return ""
    images, published = _batch(results), setting.training
    if published and {*steps} == {published.steps} and images in (published.images, None):
        return ""
    least, most = min(steps), max(steps)
    own = f"{least:,} steps a task" if least == most else f"{least:,} to {most:,} steps a task"
    own += f" of {images} images" if images else ""
    return f"{own}; {published.of} took {published.steps:,} of {published.images}" if published else own


def _batch(results: StreamResults) -> int | None:
    """Images of a step on all processes; None in files of older versions."""
    if not {"per_device_train_batch_size", "num_processes"} <= {*results.config}:
        return None
    config = {"gradient_accumulation_steps": 1} | results.config
    return config["per_device_train_batch_size"] * config["gradient_accumulation_steps"] * config["num_processes"]


def _splits(results: StreamResults) -> str:
    """The datasets whose images, of the published number, are others."""
    datasets: dict[str, set[str]] = {}
    for task in results.tasks:
        own = task.benchmark or {}
        if drawn := own.get("redrawn"):
            kinds = " and ".join(words for split, words in IMAGES.items() if split in drawn)
            datasets.setdefault(kinds, set()).add(own["name"].partition(":")[2])
    said = [f"{kinds} images of {', '.join(sorted(names))}" for kinds, names in sorted(datasets.items(), reverse=True)]
    return f"splits differ: drawn at random, to the published size, are {', and '.join(said)}" if said else ""

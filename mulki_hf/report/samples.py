"""Which tasks were learned or measured on some of their images alone, in words."""

from ..markdown import text
from ..records import TaskRecord
from ..results import StreamResults


SENTENCES = {
    "shots": "Trained on at most {} image{} of each class",
    "max_train_samples": "Trained on a sample of at most {} image{}",
    "max_eval_samples": "Evaluated on a sample of at most {} image{}",
}
"""Of what a task's `limits` ask, by the field that asks for it."""

SPLITS = {"shots": "training_images", "max_train_samples": "training_images", "max_eval_samples": "evaluation_images"}
"""By the same fields: what they leave some of."""


def images_text(task: TaskRecord, split: str) -> str:
    """How many a task has of `training_images` or `evaluation_images`: `500`, or `64 of 3680`."""
    own = getattr(task, split)
    return f"{own} of {task.limits[split]}" if is_sample(task, split) else str(own)


def is_sample(task: TaskRecord, split: str) -> bool:
    """Whether images of `split` were left out."""
    return task.limits.get(split, 0) > getattr(task, split)


def samples_text(results: StreamResults) -> str:
    """A line for each limit that left images out, with its tasks so far; empty where there is none."""
    sentences = []
    for field, split in SPLITS.items():
        tasks = results.tasks if field == "max_eval_samples" else results.tasks[: results.tasks_learned]
        asked: dict[int, list[str]] = {}
        for task in tasks:
            if field in task.limits and is_sample(task, split):
                asked.setdefault(task.limits[field], []).append(text(task.name))
        for count, names in asked.items():
            whose = "every task" if len(names) == len(tasks) > 1 else ", ".join(names)
            sentences.append(f"{SENTENCES[field].format(count, '' if count == 1 else 's')}: {whose}.")
    return "\n".join(sentences)

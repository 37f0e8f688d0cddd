"""The model card of a task's checkpoint."""

from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

from .config import MulKIConfig, StreamConfig
from .results import StreamResults, markdown_table
from .tasks import Task


PACKAGE = Path(__file__).parent


def template_path() -> Path:
    """The card's Jinja template: inside an installed wheel, or beside the package in a clone."""
    installed, clone = (folder / "model_cards" / "task_card.md.jinja" for folder in (PACKAGE, PACKAGE.parent))
    return installed if installed.is_file() else clone


def task_card(
    results: StreamResults, tasks: list[Task], position: int, stream: StreamConfig, config: MulKIConfig
) -> str:
    """Card of the checkpoint after the task at `position`: what it is, how to use it, the stream and the results."""
    local = Path(stream.model_name_or_path).exists()
    base = Path(stream.model_name_or_path).name if local else stream.model_name_or_path
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="zero-shot-image-classification",
        tags=["clip", "continual-learning", "mulki-hf", config.method],
    )
    stream_table = [["#", "task", "dataset", "classes", "training images", "evaluation images", "prompt"]]
    for number, t in enumerate(tasks, start=1):
        source = "local files" if t.dataset is None or Path(t.dataset).exists() else t.dataset
        counts = [str(len(part)) for part in (t.class_names, t.train, t.evaluation)]
        stream_table.append([str(number), t.name, source, *counts, t.templates[0]])
    task = tasks[position]
    card = ModelCard.from_template(
        data,
        template_path=str(template_path()),
        base=base,
        method=config.method,
        task=task,
        number=position + 1,
        total=len(tasks),
        stream_table=markdown_table(stream_table),
        results=results,
        towers=config.train_towers,
    )
    return str(card)

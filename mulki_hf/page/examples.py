"""Example pictures: some of each task's evaluation split, as far as the data are at hand."""

import json
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from PIL import Image

from ..config.from_hub import confined
from ..data.labels import LEFT_OUT, read_labels
from ..data.rows import EMBEDDED_PREFIX, check_column
from ..data.sources import find_sources, load_sources
from ..data.task_config import TaskConfig
from ..errors import ConfigurationError
from ..prediction.pictures import UnreadablePicture, read_picture
from ..records import TaskRecord
from ..results import StreamResults


FILE = "examples.json"
"""In a folder of examples: their files, tasks and class names."""


@dataclass(frozen=True)
class Example:
    """A picture of a task with the name of its class."""

    image: Image.Image
    task: str
    class_name: str


def find_examples(results: StreamResults, count: int, from_hub: str | None = None) -> tuple[list[Example], list[str]]:
    """`count` pictures of each task's evaluation split, always the same; and for tasks without, why.

    Tasks are found as the run's configuration describes them. A dataset of the Hub that was never loaded on this
    machine is not at hand: nothing is downloaded for examples' sake. Results that came `from_hub`, which is their name
    there, choose no files of this machine.
    """
    examples, notes = [], []
    specs = {spec.get("name"): spec for spec in results.config.get("tasks", []) if isinstance(spec, dict)}
    for task in results.tasks if count else ():
        # Of `class_incremental` tasks the name has a number behind it.
        spec = specs.get(task.name) or specs.get(task.name.rpartition("-")[0])
        try:
            if spec is None:
                raise ConfigurationError("its data are not recorded")
            if from_hub is not None:
                spec = confined({"tasks": [spec]}, from_hub, None, "RUN")["tasks"][0]
            examples += _of_task(
                task, TaskConfig.from_dict(spec, 1), results.config.get("evaluate_on") == "validation", count
            )
        except (ConfigurationError, UnreadablePicture, TypeError, OSError) as error:
            notes.append(f"no examples of {task.name}: {error}")
    return examples, notes


def _of_task(record: TaskRecord, task: TaskConfig, validation: bool, count: int) -> list[Example]:
    where = task.origin
    if not _at_hand(task.dataset):
        raise ConfigurationError(f"{where} is not on this machine")
    if isinstance(task.class_names, str):
        if task.task_count > 1:
            raise ConfigurationError("which class a label means is in a file of names")
        task.class_names = record.class_names
    sources = find_sources(task, validation)
    own = load_sources(task, {"evaluation": sources["evaluation"]}, where)["evaluation"]
    check_column(own.rows, task.image_column, where)
    rows = own.rows.cast_column(task.image_column, datasets.Image(decode=False))
    labels = read_labels(own.rows, task.label_column, own.used, own.classes, own.where)
    names = [own.classes.names[label] if label != LEFT_OUT else "" for label in labels]
    known = set(record.class_names)
    order = [row for row in np.random.default_rng(0).permutation(len(names)).tolist() if names[row] in known]
    # Of different classes as long as there are any.
    first: dict[str, int] = {}
    for row in order:
        first.setdefault(names[row], row)
    chosen = [*dict.fromkeys([*first.values(), *order])][:count]
    return [Example(_picture(rows[row][task.image_column]), record.name, names[row]) for row in chosen]


def _picture(encoded: dict[str, Any]) -> Image.Image:
    content = encoded["bytes"]
    return read_picture(encoded["path"] if content is None else BytesIO(content))


def _at_hand(dataset: str) -> bool:
    if dataset.startswith(EMBEDDED_PREFIX) or "/" not in dataset or Path(dataset).exists():
        return True
    return (Path(datasets.config.HF_DATASETS_CACHE) / dataset.replace("/", "___")).is_dir()


def read_examples(folder: Path) -> list[Example]:
    """Those of a Space: `examples.json` names the files; nothing where there is no such file.

    Raises:
        ConfigurationError: it can't be read.
    """
    if not (folder / FILE).is_file():
        return []
    try:
        listed = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return [Example(read_picture(folder / one["file"]), one["task"], one["class_name"]) for one in listed]
    except (OSError, ValueError, KeyError, TypeError, UnreadablePicture) as error:
        raise ConfigurationError(f"can't read the examples in {folder}: {error}") from error

"""What is still to be downloaded, and what a run will write: is there room for it?"""

import math
import os
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
from datasets import load_dataset_builder
from huggingface_hub import HfFileSystem, try_to_load_from_cache
from transformers import CLIPModel

from ..config import MulKIConfig, StreamConfig
from ..data.rows import dataset_name
from ..data.task import Task
from ..data.task_config import TaskConfig
from ..models.dual_encoders import feature_width
from ..objectives import Objective


REFERENCE = "reference"
"""What reference images and texts are called among the problems."""
FLOAT = 4
"""Bytes of a number in fp32."""


def free_space(folder: str | Path) -> int:
    """Bytes that are free on the disk of a folder, which may not be there yet."""
    path = Path(os.path.abspath(folder))
    return shutil.disk_usage(next(part for part in (path, *path.parents) if part.exists())).free


def hub_data(stream: StreamConfig, entries: Sequence[tuple[str, Any]]) -> list[tuple[str, str, tuple[Any, ...]]]:
    """The datasets of the Hub that a stream reads, each once: who wants it, its name, and what [`download_size`] takes.

    Args:
        stream: the settings.
        entries: of the tasks, by name.
    """
    wanted: list[tuple[str, str | None, tuple[Any, ...]]] = [
        (name, entry.dataset, (entry.config_name, entry.data_dir, entry.data_files, entry.revision))
        for name, entry in entries
        if isinstance(entry, TaskConfig)
    ]
    images = (stream.reference_config_name, None, stream.reference_data_files, stream.reference_revision)
    texts = (stream.reference_text_config_name, None, None, stream.reference_text_revision)
    wanted += [(REFERENCE, stream.reference_dataset, images), (REFERENCE, stream.reference_text_dataset, texts)]
    found = list[tuple[str, str, tuple[Any, ...]]]()
    for name, dataset, others in wanted:
        if dataset is None or dataset_name(dataset) != dataset or "/" not in dataset:
            continue
        if (dataset, others) not in [known[1:] for known in found]:
            found.append((name, dataset, others))
    return found


def download_size(
    dataset: str, config_name: str | None, data_dir: str | None, data_files: Any, revision: str | None
) -> int:
    """Bytes that loading a dataset of the Hub takes on the disk, above what is there: files and Arrow tables.

    Its images are stored in both as they are, so that the one is about as large as the other. Of what can't be found
    nothing: that is for loading to say. Arguments are those of `load_dataset`.
    """
    try:
        return _absent(load_dataset_builder(dataset, config_name, data_dir, data_files, revision=revision))
    except (ValueError, OSError, ImportError, tarfile.TarError, datasets.exceptions.DatasetsError):
        return 0


def _absent(builder: datasets.DatasetBuilder) -> int:
    if Path(builder.cache_dir).is_dir():
        return 0
    hub = HfFileSystem(endpoint=datasets.config.HF_ENDPOINT)
    files = {file for split in (builder.config.data_files or {}).values() for file in split}
    absent = unpacked = 0
    for file in files:
        if file.startswith("hf://"):
            size, place = hub.info(file)["size"], hub.resolve_path(file)
            known = try_to_load_from_cache(
                place.repo_id, place.path_in_repo, revision=place.revision, repo_type=place.repo_type
            )
            unpacked += size
            absent += 0 if isinstance(known, str) else size
    return absent + unpacked


def run_size(
    stream: StreamConfig,
    config: MulKIConfig,
    objective: Objective,
    model: CLIPModel,
    stages: Sequence[Task],
    tasks: Sequence[Task],
    references: int,
    learned: int,
    saves: int,
) -> dict[str, int]:
    """Bytes that a run will have in its folder at most, by what they are.

    Args:
        stream, config, objective: the settings.
        model ([`CLIPModel`]): that it starts from.
        stages: what is learned, as far as it could be loaded.
        tasks: what is evaluated, likewise.
        references: images in the reference set.
        learned: how many stages there will be; a checkpoint each.
        saves: checkpoints of Trainer's that a task leaves at a time.
    """
    weights = FLOAT * sum(parameter.numel() for parameter in model.parameters())
    kept = learned if stream.keep_checkpoints == "all" else min(learned, 2)
    largest = max((len(task.train) for task in stages), default=0)
    rows = sum(table_rows(parts, largest, references, stream, config) for parts in read_by_role(objective))
    side, pixels = model.config.vision_config.image_size, 0
    if config.cache_images:
        pixels = references + sum(len(task.evaluation) for task in tasks)
        pixels += largest * (stream.random_resized_crop is None)
    # Weights and both moments of Adam; of a model with adapters less.
    sizes = {
        "checkpoints of the tasks": kept * weights,
        "Trainer's checkpoints": 3 * weights * saves,
        "teachers' features": FLOAT * feature_width(model) * rows,
        "decoded images": 3 * side * side * pixels,
    }
    return {name: size for name, size in sizes.items() if size}


def read_by_role(objective: Objective) -> list[set[str]]:
    """What is read of the original teacher, and of the previous one."""
    return [
        {path.partition(".")[2] for path in objective.needs if path.startswith(f"{role}.")}
        for role in ("original", "previous")
    ]


def table_rows(parts: set[str], training: int, references: int, stream: StreamConfig, config: MulKIConfig) -> int:
    """Images of which a teacher's features are computed before the steps of a task.

    Args:
        parts: what is read of it.
        training, references: images of the task, and of the reference set.
        stream, config: the settings.
    """
    kept = config.cache_teachers and stream.random_resized_crop is None
    own = "prototypes" in parts or (kept and "image" in parts)
    views = math.ceil(config.views_per_sample * training) if "views" in parts else 0
    return training * own + kept * (references * ("reference" in parts) + views)


def saved_at_a_time(config: MulKIConfig, steps: int, epoch: int) -> int:
    """How many of Trainer's checkpoints of a task of so many `steps`, `epoch` in each, lie on the disk at most."""
    strategy: Any = getattr(config.save_strategy, "value", config.save_strategy)
    if strategy == "no" or not steps:
        return 0
    every = config.save_steps if config.save_steps >= 1 else max(1, math.ceil(config.save_steps * steps))
    made = math.ceil(steps / (every if strategy == "steps" else epoch))
    # A new one is written before an old one is deleted.
    return min(made, config.save_total_limit + 1) if config.save_total_limit else made

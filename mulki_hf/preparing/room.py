"""What is still to be downloaded: is there room for it?"""

import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
from datasets import load_dataset_builder
from huggingface_hub import HfFileSystem, try_to_load_from_cache

from ..config import StreamConfig
from ..data.rows import dataset_name
from ..data.task_config import TaskConfig


REFERENCE = "reference"
"""What reference images and texts are called among the problems."""


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

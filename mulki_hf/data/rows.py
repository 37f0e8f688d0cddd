"""Any dataset that `datasets` loads as checked rows with the columns `image` and `label`."""

import logging
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets import Dataset, load_dataset, load_from_disk

from ..embedded import load_embedded_dataset
from ..errors import ConfigurationError
from .config import DataArguments


logger = logging.getLogger(__name__)

EMBEDDED_PREFIX = "embedded:"
_FILE_BUILDERS = {".parquet": "parquet", ".arrow": "arrow", ".csv": "csv", ".json": "json", ".jsonl": "json"}
_FILE_BUILDERS |= {".tar": "webdataset"}
_LOCAL_BUILDERS = {*_FILE_BUILDERS.values(), "text", "xml", "imagefolder", "folder"}


def dataset_name(dataset: str | None) -> str:
    """What may be said of a `dataset` outside this machine: its Hub id or embedded name, else `local files`."""
    local = dataset is None or Path(dataset).exists() or dataset in _LOCAL_BUILDERS
    return "local files" if dataset is None or local else dataset


def load_split(
    where: str,
    dataset: str,
    split: str,
    config_name: str | None = None,
    data_dir: str | None = None,
    data_files: Any = None,
    revision: str | None = None,
) -> Dataset:
    """One split of a `dataset` as [`TaskConfig`] describes it.

    Raises:
        ConfigurationError: it can't be loaded, or is empty; the message begins with `where`.
    """
    path = Path(dataset)
    try:
        if dataset.startswith(EMBEDDED_PREFIX):
            rows = load_embedded_dataset(dataset.removeprefix(EMBEDDED_PREFIX), split=split)
        elif (path / "dataset_dict.json").is_file():
            saved = load_from_disk(dataset)
            if split not in saved:
                raise ValueError(f"it has the splits {', '.join(saved)}")
            rows = saved[split]
        elif path.is_file() and path.suffix in _FILE_BUILDERS:
            rows = load_dataset(_FILE_BUILDERS[path.suffix], data_files=dataset, split=split)
        else:
            rows = load_dataset(
                dataset, config_name, data_dir=data_dir, data_files=data_files, revision=revision, split=split
            )
    except (ValueError, OSError, ImportError, datasets.exceptions.DatasetsError) as error:
        raise ConfigurationError(f"{where}: can't load split {split!r}: {error}") from error
    if len(rows) == 0:
        raise ConfigurationError(f"{where}: split {split!r} is empty")
    return rows


def check_column(rows: Dataset, column: str, where: str) -> None:
    """Raise `ConfigurationError` unless `rows` have the column."""
    if column not in rows.column_names:
        raise ConfigurationError(f"{where}: no column {column!r}; the columns are {', '.join(rows.column_names)}")


def with_images(rows: Dataset, column: str, where: str, config: DataArguments) -> Dataset:
    """`rows` with their image column named `image` and checked to decode."""
    check_column(rows, column, where)
    feature = rows.features[column]
    if not isinstance(feature, datasets.Image) and getattr(feature, "dtype", None) not in ("string", "binary"):
        raise ConfigurationError(f"{where}: column {column!r} holds {feature}, neither images nor paths of images")
    if column != "image":
        rows = rows.remove_columns("image") if "image" in rows.column_names else rows
        rows = rows.rename_column(column, "image")
    encoded = rows.select_columns(["image"]).cast_column("image", datasets.Image(decode=False))
    problems = encoded.map(
        _image_problem,
        input_columns=["image"],
        remove_columns=["image"],
        num_proc=config.dataset_num_proc,
        desc=f"Checking images: {where}",
    )["problem"]
    bad = [row for row, problem in enumerate(problems) if problem]
    if bad and config.unreadable_images == "error":
        raise ConfigurationError(
            f"{where}: {len(bad)} unreadable image(s), the first in row {bad[0]}: {problems[bad[0]]}; "
            "mend the data or set unreadable_images: skip"
        )
    rows = rows.cast_column("image", datasets.Image())
    if bad:
        logger.warning(f"{where}: {len(bad)} unreadable image(s) left out, the first in row {bad[0]}")
        rows = rows.select(sorted(set(range(len(rows))) - set(bad)))
        if len(rows) == 0:
            raise ConfigurationError(f"{where}: no readable image is left")
    return rows


def _image_problem(encoded: dict | None) -> dict:
    if encoded is None:
        return {"problem": "no image"}
    try:
        datasets.Image().decode_example(encoded).convert("RGB")
    except Exception as error:  # decoders raise errors of many kinds; each is reported
        return {"problem": f"{type(error).__name__}: {error}"}
    return {"problem": ""}


def with_labels(rows: Dataset, column: str, class_names: list[str], where: str) -> Dataset:
    """`rows` reduced to `image` and `label`, the labels as positions in `class_names`."""
    values = rows.with_format("arrow")[column].to_pylist()
    if any(isinstance(value, str) for value in values):
        position = {name: label for label, name in enumerate(class_names)}
        for row, value in enumerate(values):
            if value not in position:
                raise ConfigurationError(f"{where}, row {row}: label {value!r} is not among the class names")
        values = [position[value] for value in values]
    else:
        for row, value in enumerate(values):
            if not isinstance(value, int) or isinstance(value, bool):
                raise ConfigurationError(f"{where}, row {row}: label {value!r} is neither an integer nor a class name")
    labels = np.asarray(values, dtype=np.int64)
    check_labels(labels, class_names, where)
    return rows.select_columns(["image"]).add_column("label", labels)


def check_labels(labels: np.ndarray, class_names: list[str], where: str) -> None:
    """Raise `ConfigurationError` for a label that is no position in `class_names`."""
    outside = np.flatnonzero((labels < 0) | (labels >= len(class_names)))
    if len(outside):
        raise ConfigurationError(
            f"{where}, row {outside[0]}: label {labels[outside[0]]} is outside the {len(class_names)} class names "
            f"(0..{len(class_names) - 1})"
        )


def with_classes(rows: Dataset, labels: list[int]) -> Dataset:
    """The rows of `labels`, relabelled by position in it."""
    old = np.asarray(rows.with_format("numpy")["label"])
    kept = np.flatnonzero(np.isin(old, labels))
    position = {label: new for new, label in enumerate(labels)}
    new = np.asarray([position[label] for label in old[kept].tolist()], dtype=np.int64)
    return rows.select(kept).select_columns(["image"]).add_column("label", new)

"""Any dataset that `datasets` loads as rows whose images are checked."""

import logging
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets import Dataset, load_dataset, load_from_disk

from ..embedded import load_embedded_dataset
from ..errors import ConfigurationError
from .builders import FILE_BUILDERS, LOCAL_BUILDERS
from .checked import check_images
from .config import DataArguments


logger = logging.getLogger(__name__)

EMBEDDED_PREFIX = "embedded:"


def dataset_name(dataset: str | None) -> str:
    """What may be said of a `dataset` outside this machine: its Hub id or embedded name, else `local files`."""
    local = dataset is None or Path(dataset).exists() or dataset in LOCAL_BUILDERS
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
        elif path.is_file() and path.suffix in FILE_BUILDERS:
            rows = load_dataset(FILE_BUILDERS[path.suffix], data_files=dataset, split=split)
        else:
            rows = load_dataset(
                dataset, config_name, data_dir=data_dir, data_files=data_files, revision=revision, split=split
            )
    except (
        ValueError,
        OSError,
        ImportError,
        RuntimeError,
        tarfile.TarError,
        datasets.exceptions.DatasetsError,
    ) as error:
        # What went wrong while an Arrow table was made is said by the cause alone.
        reason = error.__cause__ if type(error) is datasets.exceptions.DatasetGenerationError else None
        raise ConfigurationError(f"{where}: can't load split {split!r}: {reason or error}") from error
    if len(rows) == 0:
        raise ConfigurationError(f"{where}: split {split!r} is empty")
    return rows


def check_column(rows: Dataset, column: str, where: str) -> None:
    """Raise `ConfigurationError` unless `rows` have the column."""
    if column not in rows.column_names:
        raise ConfigurationError(f"{where}: no column {column!r}; the columns are {', '.join(rows.column_names)}")


@dataclass(frozen=True)
class Split:
    """A split of `N` rows whose images were looked at.

    Attributes:
        rows: as they were loaded.
        images: their images as the one column `image`.
        digests (`(N, 16)`, bytes): see [`CheckedImages`].
        seen (`(N,)`, bool): False for the rows whose image was not looked at.
        used (`(N,)`, bool): False for the rows that nobody wanted, and for those whose image can't be read, where such
            are to be left out.
    """

    rows: Dataset
    images: Dataset
    digests: np.ndarray
    seen: np.ndarray
    used: np.ndarray


def with_images(
    rows: Dataset, column: str, where: str, config: DataArguments, wanted: np.ndarray | None = None
) -> Split:
    """`rows` with the images of their `column` checked to decode; of those that are `wanted` `(N,)`, bool, alone.

    Raises:
        ConfigurationError: there is no such column, it holds no images, or one can't be read.
    """
    check_column(rows, column, where)
    feature = rows.features[column]
    if not isinstance(feature, datasets.Image) and getattr(feature, "dtype", None) not in ("string", "binary"):
        raise ConfigurationError(f"{where}: column {column!r} holds {feature}, neither images nor paths of images")
    images = rows.select_columns([column])
    images = images if column == "image" else images.rename_column(column, "image")
    encoded = images.cast_column("image", datasets.Image(decode=False))
    used = np.ones(len(rows), dtype=bool) if wanted is None else wanted.copy()
    chosen = np.flatnonzero(used)
    # The answer is remembered by the rows that were asked for.
    checked = check_images(encoded if used.all() else encoded.select(chosen), where, config.dataset_num_proc)
    bad = chosen[sorted(checked.problems)]
    if len(bad) and config.unreadable_images == "error":
        raise ConfigurationError(
            f"{where}: {len(bad)} unreadable image(s), the first in row {bad[0]}: "
            f"{checked.problems[min(checked.problems)]}; mend the data or set unreadable_images: skip"
        )
    if len(bad):
        logger.warning(f"{where}: {len(bad)} unreadable image(s) left out, the first in row {bad[0]}")
    used[bad] = False
    digests = np.zeros((len(rows), checked.digests.shape[1]), dtype=np.uint8)
    digests[chosen] = checked.digests
    seen = np.zeros(len(rows), dtype=bool)
    seen[chosen if checked.sample is None else chosen[checked.sample]] = True
    if not used.any():
        raise ConfigurationError(f"{where}: no readable image is left")
    return Split(rows, images.cast_column("image", datasets.Image()), digests, seen, used)

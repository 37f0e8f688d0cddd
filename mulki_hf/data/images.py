"""Images to pixel values by the model's own processor, in every step or once."""

from collections.abc import Callable
from functools import partial
from typing import Any

import datasets
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import UnreadableImage
from .labels import labels_of
from .tables import ArrayCache, Table


def image_transform(image_processor) -> Callable[[dict], dict]:
    """A batched transform for `Dataset.set_transform`: columns `image` and `label` to `pixel_values` and `labels`.

    It can be pickled, as workers that are spawned rather than forked want it.

    Args:
        image_processor: the model's own image processor.
    """
    return partial(_samples, image_processor)


def _samples(image_processor, batch: dict) -> dict:
    images = [image.convert("RGB") for image in batch["image"]]
    features = {"pixel_values": list(image_processor(images, return_tensors="pt")["pixel_values"])}
    if "label" in batch:
        features["labels"] = batch["label"]
    return features


def read_rows(rows: datasets.Dataset, indices: list[int], what: str) -> dict[str, list[Any]]:
    """Columns of some rows, their images decoded.

    Args:
        rows: a column `image`.
        indices: which ones.
        what: they are of, for the message.

    Raises:
        UnreadableImage: one can't be read, though all could when they were checked; names row and file.
    """
    try:
        return rows[indices]
    except Exception:  # decoders raise errors of many kinds
        for row in indices:
            _check_readable(rows, row, what)
        raise


def _check_readable(rows: datasets.Dataset, row: int, what: str) -> None:
    try:
        rows[row]
    except Exception as error:
        encoded = rows.cast_column("image", datasets.Image(decode=False))[row]["image"] or {}
        split = f", split {str(rows.split)!r}" if rows.split else ""
        file = f"file {encoded['path']!r}, " if encoded.get("path") else ""
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UnreadableImage(
            f"{what}{split}: the image of row {row} can't be read any more ({file}{reason}); put it back as it was "
            "when training began"
        ) from error


class ImageSamples(Dataset):
    """Rows whose images become what a model reads as they are asked for.

    Args:
        rows ([`datasets.Dataset`]): columns `image` and, where there are labels, `label`.
        transform: batched, see [`image_transform`].
        what: they are of, for messages.
    """

    def __init__(self, rows: datasets.Dataset, transform: Callable[[dict], dict], what: str):
        self.rows = rows.with_format(None)
        self.transform = transform
        self.what = what

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: list[int]) -> list[dict]:
        columns = self.transform(read_rows(self.rows, indices, self.what))
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def __getitem__(self, index: int) -> dict:
        return self.__getitems__([index])[0]


def cached_images(
    rows: datasets.Dataset, image_processor, cache: ArrayCache, name: str, what: str = "the data"
) -> Dataset:
    """`rows` as [`image_transform`] gives them without crops, each image decoded and resized only once.

    The pixels lie on disk as bytes; rescaling and normalising, which is all that is left, differs from the processor's
    own by rounding (1e-6 at most).

    Args:
        rows: columns `image` and, where there are labels, `label`.
        image_processor: the model's own.
        cache: where the table lies.
        name: of the table.
        what: the rows are of, for messages.
    """

    table = cache.table(
        f"{name}-pixels",
        ["pixels", image_processor.to_json_string(), rows._fingerprint],
        ImageSamples(rows, partial(_pixels, image_processor), what),
        lambda batch: batch["pixels"].to(torch.uint8),
        f"{name}: images",
        "cache_images: false",
    )
    labels = torch.from_numpy(labels_of(rows)) if "label" in rows.column_names else None
    return CachedImages(table, labels, image_processor)


def _pixels(image_processor, batch: dict) -> dict:
    images = [image.convert("RGB") for image in batch["image"]]
    # Not yet rescaled, a pixel is a byte.
    pixels = image_processor(images, do_rescale=False, do_normalize=False, return_tensors="pt")["pixel_values"]
    return {"pixels": list(pixels)}


class CachedImages(Dataset):
    """Samples with `pixel_values` and, where there are labels, `labels`, from a table of bytes `(N, 3, H, W)`."""

    def __init__(self, table: Table, labels: Tensor | None, image_processor):
        self.table = table
        self.labels = labels
        self.scale = image_processor.rescale_factor if image_processor.do_rescale else 1.0
        mean, std = (0.0, 1.0)
        if image_processor.do_normalize:
            mean, std = image_processor.image_mean, image_processor.image_std
        self.mean, self.std = (torch.tensor(value).reshape(-1, 1, 1) for value in (mean, std))

    def __len__(self) -> int:
        return len(self.table.rows)

    def __getitems__(self, indices: list[int]) -> list[dict]:
        pixels = self.table[indices].float().mul_(self.scale).sub_(self.mean).div_(self.std)
        samples = [{"pixel_values": image} for image in pixels]
        if self.labels is not None:
            for sample, label in zip(samples, self.labels[indices].tolist(), strict=True):
                sample["labels"] = label
        return samples

    def __getitem__(self, index: int) -> dict:
        return self.__getitems__([index])[0]

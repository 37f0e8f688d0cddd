"""Images to pixel values by the model's own processor, in every step or once."""

from collections.abc import Callable
from functools import partial

import datasets
import torch
from torch import Tensor
from torch.utils.data import Dataset

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


def cached_images(rows: datasets.Dataset, image_processor, cache: ArrayCache, name: str) -> Dataset:
    """`rows` as [`image_transform`] gives them without crops, each image decoded and resized only once.

    The pixels lie on disk as bytes; rescaling and normalising, which is all that is left, differs from the processor's
    own by rounding (1e-6 at most).
    """

    table = cache.table(
        f"{name}-pixels",
        ["pixels", image_processor.to_json_string(), rows._fingerprint],
        rows.with_transform(partial(_pixels, image_processor)),
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

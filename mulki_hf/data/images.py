"""Images to pixel values: the model's own processor, and a random resized crop before it in training."""

import math
from collections.abc import Callable

import datasets
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from .tables import ArrayCache, Table


def image_transform(image_processor, crop_area: float | None = None) -> Callable[[dict], dict]:
    """A batched transform for `Dataset.set_transform`: columns `image` and `label` to `pixel_values` and `labels`.

    Args:
        image_processor: the model's own image processor.
        crop_area (`float`, *optional*): train on random crops of at least this share of the image's area.
    """

    size = image_processor.crop_size or image_processor.size
    side = size.height or size.shortest_edge

    def transform(batch: dict) -> dict:
        images = [image.convert("RGB") for image in batch["image"]]
        if crop_area is not None:
            images = [random_resized_crop(image, crop_area, side) for image in images]
        features = {"pixel_values": list(image_processor(images, return_tensors="pt")["pixel_values"])}
        if "label" in batch:
            features["labels"] = batch["label"]
        return features

    return transform


def cached_images(rows: datasets.Dataset, image_processor, cache: ArrayCache, name: str) -> Dataset:
    """`rows` as [`image_transform`] gives them without crops, each image decoded and resized only once.

    The pixels lie on disk as bytes; rescaling and normalising, which is all that is left, differs from the processor's
    own by rounding (1e-6 at most).
    """

    def pixels(batch: dict) -> dict:
        images = [image.convert("RGB") for image in batch["image"]]
        # Not yet rescaled, a pixel is a byte.
        return {
            "pixels": list(
                image_processor(images, do_rescale=False, do_normalize=False, return_tensors="pt")["pixel_values"]
            )
        }

    table = cache.table(
        f"{name}-pixels",
        ["pixels", image_processor.to_json_string(), rows._fingerprint],
        rows.with_transform(pixels),
        lambda batch: batch["pixels"].to(torch.uint8),
        f"{name}: images",
    )
    labels = torch.tensor(rows.with_format("numpy")["label"][:]) if "label" in rows.column_names else None
    return CachedImages(table, labels, image_processor)


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


def random_resized_crop(image: Image.Image, min_area: float, side: int) -> Image.Image:
    """A random crop of `min_area` to all of the area, as a square of `side` pixels.

    Its aspect ratio is 3/4 to 4/3 where an image of this shape has room for it.

    Draws from torch's generator, which the Trainer seeds in every worker.
    """
    width, height = image.size
    area, ratio, x, y = torch.rand(4).tolist()
    area = width * height * (min_area + (1 - min_area) * area)
    ratio = math.exp((2 * ratio - 1) * math.log(4 / 3))
    # Within the image's sides, at the cost of the aspect ratio rather than of the area.
    ratio = min(max(ratio, area / height**2), width**2 / area)
    crop_width, crop_height = min(width, math.sqrt(area * ratio)), min(height, math.sqrt(area / ratio))
    left, top = x * (width - crop_width), y * (height - crop_height)
    box = (left, top, left + crop_width, top + crop_height)
    return image.resize((side, side), Image.Resampling.BICUBIC, box=box)

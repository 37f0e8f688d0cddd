"""Random resized crops of the training images, a function of seed, epoch and sample."""

import math

import datasets
import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from .images import image_transform, read_rows


class RandomCrops(Dataset):
    """Samples as [`image_transform`] makes them, of a random crop of each image.

    A crop is a function of seed, epoch and row alone: it is the same in whichever worker, on whichever rank and after
    whatever interruption.

    Args:
        rows ([`datasets.Dataset`]): columns `image` and, where there are labels, `label`.
        image_processor: the model's own.
        min_area (`float`): a crop has at least this share of the image's area.
        seed (`int`): of the crops.
        what: the rows are of, for messages.
    """

    def __init__(self, rows: datasets.Dataset, image_processor, min_area: float, seed: int, what: str = "the data"):
        self.rows = rows.with_format(None)
        self.transform = image_transform(image_processor)
        size = image_processor.crop_size or image_processor.size
        self.side = size.height or size.shortest_edge
        self.min_area = min_area
        self.seed = seed
        self.what = what
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Crop as in `epoch`."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: list[int]) -> list[dict]:
        batch = read_rows(self.rows, indices, self.what)
        batch["image"] = [self._crop(image, row) for image, row in zip(batch["image"], indices, strict=True)]
        columns = self.transform(batch)
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def __getitem__(self, index: int) -> dict:
        return self.__getitems__([index])[0]

    def _crop(self, image: Image.Image, row: int) -> Image.Image:
        rng = np.random.default_rng((self.seed, self.epoch, row))
        return random_resized_crop(image.convert("RGB"), self.min_area, self.side, rng)


def random_resized_crop(image: Image.Image, min_area: float, side: int, rng: np.random.Generator) -> Image.Image:
    """A random crop of `min_area` to all of the area, as a square of `side` pixels.

    Its aspect ratio is 3/4 to 4/3 where an image of this shape has room for it.
    """
    width, height = image.size
    area, ratio, x, y = rng.random(4).tolist()
    area = width * height * (min_area + (1 - min_area) * area)
    ratio = math.exp((2 * ratio - 1) * math.log(4 / 3))
    # Within the image's sides, at the cost of the aspect ratio rather than of the area.
    ratio = min(max(ratio, area / height**2), width**2 / area)
    crop_width, crop_height = min(width, math.sqrt(area * ratio)), min(height, math.sqrt(area / ratio))
    left, top = x * (width - crop_width), y * (height - crop_height)
    box = (left, top, left + crop_width, top + crop_height)
    return image.resize((side, side), Image.Resampling.BICUBIC, box=box)

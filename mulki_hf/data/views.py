"""Views: pictures made of a task's own images, which lie farther out than these."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset


MOST_VIEWS = 16


@dataclass
class ViewArguments:
    """How views of the task's own images are trained on."""

    _argument_group_name = "Views of the task's own images"

    views_per_sample: float = field(  # type: ignore[assignment]  # None until the method is known
        default=None,
        metadata={
            "help": "Views beside each task image, for methods that read them; 0.5: beside every second one, which is "
            "also how many different ones there are. Default: the method's own (0.0625)."
        },
    )

    def __post_init__(self):
        if self.views_per_sample is not None and not 0 < self.views_per_sample <= MOST_VIEWS:
            raise ValueError(f"views_per_sample must be in (0, {MOST_VIEWS}], got {self.views_per_sample}")


class Views(Dataset):
    """Views of images: cut out, shuffled, mixed, with other colours; each a function of seed and number alone.

    Args:
        images: map-style dataset of samples with `pixel_values` `(3, H, W)`, normalised.
        count (`int`): how many views there are.
        seed (`int`): of the views.
    """

    def __init__(self, images: Dataset, count: int, seed: int):
        self.images = images
        self.count = count
        self.seed = seed

    def __len__(self) -> int:
        return self.count

    def __getitems__(self, indices: list[int]) -> list[dict]:
        drawn = [np.random.default_rng((self.seed, _VIEWS, number)) for number in indices]
        kinds = [KINDS[rng.integers(len(KINDS))] for rng in drawn]
        # Images are decoded here: of two only where there are two to see.
        counts = [2 if kind is mixed else 1 for kind in kinds]
        rows = [rng.integers(len(self.images), size=count).tolist() for rng, count in zip(drawn, counts, strict=True)]
        samples = iter(self.images.__getitems__([row for own in rows for row in own]))
        images = [[torch.as_tensor(next(samples)["pixel_values"]) for _ in own] for own in rows]
        return [{"pixel_values": kind(*own, rng)} for kind, own, rng in zip(kinds, images, drawn, strict=True)]

    def __getitem__(self, index: int) -> dict:
        return self.__getitems__([index])[0]


_VIEWS = 1
"""Tells draws of views from others of the same seed."""


def cut_out(image: Tensor, rng: np.random.Generator) -> Tensor:
    """A square of 40 to 90 % of the side, as large as the image."""
    side = min(image.shape[1:])
    part = max(1, round(side * rng.uniform(0.4, 0.9)))
    top, left = (rng.integers(0, length - part + 1) for length in image.shape[1:])
    square = image[None, :, top : top + part, left : left + part]
    return F.interpolate(square, size=image.shape[1:], mode="bilinear", align_corners=False)[0]


def shuffled(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Its 2 x 2 or 4 x 4 tiles in another order; what is left over at the lower and right edge stays."""
    tiles = int(rng.choice([2, 4]))
    height, width = (length // tiles for length in image.shape[1:])
    view = image.clone()
    for place, source in enumerate(rng.permutation(tiles * tiles).tolist()):
        (to_row, to_column), (row, column) = divmod(place, tiles), divmod(source, tiles)
        tile = image[:, row * height : (row + 1) * height, column * width : (column + 1) * width]
        view[:, to_row * height : (to_row + 1) * height, to_column * width : (to_column + 1) * width] = tile
    return view


def recoloured(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Its channels in any order, each with 50 to 150 % of its contrast and half a deviation more or less of light."""
    channels = image[torch.from_numpy(rng.permutation(len(image)))]
    contrast, light = (rng.uniform(middle - 0.5, middle + 0.5, size=(len(image), 1, 1)) for middle in (1.0, 0.0))
    return torch.from_numpy(contrast).to(image) * channels + torch.from_numpy(light).to(image)


def inverted(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Its negative, about the mean that images are normalised with."""
    return -image


def mixed(image: Tensor, other: Tensor, rng: np.random.Generator) -> Tensor:
    """A mean of two images, 30 to 70 % of each."""
    return torch.lerp(image, other, rng.uniform(0.3, 0.7))


KINDS: tuple[Callable[..., Tensor], ...] = (cut_out, shuffled, recoloured, inverted, mixed)
"""Drawn alike; each makes a view `(3, H, W)` of an image or, a mixture, of two."""

MADE_AS = 1
"""Changes with what views are made as, so that no table of others is taken for theirs."""

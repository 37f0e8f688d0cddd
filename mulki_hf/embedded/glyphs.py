"""Letters and Greek letters drawn with fonts that the pre-training of the embedded model never sees."""

import string
import unicodedata

from datasets import ClassLabel, DatasetInfo, Features, Image

from .builder import EmbeddedBuilder
from .drawing import Look, contrasting_colours, matplotlib_font, picture, plain, sprite


HELD_OUT_FONTS = (
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-BoldItalic",
    "DejaVuSerif-Italic",
    "DejaVuSerifDisplay",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralBolIta",
    "STIXGeneralItalic",
    "STIXNonUni",
    "STIXNonUniBol",
    "STIXNonUniBolIta",
    "STIXNonUniIta",
    "STIXSizFiveSymReg",
    "STIXSizFourSymBol",
    "STIXSizFourSymReg",
    "STIXSizOneSymBol",
    "STIXSizOneSymReg",
    "STIXSizThreeSymBol",
    "STIXSizThreeSymReg",
    "STIXSizTwoSymBol",
    "STIXSizTwoSymReg",
)
"""File stems of matplotlib's fonts that are kept for the stream: pre-training must not draw with them."""

TRAIN_FACES = ("DejaVuSerif-BoldItalic", "STIXGeneralBol", "STIXGeneralItalic")
"""Faces of the train and validation splits: both families, weights and slants, as in `TEST_FACES`.

Not the upright regular DejaVu Serif, whose letters are DejaVu Math TeX Gyre's too: clip-nano was pre-trained with that.
"""

TEST_FACES = ("DejaVuSerif-Bold", "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBolIta")
"""Faces of the test split, none of which the other splits show."""

LATIN_CAPITALS = tuple(string.ascii_uppercase)

GREEK_SMALL = tuple(chr(code) for code in range(ord("α"), ord("ω") + 1) if chr(code) != "ς")
"""The 24 small letters; the final sigma is a second form of sigma."""

_LOOK = Look(scale=(0.5, 0.85), rotation=12.0, shear=0.15, shift=0.1, blur=0.4, noise=12.0)


def greek_name(letter: str) -> str:
    """The usual English name of a small Greek letter ("alpha"); Unicode's own, but for its odd "lamda"."""
    name = unicodedata.name(letter).removeprefix("GREEK SMALL LETTER ").lower()
    return "lambda" if name == "lamda" else name


class Glyphs(EmbeddedBuilder):
    """Characters in random colours: per class 24 train, 6 validation and 12 test pictures, unless `renderings` differ.

    Attributes:
        characters (`tuple[str, ...]`): a class each.
        class_names (`list[str]`): their names, in the same order.
        train_faces, test_faces (`tuple[str, ...]`): file stems of matplotlib's fonts, taken in turn; validation
            pictures show the train faces.
        renderings (`dict[str, int]`): pictures a class, by split.
        look (`Look`): how far the pictures vary.
    """

    packages = ("matplotlib",)
    license = "Bitstream Vera and STIX font licences"
    characters: tuple[str, ...]
    class_names: list[str]
    train_faces: tuple[str, ...] = TRAIN_FACES
    test_faces: tuple[str, ...] = TEST_FACES
    renderings = {"train": 24, "validation": 6, "test": 12}
    look = _LOOK

    def _info(self):
        return DatasetInfo(
            license=self.license, features=Features(image=Image(), label=ClassLabel(names=self.class_names))
        )

    def _examples(self, split):
        faces = self.test_faces if split == "test" else self.train_faces
        for label, character in enumerate(self.characters):
            for number in range(self.renderings[split]):
                rng = self.random(split, label, number)
                ink, ground = contrasting_colours(rng)
                cut_out = sprite(character, matplotlib_font(faces[number % len(faces)]), ink)
                yield {"image": picture(cut_out, plain(ground), self.look, rng), "label": label}


class Letters(Glyphs):
    """The 26 capital letters A to Z."""

    short_name = "letters"
    characters = LATIN_CAPITALS
    class_names = list(LATIN_CAPITALS)


class Greek(Glyphs):
    """The 24 small Greek letters."""

    short_name = "greek"
    characters = GREEK_SMALL
    class_names = [greek_name(letter) for letter in GREEK_SMALL]

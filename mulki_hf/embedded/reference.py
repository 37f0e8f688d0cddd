"""An unlabelled reference set that shares nothing with the tasks of the embedded stream."""

import json
import unicodedata
from collections.abc import Iterator
from importlib.resources import as_file, files
from itertools import chain
from pathlib import Path

import numpy as np
from datasets import DatasetInfo, Features, Image, Value
from PIL import Image as PILImage

from .builder import EmbeddedBuilder
from .drawing import Look, characters_of, contrasting_colours, matplotlib_font, picture, plain, sprite
from .glyphs import GREEK_SMALL, LATIN_CAPITALS


REFERENCE_FACES = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-BoldOblique",
)
"""Faces of the Cyrillic glyphs, none of them in `HELD_OUT_FONTS`."""

CYRILLIC = tuple(map(chr, range(0x0400, 0x0500)))

TASK_CHARACTERS = LATIN_CAPITALS + GREEK_SMALL + tuple("0123456789")
"""What no reference picture may look like."""

_ICON_FONTS = {"solid": "fa-solid-900.ttf", "regular": "fa-regular-400.ttf", "brands": "fa-brands-400.ttf"}
_LOOK = Look(scale=(0.55, 0.92), rotation=12.0, shear=0.1, blur=0.2, noise=8.0)
_LEAST_DIFFERENCE = 0.09


class Reference(EmbeddedBuilder):
    """Font Awesome's free icons and Cyrillic glyphs, with the icon's or the Unicode name as text.

    One split, `train`. Left out are the icons of letters and digits, and the Cyrillic glyphs that look the same as a
    capital, a small Greek letter or a digit. Some icons show what an emoji shows too (a cat, a lemon), drawn otherwise.
    """

    short_name = "reference"
    packages: tuple[str, ...] = ("fontawesomefree", "matplotlib")
    license = "CC BY 4.0, and the Bitstream Vera font licence"
    splits = ("train",)

    def _info(self):
        return DatasetInfo(license=self.license, features=Features(image=Image(), text=Value("string")))

    def _examples(self, split):
        for character, font, text in chain(font_awesome_icons(), cyrillic_letters()):
            yield {"image": two_coloured(character, font, self.random(font.name, character)), "text": text}


def two_coloured(character: str, font: Path, rng: np.random.Generator) -> PILImage.Image:
    """A picture of the character in one random colour on another."""
    ink, ground = contrasting_colours(rng)
    return picture(sprite(character, font, ink), plain(ground), _LOOK, rng)


def font_awesome_icons() -> Iterator[tuple[str, Path, str]]:
    """Character, font and name of every free icon in every free style."""
    with as_file(files("fontawesomefree") / "static" / "fontawesomefree") as folder:
        for icon in json.loads((folder / "metadata" / "icons.json").read_text(encoding="utf-8")).values():
            if len(icon["label"]) > 1:
                for style in icon["free"]:
                    yield chr(int(icon["unicode"], 16)), folder / "webfonts" / _ICON_FONTS[style], icon["label"].lower()


def cyrillic_letters() -> Iterator[tuple[str, Path, str]]:
    """Character, font and name of the Cyrillic glyphs of each face that look like no task's character."""
    for face in REFERENCE_FACES:
        font = matplotlib_font(face)
        taken = np.stack([shape(character, font) for character in TASK_CHARACTERS])
        for character in CYRILLIC:
            # Combining marks have no picture of their own.
            if unicodedata.category(character)[0] != "L" or ord(character) not in characters_of(font):
                continue
            if np.abs(taken - shape(character, font)).mean(axis=(1, 2)).min() >= _LEAST_DIFFERENCE:
                yield character, font, unicodedata.name(character).lower()


def shape(character: str, font: Path) -> np.ndarray:
    """The glyph's coverage (0 to 1), stretched to 32x32: capital and small letters of one form come out alike."""
    cut_out = sprite(character, font, (0, 0, 0)).resize((32, 32))
    return np.asarray(cut_out.getchannel("A"), dtype=np.float32) / 255

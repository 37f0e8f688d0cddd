"""Signs that clip-nano was never shown: a script, mathematical operators and playing cards."""

import unicodedata

import numpy as np
from PIL import Image

from .drawing import Look, colour, gradient, matplotlib_font, picture, plain, sprite
from .glyphs import Glyphs


GEORGIAN = tuple(map(chr, range(0x10D0, 0x10F0 + 1)))
"""The 33 letters of the modern Georgian alphabet (Mkhedruli)."""

OPERATORS = tuple("∀∂∃∅∇∈∋∏∐√∝∞∠∥∧∨∩∪∫∮∴∵∼≃≈≅≠≡≤≥≪≫⊂⊃⊆⊇⊏⊐⊓⊔⊕⊖⊗⊙⊞⊠⊢⊤⊥⋈")
"""50 of Unicode's mathematical operators, no two of which differ in size or weight alone."""

_RANKS = ("ace", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "jack", "queen", "king")
_SUITS = ("spades", "hearts", "diamonds", "clubs")
_FIRST_CARD = 0x1F0A1
_KNIGHT = 11  # stands between jack and queen in Unicode, and in no pack of 52

CARDS = tuple(
    chr(_FIRST_CARD + 16 * suit + rank + (rank >= _KNIGHT))
    for suit in range(len(_SUITS))
    for rank in range(len(_RANKS))
)
"""The 52 playing cards, suit by suit."""

_INKS = ((30, 30, 30), (200, 30, 30), (30, 60, 200), (20, 130, 40))
_SHADES = 30
_LOOK = Look(scale=(0.8, 0.98), rotation=8.0, shear=0.1, shift=0.1, blur=0.1, noise=8.0)


class Georgian(Glyphs):
    """The 33 letters of the Georgian alphabet: sans and serif faces of either slant in every split, none in two."""

    short_name = "georgian"
    license = "Bitstream Vera font licence"
    characters = GEORGIAN
    class_names = [unicodedata.name(letter).removeprefix("GEORGIAN LETTER ").lower() for letter in GEORGIAN]
    train_faces = ("DejaVuSans", "DejaVuSerif-BoldItalic", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique")
    test_faces = ("DejaVuSerif", "DejaVuSans-BoldOblique", "DejaVuSansMono")


class Operators(Glyphs):
    """50 mathematical operators by Unicode name: per class 15 train, 4 validation and 8 test pictures."""

    short_name = "operators"
    characters = OPERATORS
    class_names = [unicodedata.name(operator).lower() for operator in OPERATORS]
    train_faces = ("DejaVuSans", "STIXGeneralBol")
    test_faces = ("STIXGeneral", "DejaVuSans-Bold")
    renderings = {"train": 15, "validation": 4, "test": 8}


class Cards(Glyphs):
    """The 52 cards of a four-colour pack: per class 15 train, 4 validation and 8 test pictures.

    Spades are black, hearts red, diamonds blue and clubs green, in shades that vary, on light ground. All faces of the
    font draw the same cards; what the test split alone shows is a ground that runs from one colour to another.
    """

    short_name = "cards"
    license = "Bitstream Vera font licence"
    characters = CARDS
    class_names = [f"{rank} of {suit}" for suit in _SUITS for rank in _RANKS]
    renderings = {"train": 15, "validation": 4, "test": 8}

    def _examples(self, split):
        font = matplotlib_font("DejaVuSans")
        for label, card in enumerate(CARDS):
            for number in range(self.renderings[split]):
                rng = self.random(split, label, number)
                shade = rng.integers(-_SHADES, _SHADES + 1, size=3)
                ink = tuple(np.clip(_INKS[label // len(_RANKS)] + shade, 0, 255).tolist())
                first, second = colour(rng, 190), colour(rng, 190)
                ground = gradient(first, second, rng) if split == "test" else plain(first)
                yield {"image": picture(_inside(sprite(card, font, ink)), ground, _LOOK, rng), "label": label}


def _inside(card: Image.Image) -> Image.Image:
    """The card without its frame, which would take the room that rank and suit need."""
    width, height = card.size
    return card.crop((round(0.1 * width), round(0.07 * height), round(0.9 * width), round(0.93 * height)))

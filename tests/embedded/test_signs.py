"""Georgian letters, mathematical operators and playing cards: the right picture under every name."""

import unicodedata

import numpy as np
import pytest

from mulki_hf.embedded.drawing import characters_of, matplotlib_font
from mulki_hf.embedded.reference import shape
from mulki_hf.embedded.signs import CARDS, OPERATORS, Cards, Georgian, Operators


@pytest.mark.parametrize("builder", [Georgian, Operators])
def test_every_face_has_every_character_and_no_split_borrows_a_face(builder):
    assert set(builder.train_faces).isdisjoint(builder.test_faces)
    for face in builder.train_faces + builder.test_faces:
        assert set(map(ord, builder.characters)) <= characters_of(matplotlib_font(face)), face
    # Faces are taken in turn: every class is to show each of them as often.
    assert builder.renderings["test"] % len(builder.test_faces) == 0


def test_no_two_operators_look_alike():
    shapes = [shape(operator, matplotlib_font("DejaVuSans")) for operator in OPERATORS]
    for place, one in enumerate(shapes):
        for other in range(place):
            assert np.abs(one - shapes[other]).mean() > 0.04, OPERATORS[place] + OPERATORS[other]


def test_cards_are_called_as_unicode_calls_them():
    assert Cards.class_names == [unicodedata.name(card).removeprefix("PLAYING CARD ").lower() for card in CARDS]
    assert len(set(CARDS)) == 52


def test_suits_have_their_colours(embedded):
    rows = embedded["cards"]["test"]
    names = rows.features["label"].names
    for row in rows:
        pixels = np.asarray(row["image"], dtype=float).reshape(-1, 3)
        ink = pixels[np.argsort(pixels.sum(1))[:100]].mean(0)
        strongest = {"spades": None, "hearts": 0, "clubs": 1, "diamonds": 2}[names[row["label"]].split()[-1]]
        if strongest is None:
            assert ink.max() < 110
        else:
            assert ink.argmax() == strongest, names[row["label"]]

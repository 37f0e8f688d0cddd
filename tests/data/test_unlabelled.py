"""Reference images and texts: some rows of many, captions alone, what is recorded and what a resumed run refuses."""

import io
import re

import numpy as np
import pytest
from datasets import Dataset, Features, Image, Value
from PIL import Image as PILImage
from support.tiny import COLOURS, rows

from mulki_hf import ConfigurationError, StreamConfig
from mulki_hf.data import checked
from mulki_hf.data.unlabelled import Reference, draw, load_reference
from mulki_hf.results import StreamResults
from mulki_hf.train import main


FIRST = [2, 12, 13, 20, 33]
"""What seed 1102 draws 5 of 40."""
CAPTIONS = ["a small bird", "a green house", "a small bird", "two boats"]


@pytest.fixture
def pictures(tmp_path) -> str:
    """40 rows, each picture of a shade of its own, beside a text."""
    images = [PILImage.new("RGB", (8, 8), (6 * row, 0, 0)) for row in range(40)]
    features = Features({"image": Image(), "caption": Value("string")})
    data = Dataset.from_dict({"image": images, "caption": [f"shade {row}" for row in range(40)]}, features=features)
    data.to_parquet(tmp_path / "pictures.parquet")
    return str(tmp_path / "pictures.parquet")


@pytest.fixture
def captions(tmp_path) -> str:
    """As Conceptual Captions are: beside each text the address of an image, at which nothing is."""
    addresses = [f"http://127.0.0.1:9/{row}.jpg" for row in range(len(CAPTIONS))]
    Dataset.from_dict({"image_url": addresses, "caption": CAPTIONS}).to_parquet(tmp_path / "captions.parquet")
    return str(tmp_path / "captions.parquet")


def load(**fields) -> Reference:
    return load_reference(StreamConfig(tasks=[{"name": "a", "dataset": "b"}], **fields))


def shades(reference: Reference) -> list[int]:
    return [np.asarray(image)[0, 0, 0].item() // 6 for image in reference.images["image"]]


@pytest.mark.parametrize("field", ["reference_dataset", "reference_text_dataset"])
def test_a_benchmark_is_no_reference_data(field):
    message = f"{field} 'mtil:aircraft' says what a task is, .* 'Donghyun99/FGVC-Aircraft'"
    with pytest.raises(ConfigurationError, match=message):
        load(**{field: "mtil:aircraft", "reference_text_column": "caption"})


class TestDraw:
    def test_is_that_of_snds_code(self):
        """Written down: a draw must not change with the version of a library."""
        drawn = draw(1_281_167, 100_000, 1102)
        assert drawn.sum() == 100_000
        chosen = np.random.default_rng(1102).choice(1_281_167, 100_000, replace=False)
        assert (np.flatnonzero(drawn) == np.sort(chosen)).all()
        assert np.flatnonzero(draw(40, 5, 1102)).tolist() == FIRST

    def test_as_many_as_there_are_is_all(self):
        assert draw(5, 5, 0) is draw(5, 9, 0) is draw(5, None, 0) is None


class TestSamples:
    def test_only_they_are_read(self, pictures, monkeypatch):
        looked_at, check_images = [], checked.check_images

        def noted(data, *args):
            looked_at.append(len(data))
            return check_images(data, *args)

        monkeypatch.setattr("mulki_hf.data.rows.check_images", noted)
        reference = load(reference_dataset=pictures, reference_samples=5, reference_seed=1102)
        assert looked_at == [5] and reference.drawn_from == 40
        assert shades(reference) == FIRST
        assert reference.images.column_names == ["image"]

    def test_what_was_drawn_is_in_the_fingerprint(self, pictures):
        fields = {"reference_dataset": pictures, "reference_samples": 5}
        prints = [load(**fields, reference_seed=seed).fingerprint for seed in (0, 0, 1)]
        assert prints[0] == prints[1] != prints[2]
        everything = load(reference_dataset=pictures)
        assert everything.drawn_from is None and len(everything.images) == 40

    def test_texts_are_those_of_the_same_rows(self, pictures):
        fields = {"reference_samples": 5, "reference_seed": 1102, "reference_text_column": "caption"}
        reference = load(reference_dataset=pictures, **fields)
        assert reference.texts == tuple(f"shade {row}" for row in FIRST)

    def test_an_image_folder(self, tmp_path):
        for row in range(6):
            folder = tmp_path / "folder" / "abc"[row % 3]
            folder.mkdir(parents=True, exist_ok=True)
            PILImage.new("RGB", (8, 8), (6 * row, 0, 0)).save(folder / f"{row}.png")
        reference = load(reference_dataset=str(tmp_path / "folder"), reference_samples=4)
        assert len(reference.images) == 4 and reference.drawn_from == 6

    def test_a_broken_image_is_named_by_its_row_in_the_data_if_it_is_drawn(self, tmp_path):
        good = io.BytesIO()
        PILImage.new("RGB", (8, 8)).save(good, "PNG")
        images = [{"bytes": b"none" if row == FIRST[2] else good.getvalue(), "path": None} for row in range(40)]
        data = Dataset.from_dict({"image": images}, features=Features({"image": Image(decode=False)}))
        data.cast_column("image", Image()).to_parquet(tmp_path / "broken.parquet")
        fields = {"reference_dataset": str(tmp_path / "broken.parquet"), "reference_samples": 5}
        with pytest.raises(ConfigurationError, match=rf"unreadable image\(s\), the first in row {FIRST[2]}:"):
            load(**fields, reference_seed=1102)
        assert len(load(**fields, reference_seed=1102, unreadable_images="skip").images) == 4
        seed = next(seed for seed in range(9) if not draw(40, 5, seed)[FIRST[2]])
        assert len(load(**fields, reference_seed=seed).images) == 5


class TestTexts:
    def test_of_a_dataset_without_images(self, captions):
        reference = load(reference_text_dataset=captions, reference_text_column="caption")
        assert reference.texts == ("a small bird", "a green house", "two boats")
        assert reference.images is None and reference.dataset is None and reference.text_dataset == captions

    def test_beside_images_of_another_dataset(self, pictures, captions):
        images = load(reference_dataset=pictures, reference_samples=5)
        texts = load(reference_text_dataset=captions, reference_text_column="caption", reference_text_split="train[:2]")
        both = load(
            reference_dataset=pictures, reference_samples=5, reference_text_dataset=captions,
            reference_text_column="caption", reference_text_split="train[:2]",
        )  # fmt: skip
        assert both.texts == texts.texts == ("a small bird", "a green house")
        assert both.fingerprint == f"{images.fingerprint}-{texts.fingerprint}"
        assert (both.drawn_from, both.text_dataset) == (40, captions)

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"reference_text_column": "text"}, "no column 'text'; the columns are image_url, caption"),
            ({"reference_text_split": "validation"}, "can't load split 'validation'"),
        ],
    )
    def test_what_is_missing_is_named(self, captions, fields, message):
        given = {"reference_text_dataset": captions, "reference_text_column": "caption"} | fields
        with pytest.raises(ConfigurationError, match=f"reference_text_dataset '{re.escape(captions)}'.*{message}"):
            load(**given)


class TestRun:
    def test_is_recorded_said_and_kept(self, stream_yaml, tmp_path, pictures, captions):
        rows(list(COLOURS), 4, 0).to_parquet(tmp_path / "rows.parquet")
        task = {"name": "t", "dataset": str(tmp_path / "rows.parquet"), "eval_split": "train"}
        given = {"reference_dataset": pictures, "reference_samples": 5, "reference_seed": 1102}
        given |= {"reference_text_dataset": captions, "reference_text_column": "caption"}

        def run(*options, **fields):
            main(["--config", str(stream_yaml(tasks=[task], method="zscl", **given | fields)), *options])

        run()
        record = StreamResults.load(tmp_path / "out").reference
        assert (record.images, record.drawn_from, record.texts) == (5, 40, 3)
        assert record.fingerprint == load(**given).fingerprint and record.text_dataset == "local files"
        card = (tmp_path / "out/task1-t/README.md").read_text()
        images, texts = record.fingerprint.split("-")
        assert f"5 of 40 unlabelled reference images (fingerprint `{images}`)" in card
        assert f"3 reference texts (fingerprint `{texts}`)" in card
        with pytest.raises(SystemExit, match="error: resume: reference_seed was 1102 and is now 1"):
            run("--resume", reference_seed=1)
        Dataset.from_dict({"caption": [*CAPTIONS[:3], "two ships"]}).to_parquet(captions)
        with pytest.raises(SystemExit, match="reference images are not what the run began with: as many images and te"):
            run("--resume")

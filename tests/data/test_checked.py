"""Images are looked at once, and told apart by what they hold."""

from io import BytesIO

import datasets
import numpy as np
import pytest
from datasets import Dataset, Features, Image
from support.tiny import COLOURS, SHAPES, rows

from mulki_hf import StreamConfig, load_stream
from mulki_hf.data import checked
from mulki_hf.data.checked import check_images


NAMES = sorted(SHAPES)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Of this test alone."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets-cache")
    return tmp_path / "datasets-cache"


@pytest.fixture
def decoded(monkeypatch):
    """The images that are decoded, as long as one process does it."""
    decode, seen = Image.decode_example, []
    monkeypatch.setattr(Image, "decode_example", lambda *args, **kwargs: seen.append(1) or decode(*args, **kwargs))
    return seen


def encoded(data: Dataset) -> Dataset:
    return data.select_columns(["image"]).cast_column("image", Image(decode=False))


def task(kind: str, folder):
    """Loaded from parquet files, a saved dataset or folders of images, which are written if they aren't there."""
    if not folder.exists():
        # In the order in which folders of images are listed.
        splits = {"train": rows(NAMES, 4, 0).sort("label"), "test": rows(NAMES, 2, 1).sort("label")}
        if kind == "saved":
            datasets.DatasetDict(splits).save_to_disk(folder)
        for split, data in splits.items():
            if kind == "parquet":
                folder.mkdir(exist_ok=True)
                data.to_parquet(folder / f"{split}.parquet")
            elif kind == "imagefolder":
                for position, (image, label) in enumerate(zip(encoded(data)["image"], data["label"], strict=True)):
                    path = folder / split / NAMES[label] / f"{position:03d}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(image["bytes"])
    return load_stream(StreamConfig(tasks=[{"name": "t", "dataset": str(folder)}]))[0]


def test_a_key_takes_no_rows_apart(monkeypatch):
    """Of selected rows `datasets` would make a piece each: of a large set that takes as long as decoding it."""
    data = encoded(rows(NAMES, 4, 0))
    keys = {
        checked._key(part) for part in (data, data.select([3, 1, 2]), data.select([1, 2, 3]), data.select(range(3)))
    }
    assert len(keys) == 4
    monkeypatch.setattr(Dataset, "__getitem__", lambda *_: pytest.fail("rows were read"))
    assert checked._key(data.select([3, 1, 2])) in keys


def test_a_key_knows_the_files_of_selected_rows(tmp_path):
    paths = [tmp_path / f"{name}.png" for name in NAMES]
    for path, row in zip(paths, encoded(rows(NAMES, 1, 0)), strict=True):
        path.write_bytes(row["image"]["bytes"])
    data = Dataset.from_dict({"image": [*map(str, paths)]}).cast_column("image", Image(decode=False))
    first, last = data.select([0, 1]), data.select([2])
    before = checked._key(first), checked._key(last)
    paths[2].write_bytes(paths[0].read_bytes() + b"more")
    assert checked._key(first) == before[0] and checked._key(last) != before[1]


class TestRemembered:
    @pytest.mark.parametrize("kind", ["parquet", "saved", "imagefolder"])
    def test_a_second_load_decodes_nothing(self, tmp_path, decoded, kind):
        first = task(kind, tmp_path / "data")
        assert len(decoded) == 12 + 6
        decoded.clear()
        again = task(kind, tmp_path / "data")
        assert not decoded and again.fingerprint == first.fingerprint

    def test_in_memory_by_its_content(self, decoded):
        for _ in range(2):
            check_images(encoded(rows(NAMES, 2, 0)), "test")
        assert len(decoded) == 6

    def test_a_file_that_changed_is_looked_at_again(self, tmp_path, decoded):
        paths = [tmp_path / f"{number}.png" for number in range(3)]
        for path, image in zip(paths, rows(NAMES, 1, 0)["image"], strict=True):
            image.save(path)
        features = Features({"image": Image(decode=False)})
        data = Dataset.from_dict({"image": [str(path) for path in paths]}, features=features)
        before = check_images(data, "test")
        decoded.clear()
        paths[1].write_bytes(b"no image")
        after = check_images(data, "test")
        assert decoded and list(after.problems) == [1] and not before.problems
        assert (before.digests != after.digests).any(axis=1).tolist() == [False, True, False]

    def test_a_fault_that_is_gone_is_forgotten(self, monkeypatch):
        """As a missing decoder or right, or a network that was down."""
        data, decode = encoded(rows(NAMES, 2, 0)), Image.decode_example

        def fails(self, value, *args, **kwargs):
            if value["bytes"] == data[2]["image"]["bytes"]:
                raise OSError("input/output error")
            return decode(self, value, *args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(Image, "decode_example", fails)
            for _ in range(2):
                faulty = check_images(data, "test")
                assert faulty.problems == {2: "OSError: input/output error"} and not faulty.digests[2].any()
        mended = check_images(data, "test")
        assert not mended.problems and mended.digests[2].any()
        monkeypatch.setattr(Image, "decode_example", lambda *_: pytest.fail("decoded again"))
        assert np.array_equal(check_images(data, "test").digests, mended.digests)

    def test_half_a_file_is_no_answer(self, cache, decoded):
        data = encoded(rows(NAMES, 2, 0))
        check_images(data, "test")
        (path,) = cache.rglob("checked-*.npz")
        for content in (b"", path.read_bytes()[:100]):
            path.write_bytes(content)
            decoded.clear()
            assert not check_images(data, "test").problems and len(decoded) == 6

    def test_a_cache_that_can_not_be_written_to(self, cache, caplog):
        cache.write_text("no folder")
        checked = check_images(encoded(rows(NAMES, 2, 0)), "test")
        assert not checked.problems and "can't remember which images were checked" in caplog.text


class TestProcesses:
    def test_several_say_the_same(self, monkeypatch, cache):
        data, answers = encoded(rows(NAMES, 3, 0)), []
        for processes in (1, 2):
            monkeypatch.setattr(checked, "_load", lambda path: None)
            answers.append(check_images(data, "test", processes))
        assert (
            np.array_equal(answers[0].digests, answers[1].digests) and len(np.unique(answers[0].digests, axis=0)) == 9
        )


class TestFingerprint:
    def test_is_that_of_the_content_wherever_it_lies(self, tmp_path):
        found = {task(kind, tmp_path / kind).fingerprint for kind in ("parquet", "saved", "imagefolder")}
        assert len(found) == 1 and len(found.pop()) == 32

    @pytest.mark.parametrize(
        ("kind", "one", "other", "same"),
        [
            ("PNG", {"compress_level": 0}, {"compress_level": 9}, True),
            ("TIFF", {}, {"compression": "tiff_deflate"}, True),
            ("JPEG", {}, {"optimize": True}, False),
        ],
    )
    def test_pixels_count_in_lossless_formats(self, kind, one, other, same):
        """Pillow and zlib of another machine compress the same picture to other bytes."""

        def digest(options):
            content = BytesIO()
            rows(NAMES, 1, 0)[0]["image"].save(content, kind, **options)
            features = Features({"image": Image(decode=False)})
            images = [{"bytes": content.getvalue(), "path": None}]
            return content.getvalue(), check_images(Dataset.from_dict({"image": images}, features), "test").digests

        (first, digests), (second, others) = digest(one), digest(other)
        assert first != second and np.array_equal(digests, others) == same

    def test_another_image_label_split_or_order_makes_another(self, tmp_path):
        def fingerprint(name, train, test):
            folder = tmp_path / name
            datasets.DatasetDict({"train": train, "test": test}).save_to_disk(folder)
            return load_stream(StreamConfig(tasks=[{"name": "t", "dataset": str(folder)}]))[0].fingerprint

        train, test = rows(NAMES, 4, 0), rows(NAMES, 2, 1)
        labels = [1, *train["label"][1:]]
        other = train.remove_columns("label").add_column("label", labels).cast(train.features)
        found = [
            fingerprint("same", train, test),
            fingerprint("label", other, test),
            fingerprint("image", rows(NAMES, 4, 2), test),
            fingerprint("evaluation", train, rows(NAMES, 2, 2)),
            fingerprint("order", train.select(range(11, -1, -1)), test),
            fingerprint("swapped", test, train),
        ]
        assert len(set(found)) == len(found) and fingerprint("again", train, test) == found[0]

    def test_parts_of_a_task_have_their_own(self, tmp_path):
        saved = tmp_path / "saved"
        datasets.DatasetDict({"train": rows(list(COLOURS), 2, 0), "test": rows(list(COLOURS), 1, 1)}).save_to_disk(
            saved
        )
        tasks = load_stream(StreamConfig(tasks=[{"name": "t", "dataset": str(saved), "class_incremental": 2}]))
        assert len({task.fingerprint for task in tasks}) == 2

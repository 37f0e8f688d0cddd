"""Streams from every kind of dataset, and every kind of bad data, refused before anything is written."""

import io
import tarfile

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value
from PIL import Image as PILImage
from safetensors.torch import load_file
from support.launch import refused
from support.tiny import COLOURS, SHAPES, rows

from mulki_hf import ConfigurationError, StreamConfig, Task, load_stream
from mulki_hf.data.labels import labels_of
from mulki_hf.data.unlabelled import load_reference
from mulki_hf.train import main


NAMES = list(SHAPES)


def load(*tasks, **kwargs) -> list[Task]:
    return load_stream(StreamConfig(tasks=list(tasks), **kwargs))


def save_splits(folder, train=None, test=None) -> str:
    train = rows(NAMES, 4, 0) if train is None else train
    test = rows(NAMES, 2, 1) if test is None else test
    DatasetDict({"train": train, "test": test}).save_to_disk(folder)
    return str(folder)


class TestSources:
    def check(self, task: Task):
        assert task.class_names == NAMES
        assert task.train.column_names == ["image", "label"]
        assert (len(task.train), len(task.evaluation)) == (12, 6)
        assert isinstance(task.train[0]["image"], PILImage.Image)
        expected = rows(NAMES, 4, 0)
        found = sorted((example["label"], np.asarray(example["image"]).tobytes()) for example in task.train)
        assert found == sorted((example["label"], np.asarray(example["image"]).tobytes()) for example in expected)

    def test_saved_to_disk(self, tmp_path):
        self.check(load({"name": "t", "dataset": save_splits(tmp_path / "saved")})[0])

    def test_a_file_has_one_split_and_is_sliced(self, tmp_path):
        path = str(tmp_path / "one.parquet")
        rows(NAMES, 6, 0).to_parquet(path)
        task = load({"name": "t", "dataset": path, "train_split": "train[:12]", "eval_split": "train[12:]"})[0]
        assert (len(task.train), len(task.evaluation)) == (12, 6)
        with pytest.raises(ConfigurationError, match="can't load split 'test'"):
            load({"name": "t", "dataset": path})

    def test_image_folder(self, tmp_path):
        for split, per_class, seed in (("train", 4, 0), ("test", 2, 1)):
            for position, example in enumerate(rows(NAMES, per_class, seed)):
                folder = tmp_path / "images" / split / NAMES[example["label"]]
                folder.mkdir(parents=True, exist_ok=True)
                example["image"].save(folder / f"{position}.png")
        task = load({"name": "t", "dataset": str(tmp_path / "images"), "class_names": None})[0]
        assert sorted(task.class_names) == sorted(NAMES)
        assert (len(task.train), len(task.evaluation)) == (12, 6)

    def test_webdataset(self, tmp_path):
        for split, per_class, seed in (("train", 4, 0), ("test", 2, 1)):
            with tarfile.open(tmp_path / f"{split}.tar", "w") as archive:
                for position, example in enumerate(rows(NAMES, per_class, seed)):
                    buffer = io.BytesIO()
                    example["image"].save(buffer, "PNG")
                    for suffix, content in (("png", buffer.getvalue()), ("cls", str(example["label"]).encode())):
                        entry = tarfile.TarInfo(f"{position:04d}.{suffix}")
                        entry.size = len(content)
                        archive.addfile(entry, io.BytesIO(content))
        files = {split: str(tmp_path / f"{split}.tar") for split in ("train", "test")}
        columns = {"image_column": "png", "label_column": "cls", "class_names": NAMES}
        self.check(load({"name": "t", "dataset": "webdataset", "data_files": files} | columns)[0])

    def test_other_columns_string_labels_and_a_names_file(self, tmp_path):
        def renamed(source):
            labels = [NAMES[label] for label in source["label"]]
            return source.remove_columns("label").add_column("kind", labels).rename_column("image", "picture")

        names = tmp_path / "names.txt"
        names.write_text("\n".join(NAMES) + "\n", encoding="utf-8-sig")
        saved = save_splits(tmp_path / "saved", renamed(rows(NAMES, 4, 0)), renamed(rows(NAMES, 2, 1)))
        spec = {"name": "t", "dataset": saved, "image_column": "picture", "label_column": "kind"}
        self.check(load(spec | {"class_names": str(names)})[0])

    def test_class_incremental(self, tmp_path):
        saved = save_splits(tmp_path / "saved", rows(list(COLOURS), 4, 0), rows(list(COLOURS), 2, 1))
        spec = {"name": "t", "dataset": saved, "class_incremental": 2}
        tasks = load(spec | {"class_order_seed": 3})
        assert [task.name for task in tasks] == ["t-1", "t-2"]
        assert sorted(tasks[0].class_names + tasks[1].class_names) == sorted(COLOURS)
        assert [task.class_names for task in load(spec)] == [["red", "green"], ["blue", "white"]]
        for task in tasks:
            assert (len(task.train), len(task.evaluation)) == (8, 4)
            for example in task.train:
                colour = COLOURS[task.class_names[example["label"]]]
                assert np.allclose(np.asarray(example["image"])[7, 7], colour)

    def test_no_image_is_copied(self, tmp_path):
        """When classes are taken apart and unreadable images left out, `datasets` writes no file anew."""
        saved = save_splits(tmp_path / "saved", broken_image(4), integers([2, 1, 0, 0, 1, 2]))
        files = {path.name for path in (tmp_path / "saved").rglob("*")}
        spec = {"name": "t", "dataset": saved, "class_names": NAMES, "class_incremental": 3}
        tasks = load(spec, unreadable_images="skip")
        assert {path.name for path in (tmp_path / "saved").rglob("*")} == files
        assert [labels_of(task.train).tolist() for task in tasks] == [[0, 0], [0], [0, 0]]
        assert [labels_of(task.evaluation).tolist() for task in tasks] == [[0, 0]] * 3
        expected = np.asarray(rows(NAMES, 2, 0)[0]["image"])
        assert np.array_equal(np.asarray(tasks[2].evaluation[0]["image"]), expected)

    def test_reference_has_images_only(self, tmp_path):
        rows(NAMES, 4, 0).to_parquet(tmp_path / "r.parquet")
        config = StreamConfig(tasks=[{"name": "a", "dataset": "b"}], reference_dataset=str(tmp_path / "r.parquet"))
        assert load_reference(config).images.column_names == ["image"]

    def test_evaluate_on_validation(self, tmp_path):
        saved = save_splits(tmp_path / "saved")
        spec = {"name": "t", "dataset": saved, "validation_split": "train"}
        assert len(load(spec, evaluate_on="validation")[0].evaluation) == 12
        with pytest.raises(ConfigurationError, match="no validation_split"):
            load({"name": "t", "dataset": saved}, evaluate_on="validation")


def broken_image(position: int) -> Dataset:
    good = io.BytesIO()
    PILImage.new("RGB", (8, 8)).save(good, "PNG")
    images = [{"bytes": good.getvalue(), "path": None} for _ in range(6)]
    images[position] = {"bytes": good.getvalue()[:40], "path": None}
    features = Features({"image": Image(decode=False), "label": ClassLabel(names=NAMES)})
    data = Dataset.from_dict({"image": images, "label": [0, 1, 2, 0, 1, 2]}, features=features)
    return data.cast_column("image", Image())


def integers(labels: list[int]) -> Dataset:
    source = rows(NAMES, 2, 0).remove_columns("label").add_column("label", labels)
    return source.cast_column("label", Value("int64"))


class TestBadInput:
    """Through the command: one line that says where, and no output folder."""

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"label_column": "kind"}, "split 'train': no column 'kind'; the columns are image, label"),
            ({"image_column": "photo"}, "split 'train': no column 'photo'"),
            ({"image_column": "label"}, "column 'label' holds ClassLabel.*neither images nor paths"),
            ({"eval_split": "holdout"}, "can't load split 'holdout'"),
            ({"class_names": []}, "class_names must be a non-empty list"),
            ({"class_names": ["a", "b", "a"]}, "class_names must be unique, got a more than once"),
            ({"class_names": ["a", " ", "b"]}, "class name 1 must be a non-empty string, got ' '"),
            ({"class_names": ["a", True, "b"]}, "class name 1 must be a non-empty string, got True"),
            ({"class_names": "no-such-file.txt"}, "can't read class_names file 'no-such-file.txt'"),
            ({"class_names": ["a", "b"]}, "row 2: label 2 is outside the 2 class names"),
            ({"templates": ["a {}.", "a photo"]}, "template 'a photo' has no {}"),
            ({"templates": ["very " * 80 + "{}"]}, "prompt 'very .*tokens, the model reads 77"),
            ({"class_incremental": 4}, "class_incremental is 4, but there are 3 classes"),
        ],
    )
    def test_task(self, stream_yaml, tmp_path, change, message):
        spec = {"name": "bad", "dataset": save_splits(tmp_path / "saved")} | change
        refused(stream_yaml(tasks=[spec]), tmp_path, f"task 'bad'.*{message}")

    @pytest.mark.parametrize(
        ("train", "message"),
        [
            (lambda: integers([0, 1, 2, 0, 7, 2]), "row 4: label 7 is outside the 3 class names"),
            (lambda: integers([0, 1, -1, 0, 1, 2]), "row 2: label -1 is outside the 3 class names"),
            (lambda: broken_image(4), "split 'train': 1 unreadable image.*row 4"),
        ],
    )
    def test_rows(self, stream_yaml, tmp_path, train, message):
        spec = {"name": "bad", "dataset": save_splits(tmp_path / "saved", train()), "class_names": NAMES}
        refused(stream_yaml(tasks=[spec]), tmp_path, f"task 'bad'.*{message}")

    def test_empty_split(self, stream_yaml, tmp_path):
        files = {"train": str(tmp_path / "empty.parquet"), "test": str(tmp_path / "test.parquet")}
        rows(NAMES, 2, 0).select([]).to_parquet(files["train"])
        rows(NAMES, 2, 0).to_parquet(files["test"])
        spec = {"name": "bad", "dataset": "parquet", "data_files": files}
        refused(stream_yaml(tasks=[spec]), tmp_path, "task 'bad', dataset 'parquet'.*split 'train'.*(is empty|no data)")

    def test_names_twice(self, stream_yaml, tmp_path):
        saved = save_splits(tmp_path / "saved")
        specs = [{"name": "a", "dataset": saved, "class_incremental": 2}, {"name": "a-1", "dataset": saved}]
        refused(stream_yaml(tasks=specs), tmp_path, "names must be unique, got a-1 more than once")

    def test_class_names_in_another_order(self, stream_yaml, tmp_path):
        saved = save_splits(tmp_path / "saved", test=rows(NAMES[::-1], 2, 1))
        spec = {"name": "bad", "dataset": saved}
        refused(stream_yaml(tasks=[spec]), tmp_path, "another order of them, in split 'test' than in 'train'")

    def test_class_names_missing(self, stream_yaml, tmp_path):
        saved = save_splits(tmp_path / "saved", integers([0, 1, 2] * 2), integers([0, 1, 2] * 2))
        refused(stream_yaml(tasks=[{"name": "bad", "dataset": saved}]), tmp_path, "class names are missing")

    def test_unreadable_image_skipped_on_request(self, tmp_path, caplog):
        saved = save_splits(tmp_path / "saved", broken_image(4))
        task = load({"name": "t", "dataset": saved}, unreadable_images="skip")[0]
        assert len(task.train) == 5
        assert "1 unreadable image(s) left out, the first in row 4" in caplog.text

    def test_single_class_is_a_warning(self, tmp_path, caplog):
        saved = save_splits(tmp_path / "saved")
        load({"name": "t", "dataset": saved, "class_incremental": 2})
        assert caplog.text.count("has a single class") == 1 and "task 't-2' has a single class, 'frame'" in caplog.text

    def test_names_in_a_warning_are_shortened(self, tmp_path, caplog):
        spec, long = {"name": "t", "dataset": save_splits(tmp_path / "saved")}, "long" * 9999
        load(spec | {"class_names": [*NAMES, long]})
        load(spec | {"class_names": [*NAMES[:2], long], "class_incremental": 3})
        warnings = [record.getMessage() for record in caplog.records if "longlong" in record.getMessage()]
        assert len(warnings) == 2 and max(map(len, warnings)) < 400

    def test_label_of_an_image_that_is_left_out_may_be_anything(self, tmp_path):
        train = broken_image(4).cast_column("label", Value("int64"))
        wrong = train.remove_columns("label").add_column("label", [0, 1, 2, 0, 9, 2])
        saved = save_splits(tmp_path / "saved", wrong, integers([0, 1, 2] * 2))
        spec = {"name": "t", "dataset": saved, "class_names": NAMES}
        assert len(load(spec, unreadable_images="skip")[0].train) == 5

    def test_class_without_training_image_is_a_warning(self, stream_yaml, tmp_path, caplog):
        train = rows(NAMES, 4, 0)
        train = train.select([row for row, label in enumerate(train["label"]) if label != 1])
        saved = save_splits(tmp_path / "saved", train)
        main(["--config", str(stream_yaml(tasks=[{"name": "t", "dataset": saved}]))])
        assert "no training image of 1 of 3 classes ('corner')" in caplog.text
        prototypes = load_file(tmp_path / "out/task1-t/prototypes.safetensors")
        assert prototypes["classes"].tolist() == [0, 2]


class TestTask:
    """As a user makes one."""

    def task(self, train: Dataset) -> Task:
        return Task("t", NAMES, ["a {}."], train, rows(NAMES, 2, 1))

    def test_a_transform_would_be_lost(self):
        with pytest.raises(ConfigurationError, match="task 't': train data have a transform .* apply it with map"):
            self.task(rows(NAMES, 2, 0).with_transform(lambda batch: batch))

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (["a"] * 6, "'label' must hold integers, it holds string"),
            ([0, 1, None] * 2, "it holds int64, with missing values"),
            ([0, 1, 3] * 2, "row 2: label 3 is outside the 3 class names"),
        ],
    )
    def test_labels_are_no_classes(self, labels, message):
        train = rows(NAMES, 2, 0).remove_columns("label").add_column("label", labels)
        with pytest.raises(ConfigurationError, match=f"task 't', train data.*{message}"):
            self.task(train)

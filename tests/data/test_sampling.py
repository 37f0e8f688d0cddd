"""Few images of each class, and samples that keep the classes' shares."""

import json
import re

import numpy as np
import pytest
from datasets import Dataset, concatenate_datasets
from support.launch import refused
from support.tiny import SHAPES, rows

from mulki_hf import ConfigurationError, StreamConfig, Task, load_stream
from mulki_hf.data import checked
from mulki_hf.data.labels import LEFT_OUT, labels_of
from mulki_hf.data.sampling import EVALUATION, TRAINING, Limit, shares
from mulki_hf.data.union import union
from mulki_hf.results import StreamResults
from mulki_hf.runs.records import task_record
from mulki_hf.train import main


NAMES = list(SHAPES)


class TestShares:
    @pytest.mark.parametrize(
        ("counts", "images", "expected"),
        [
            ([60, 30, 10], 10, [6, 3, 1]),
            ([50, 30, 20], 3, [1, 1, 1]),
            ([97, 2, 1], 10, [8, 1, 1]),  # one each goes before the share
            ([1, 1, 1], 2, [1, 1, 0]),  # fewer images than classes; ties go to the first
            ([5, 1, 90], 1, [0, 0, 1]),
            ([7], 3, [3]),
        ],
    )
    def test_known(self, counts, images, expected):
        assert shares(np.array(counts), images).tolist() == expected

    def test_are_as_exact_as_whole_images_can_be(self):
        rng = np.random.default_rng(0)
        for _ in range(200):
            counts = rng.integers(1, 1000, size=rng.integers(1, 40))
            images = int(rng.integers(1, counts.sum() + 1))
            dealt = shares(counts, images)
            assert dealt.sum() == images and (dealt <= counts).all()
            if images >= len(counts):
                assert (dealt >= 1).all()
            exact = counts * images / counts.sum()
            # Where no class was lifted to its one image, nobody is further from its share than by one.
            if (exact >= 1).all():
                assert (abs(dealt - exact) < 1).all()
            # No image could change hands and bring both classes nearer to their shares.
            error = dealt - exact
            assert error[dealt > 1].max(initial=0) - error.min() <= 1 + 1e-9


class TestLimit:
    labels = np.repeat([0, 1, 2, LEFT_OUT], [100, 40, 4, 9])[np.arange(153) * 40 % 153]

    def test_draws_the_same_on_every_machine(self):
        """Written down: a draw must not change with the version of a library."""
        assert np.flatnonzero(Limit(TRAINING, 0, shots=2).kept(self.labels)).tolist() == [15, 16, 38, 118, 125, 140]
        assert np.flatnonzero(Limit(EVALUATION, 7, images=6).kept(self.labels)).tolist() == [16, 36, 44, 80, 96, 110]

    @pytest.mark.parametrize("limit", [{"shots": 3}, {"images": 30}])
    def test_another_seed_or_split_draws_others(self, limit):
        drawn = [Limit(kind, seed, **limit).kept(self.labels) for kind in (TRAINING, EVALUATION) for seed in (0, 1, 2)]
        assert len({tuple(one) for one in drawn}) == 6 and len({one.sum() for one in drawn}) == 1
        assert not any((self.labels[one] == LEFT_OUT).any() for one in drawn)

    def test_more_shots_hold_the_fewer(self):
        kept = [Limit(TRAINING, 0, shots=shots).kept(self.labels) for shots in (1, 2, 8, 99, 1000)]
        assert all((fewer <= more).all() for fewer, more in zip(kept[:-1], kept[1:], strict=True))
        assert [np.bincount(self.labels[one]).tolist() for one in kept[1:4]] == [[2, 2, 2], [8, 8, 4], [99, 40, 4]]
        assert (kept[-1] == (self.labels != LEFT_OUT)).all()

    def test_a_classs_images_do_not_depend_on_the_others(self):
        alone = np.where(self.labels == 1, 1, LEFT_OUT)
        limit = Limit(TRAINING, 0, shots=5)
        assert (limit.kept(alone) == limit.kept(self.labels) & (self.labels == 1)).all()

    def test_larger_than_the_data_takes_all(self):
        assert Limit(TRAINING, 0, images=10**9).kept(self.labels).sum() == 144


def unequal() -> Dataset:
    """16 pictures of the first class, 8 of the second, 2 of the third, in that order."""
    return concatenate_datasets(
        [
            rows(NAMES, 16, seed).filter(lambda example, label=label: example["label"] == label).select(range(count))
            for seed, (label, count) in enumerate(((0, 16), (1, 8), (2, 2)))
        ]
    )


@pytest.fixture
def files(tmp_path):
    unequal().to_parquet(tmp_path / "train.parquet")
    rows(NAMES, 6, 9).to_parquet(tmp_path / "test.parquet")
    return {split: str(tmp_path / f"{split}.parquet") for split in ("train", "test")}


@pytest.fixture
def load(files):
    def load(evaluate_on="test", **fields) -> list[Task]:
        entry = {"name": "t", "dataset": "parquet", "data_files": files} | fields
        return load_stream(StreamConfig(tasks=[entry], evaluate_on=evaluate_on))

    return load


def pixels(task: Task) -> list[bytes]:
    return [picture.tobytes() for picture in task.train["image"]]


class TestTasks:
    def test_shots(self, load, caplog):
        (task,) = load(shots=4)
        assert np.bincount(labels_of(task.train)).tolist() == [4, 4, 2] and len(task.evaluation) == 18
        assert task.limits == {"shots": 4, "sample_seed": 0, "training_images": 26}
        (warning,) = [record.getMessage() for record in caplog.records]
        assert warning == (
            "task 't': shots is 4, but 1 of 3 classes have fewer training images and give all of them: 'frame' (2)"
        )

    def test_samples_keep_shares_and_the_datas_order(self, load):
        (whole,), (task,) = load(), load(max_train_samples=13, max_eval_samples=7)
        assert labels_of(task.train).tolist() == [0] * 8 + [1] * 4 + [2]
        assert np.bincount(labels_of(task.evaluation)).tolist() == [3, 2, 2]
        own, all_of_them = pixels(task), pixels(whole)
        assert [all_of_them.index(picture) for picture in own] == sorted(map(all_of_them.index, own))
        assert whole.limits == {}
        assert task.limits == {
            "max_train_samples": 13,
            "max_eval_samples": 7,
            "sample_seed": 0,
            "training_images": 26,
            "evaluation_images": 18,
        }

    def test_the_fingerprint_is_of_what_is_used(self, load):
        draws = [load(shots=2), load(shots=2), load(shots=2, sample_seed=1), load(shots=3), load()]
        prints = [task.fingerprint for (task,) in draws]
        assert prints[0] == prints[1] and len(set(prints)) == 4

    def test_every_format_gives_the_same(self, load, tmp_path):
        unequal().save_to_disk(tmp_path / "saved/train")
        rows(NAMES, 6, 9).save_to_disk(tmp_path / "saved/test")
        (tmp_path / "saved/dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
        for limits in ({"shots": 2}, {"max_train_samples": 9, "max_eval_samples": 5, "sample_seed": 3}):
            (one,), (other,) = (load(**limits), load(dataset=str(tmp_path / "saved"), data_files=None, **limits))
            assert one.fingerprint == other.fingerprint and pixels(one) == pixels(other)

    def test_each_task_of_a_split_set_of_classes(self, load):
        whole, tasks = load(shots=2), load(shots=2, class_incremental=3)
        assert [len(task.train) for task in tasks] == [2, 2, 2]
        assert [picture for task in tasks for picture in pixels(task)] == pixels(*whole)
        assert [task.limits["training_images"] for task in tasks] == [16, 8, 2]
        tasks = load(max_train_samples=6, max_eval_samples=4, class_incremental=2)
        assert [np.bincount(labels_of(task.train)).tolist() for task in tasks] == [[4, 2], [2]]
        assert [len(task.evaluation) for task in tasks] == [4, 4]
        assert [task.limits["evaluation_images"] for task in tasks] == [12, 6]

    def test_a_sample_of_the_validation_split(self, load):
        (task,) = load("validation", validation_split="train[:50%]", max_eval_samples=5)
        assert len(task.evaluation) == 5 and task.limits["evaluation_images"] == 13
        assert len(task.train) == 26

    def test_all_tasks_as_one_hold_what_each_has(self, load):
        tasks = [*load(shots=2), *load(name="u", max_train_samples=5, max_eval_samples=3)]
        together = union(tasks)
        assert (len(together.train), len(together.evaluation)) == (11, 21)
        assert task_record(together).limits == {}

    def test_more_classes_than_images(self, load, caplog):
        (task,) = load(max_train_samples=2, max_eval_samples=1)
        assert labels_of(task.train).tolist() == [0, 1] and len(task.evaluation) == 1
        assert "no training image of 1 of 3 classes ('frame')" in caplog.text

    def test_no_other_image_is_read(self, load, monkeypatch):
        looked_at, check_images = [], checked.check_images

        def noted(rows, *args):
            looked_at.append(len(rows))
            return check_images(rows, *args)

        monkeypatch.setattr("mulki_hf.data.rows.check_images", noted)
        load(max_train_samples=4, max_eval_samples=3)
        assert looked_at == [4, 3]


class TestBadInput:
    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"shots": 0}, "shots must be >= 1, got 0; leave it out to use every image"),
            ({"max_train_samples": -3}, "max_train_samples must be >= 1, got -3"),
            ({"max_eval_samples": True}, "max_eval_samples must be an integer, got True"),
            ({"shots": 1.5}, r"shots must be an integer, got 1\.5"),
            ({"shots": "many"}, "shots must be an integer, got 'many'"),
            ({"sample_seed": -1}, r"sample_seed must be in \[0, 2\*\*32\), got -1"),
            ({"sample_seed": 2**32}, r"sample_seed must be in \[0, 2\*\*32\)"),
            ({"sample_seed": None}, "sample_seed must be an integer, got nothing"),
            ({"shots": 2, "max_train_samples": 9}, "shots and max_train_samples exclude each other, got 2 and 9"),
            ({"streaming": True}, "streaming can't be given: rows are read by their number.* max_train_samples"),
            ({"max_training_samples": 3}, "unknown key 'max_training_samples'; did you mean 'max_train_samples'"),
        ],
    )
    def test_fields(self, files, fields, message, stream_yaml, tmp_path):
        refused(
            stream_yaml(tasks=[{"name": "bad", "dataset": "parquet", "data_files": files} | fields]), tmp_path, message
        )
        with pytest.raises(ConfigurationError, match=message):
            StreamConfig(tasks=[{"name": "bad", "dataset": "x"} | fields]).task_configs()

    def test_a_broken_image_is_named_by_its_row_in_the_data(self, files, load, tmp_path):
        broken = rows(NAMES, 8, 0).cast_column("image", unequal().features["image"].__class__(decode=False))
        pictures = [
            {"bytes": b"none" if row == 13 else one["bytes"], "path": None} for row, one in enumerate(broken["image"])
        ]
        data = Dataset.from_dict({"image": pictures, "label": broken["label"]}, features=broken.features)
        data.cast_column("image", unequal().features["image"]).to_parquet(files["train"])
        for seed in range(20):  # in some draws it is not
            try:
                load(shots=2, sample_seed=seed)
            except ConfigurationError as error:
                assert re.search(r"split 'train': 1 unreadable image\(s\), the first in row 13", str(error))
                return
        pytest.fail("no draw held the broken image")


class TestRun:
    def test_is_recorded_and_marked(self, stream_yaml, tmp_path, tasks_files, capsys):
        config = stream_yaml()
        content = config.read_text().replace(
            "  name: colours\n", "  name: colours\n  shots: 2\n  max_eval_samples: 9\n"
        )
        config.write_text(content)
        main(["--config", str(config)])
        results = StreamResults.load(tmp_path / "out")
        task, other = results.tasks
        assert (task.training_images, task.evaluation_images) == (8, 9)
        assert task.limits == {
            "shots": 2, "max_eval_samples": 9, "sample_seed": 0, "training_images": 32, "evaluation_images": 12,
        }  # fmt: skip
        assert other.limits == {}
        said = (
            "Trained on at most 2 images of each class: colours.\nEvaluated on a sample of at most 9 images: colours."
        )
        assert said in capsys.readouterr().out
        card = (tmp_path / "out/task1-colours/README.md").read_text()
        assert said in card and "| 8 of 32 " in card and "| 9 of 12 " in card
        assert "name: colours, learned, a sample of 9 of 12 images" in card
        for change, message in {"shots: 2": "shots: 3", "  shots: 2": "  sample_seed: 1\n  shots: 2"}.items():
            config.write_text(content.replace(change, message))
            with pytest.raises(SystemExit, match="error: resume: .*(shots|sample_seed)"):
                main(["--config", str(config), "--resume"])

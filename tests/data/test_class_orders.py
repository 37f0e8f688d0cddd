"""Class-incremental tasks: published orders, sizes of one's own, and what is refused."""

import numpy as np
import pytest
from support.launch import refused
from support.tiny import COLOURS, rows

from mulki_hf import ConfigurationError, StreamConfig, TaskConfig, load_stream
from mulki_hf.data.class_orders import class_groups, known_orders
from mulki_hf.measuring import stream_names
from mulki_hf.results import StreamResults
from mulki_hf.train import main


NAMES = list(COLOURS)

PUBLISHED = {
    "zscl_cifar100": (100, [87, 0, 52, 58, 44, 91, 68, 97, 51, 15], [26, 35, 39]),
    "zscl_imagenet100": (100, [68, 56, 78, 8, 23, 84, 90, 65, 74, 76], [57, 33]),
    "zscl_tiny_imagenet": (200, [131, 181, 22, 172, 144, 92, 97, 187, 58, 93], [107, 194, 98]),
    "numpy_1993": (100, [68, 56, 78, 8, 23, 84, 90, 65, 74, 76], [57, 33]),
}


def groups(increments, order=None, seed=None, count=100):
    return class_groups(increments, order, seed, [f"class {number}" for number in range(count)], "task 't'")


def flat(parts: list[list[int]]) -> list[int]:
    return [number for part in parts for number in part]


class TestPublished:
    def test_there_is_one_of_each_name(self):
        assert known_orders() == [*sorted(PUBLISHED.keys() - {"numpy_1993"}), "numpy_1993"]

    @pytest.mark.parametrize("name", PUBLISHED)
    def test_begins_as_published_and_holds_every_class_once(self, name):
        count, first, last = PUBLISHED[name]
        order = flat(groups(10, name, count=count))
        assert order[:10] == first and order[count - len(last) :] == last
        assert sorted(order) == list(range(count))

    def test_numpys_is_that_of_its_legacy_generator_for_any_number_of_classes(self):
        state = np.random.get_state()
        for count, seed in ((100, 1993), (200, 1993), (47, 7)):
            np.random.seed(seed)
            assert flat(groups(2, f"numpy_{seed}", count=count)) == np.random.permutation(count).tolist()
        np.random.set_state(state)

    def test_zscls_orders_but_cifars_are_numpys(self):
        numpys = flat(groups(2, "numpy_1993"))
        assert flat(groups(2, "zscl_imagenet100")) == numpys != flat(groups(2, "zscl_cifar100"))

    @pytest.mark.parametrize(("classes", "steps"), [(5, 20), (10, 10), (20, 5)])
    def test_tiny_imagenets_hundred_base_classes(self, classes, steps):
        parts = groups([100, *[classes] * steps], "zscl_tiny_imagenet", count=200)
        assert [len(part) for part in parts] == [100, *[classes] * steps]
        assert flat(parts) == flat(groups(2, "zscl_tiny_imagenet", count=200))


class TestStream:
    @pytest.fixture
    def load(self, tmp_path):
        files = {split: str(tmp_path / f"{split}.parquet") for split in ("train", "test")}
        for split, path in files.items():
            rows(NAMES, 2, len(split)).to_parquet(path)

        def load(**fields):
            stream = StreamConfig(tasks=[{"name": "t", "dataset": "parquet", "data_files": files} | fields])
            tasks = load_stream(stream)
            assert [task.name for task in tasks] == stream_names(stream)
            return tasks

        return load

    @pytest.mark.parametrize("order", [[2, 0, 3, 1], ["blue", "red", "white", "green"]])
    def test_sizes_and_an_order_of_ones_own(self, load, order):
        tasks = load(class_incremental=[1, 3], class_order=order)
        assert [task.class_names for task in tasks] == [["blue"], ["red", "white", "green"]]
        assert [task.name for task in tasks] == ["t-1", "t-2"]
        for task in tasks:
            for example in task.train:
                colour = COLOURS[task.class_names[example["label"]]]
                assert np.allclose(np.asarray(example["image"])[7, 7], colour)

    def test_numpys(self, load):
        assert [task.class_names for task in load(class_incremental=2, class_order="numpy_1993")] == [
            [NAMES[number] for number in part] for part in groups(2, "numpy_1993", count=4)
        ]

    def test_one_size_is_one_task(self, load):
        assert [task.name for task in load(class_incremental=[4])] == ["t"]

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"class_incremental": [2, 1]}, r"class_incremental \[2, 1\] sums to 3, but there are 4 classes"),
            ({"class_incremental": 2, "class_order": "zscl_cifar100"}, "'zscl_cifar100' is of 100 classes.* are 4"),
            ({"class_incremental": 2, "class_order": [0, 1, 2]}, "class_order is of 3 classes, but there are 4"),
            ({"class_incremental": 2, "class_order": [0, 1, 2, 4]}, "each of the 4 classes once: 4 is none"),
            ({"class_incremental": 2, "class_order": [0, 1, 1, 2]}, "once: 1 comes more than once"),
            ({"class_incremental": 2, "class_order": ["red", "blue", "green", "grey"]}, "once: 'grey' is none"),
        ],
    )
    def test_of_other_classes(self, load, fields, message):
        with pytest.raises(ConfigurationError, match=f"task 't': .*{message}"):
            load(**fields)

    def test_a_resumed_run_keeps_its_order(self, stream_yaml, tmp_path):
        """Other classes in a task are other tasks."""
        rows(NAMES, 4, 0).to_parquet(tmp_path / "rows.parquet")
        task = {"name": "t", "dataset": str(tmp_path / "rows.parquet"), "eval_split": "train", "class_incremental": 2}
        main(["--config", str(stream_yaml(tasks=[task | {"class_order": [3, 1, 0, 2]}]))])
        records = StreamResults.load(tmp_path / "out").tasks
        assert [record.class_names for record in records] == [["white", "green"], ["red", "blue"]]
        with pytest.raises(SystemExit, match="error: resume: class_order of task 't' was"):
            main(["--config", str(stream_yaml(tasks=[task | {"class_order": "numpy_1993"}])), "--resume"])


class TestBadInput:
    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"class_incremental": []}, r"must hold a number of classes >= 1 for each task, got \[\]"),
            ({"class_incremental": [5, 0]}, r"a number of classes >= 1 for each task, got \[5, 0\]"),
            ({"class_incremental": [5, "many"]}, r"class_incremental\[1\] must be an integer, got 'many'"),
            ({"class_incremental": 2, "class_order": "zscl"}, "one of zscl_cifar100, .*, numpy_1993 .*got 'zscl'"),
            ({"class_incremental": 2, "class_order": "../zscl_cifar100"}, "class_order must be a list or one of"),
            ({"class_incremental": 2, "class_order": []}, "a list of class numbers or a list of class names"),
            ({"class_incremental": 2, "class_order": [0, "red"]}, "a list of class numbers or a list of class names"),
            ({"class_incremental": 2, "class_order": 1993}, "class_order must be a string or a list, got 1993"),
            (
                {"class_incremental": 2, "class_order": "numpy_1993", "class_order_seed": 0},
                "class_order and class_order_seed exclude each other",
            ),
            ({"class_order": "numpy_1993"}, "class_order says in which order class_incremental splits the classes"),
        ],
    )
    def test_fields(self, fields, message, stream_yaml, tmp_path):
        with pytest.raises(ConfigurationError, match=f"task 'bad': .*{message}"):
            TaskConfig("bad", "data", **fields)
        refused(stream_yaml(tasks=[{"name": "bad", "dataset": "data"} | fields]), tmp_path, message)

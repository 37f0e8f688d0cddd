"""Benchmark datasets: their YAMLs are whole, tasks are what they say, and data that aren't are refused."""

import itertools
import re

import numpy as np
import pytest
import torch
import yaml
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value
from PIL import Image as PILImage

from mulki_hf import ConfigurationError, StreamConfig, load_stream
from mulki_hf.config.from_hub import confined
from mulki_hf.data import registry
from mulki_hf.data.labels import labels_of
from mulki_hf.data.splitting import RandomSplit, sorted_rows
from mulki_hf.data.task_config import TaskConfig
from mulki_hf.runs.records import task_record


CLASSES = {
    "aircraft": 100, "caltech101": 101, "cifar100": 100, "dtd": 47, "eurosat": 10, "flowers": 102, "food101": 101,
    "mnist": 10, "oxford_pets": 37, "stanford_cars": 196, "sun397": 397,
}  # fmt: skip
ENSEMBLES = {
    "aircraft": 2, "caltech101": 34, "cifar100": 18, "dtd": 8, "eurosat": 3, "flowers": 1, "food101": 1, "mnist": 1,
    "oxford_pets": 1, "stanford_cars": 9, "sun397": 2,
}  # fmt: skip
IMAGES = {
    "aircraft": (3334, 3333), "caltech101": (6941, 1736), "cifar100": (50000, 10000), "dtd": (1880, 1880),
    "eurosat": (21600, 5400), "flowers": (1020, 6149), "food101": (75750, 25250), "mnist": (60000, 10000),
    "oxford_pets": (3680, 3669), "stanford_cars": (8144, 8041), "sun397": (87003, 21751),
}  # fmt: skip


def described(dataset: str, **given) -> TaskConfig:
    return TaskConfig.from_dict({"name": "t", "dataset": dataset} | given, 1)


class TestShipped:
    def test_both_families_are_whole(self):
        families = ("mtil", "mtil_coop")
        assert [name for name in registry.names() if name.startswith("mtil")] == [
            f"{family}:{name}" for family in families for name in sorted(CLASSES)
        ]

    @pytest.mark.parametrize("dataset", [name for name in registry.names() if name != "snd:ucf101"])
    def test_is_a_task(self, dataset):
        task = described(dataset)
        assert re.fullmatch(r"[\w-]+/[\w-]+", task.dataset) and task.benchmark.name == dataset
        assert re.fullmatch(r"main|[0-9a-f]{40}", task.revision)
        unpinned = any("not pinned" in note for note in task.benchmark.notes)
        assert unpinned == (task.revision == "main")
        names = [*task.class_names.values()]
        assert len(names) == len({*names}) == task.benchmark.classes
        assert len(task.templates) == 1 and all("{}" in one for one in task.eval_templates or [])
        labels = [*task.class_names, *task.left_out_classes]
        assert len({*labels}) == len(labels)
        if task.benchmark.label_names is not None:
            assert sorted(task.benchmark.label_names) == sorted(labels)
            assert task.benchmark.label_names != [*task.class_names]

    @pytest.mark.parametrize("name", CLASSES)
    def test_is_zscl_s(self, name):
        task = described(f"mtil:{name}")
        evaluated = task.eval_templates or task.templates
        assert len(task.class_names) == CLASSES[name] and len(evaluated) == ENSEMBLES[name]
        assert evaluated[0] == task.templates[0]
        assert (task.benchmark.train, task.benchmark.evaluation) == IMAGES[name]
        assert 20 < task.benchmark.zero_shot < 90

    def test_figures_and_classes_add_up(self):
        tasks = [described(f"mtil:{name}") for name in CLASSES]
        assert sum(len(task.class_names) for task in tasks) == 1201
        assert round(np.mean([task.benchmark.zero_shot for task in tasks]), 1) == 65.3

    def test_splits_of_a_share_have_the_counts(self):
        """What is drawn from all images is as many as the benchmark says."""
        for name, count in {"caltech101": 8677, "eurosat": 27000, "sun397": 108754}.items():
            split = described(f"mtil:{name}").random_split
            parts = split.parts(np.arange(count))
            assert {part: len(rows) for part, rows in parts.items()} == dict(
                zip(("train", "evaluation"), IMAGES[name], strict=True)
            )
        for name, count in {
            "caltech101": 8242,
            "dtd": 5640,
            "eurosat": 27000,
            "flowers": 8189,
            "food101": 101000,
        }.items():
            task = described(f"mtil_coop:{name}")
            parts = task.random_split.parts(np.arange(count))
            assert [len(rows) for rows in parts.values()][::2] == [task.benchmark.train, task.benchmark.evaluation]
        for name, count in {"oxford_pets": 3680, "stanford_cars": 8144, "sun397": 19850, "cifar100": 50000}.items():
            task = described(f"mtil_coop:{name}")
            assert len(task.random_split.parts(np.arange(count))["train"]) == task.benchmark.train

    def test_names_of_labels_and_prompts(self):
        """Where the data and the prompts differ."""
        mtil = {name: described(f"mtil:{name}") for name in CLASSES}
        assert mtil["cifar100"].class_names["cra"] == "crab" and "crab" not in mtil["cifar100"].class_names
        assert mtil["mnist"].class_names["7"] == "7 - seven"
        assert mtil["oxford_pets"].class_names["american_bulldog"] == "American Bulldog"
        assert mtil["eurosat"].class_names["SeaLake"] == "lake or sea"
        assert mtil["sun397"].class_names["/a/apartment_building/outdoor"] == "apartment building/outdoor"
        assert mtil["caltech101"].left_out_classes == ["BACKGROUND_Google"]
        assert mtil["caltech101"].benchmark.label_names[:3] == ["BACKGROUND_Google", "Faces", "Faces_easy"]
        food = mtil["food101"]
        assert [*food.class_names][16:18] == ["cheese_plate", "cheesecake"]
        assert food.benchmark.label_names[16:18] == ["cheesecake", "cheese_plate"]
        assert mtil["stanford_cars"].data_files == {"train": "data/train-*", "test": "data/test-*"}
        coop = {name: described(f"mtil_coop:{name}") for name in CLASSES}
        assert coop["stanford_cars"].class_names["Acura RL Sedan 2012"] == "2012 Acura RL Sedan"
        assert "outdoor apartment building" in coop["sun397"].class_names.values()
        assert "Faces_easy" in coop["caltech101"].left_out_classes
        assert all(task.eval_templates is None for task in coop.values())


class TestRandomSplit:
    @pytest.mark.parametrize(
        ("count", "first", "later"),
        [
            (
                8677,
                [8512, 5748, 7753, 4345, 5587, 2508, 6996, 1701],
                [6301, 3455, 7205, 1185, 140, 2170, 3605, 7991],
            ),
            (
                27000,
                [4542, 1781, 1366, 19963, 16858, 17590, 13132, 7700],
                [5805, 24544, 2869, 1454, 13510, 5749, 17211, 19855],
            ),
        ],
    )
    def test_is_pinned(self, count, first, later):
        """What torch's generator gives for seed 42, today and with every later version."""
        parts = RandomSplit(0.8, 42).parts(np.arange(count))
        assert parts["train"][:8].tolist() == first
        assert parts["evaluation"][:8].tolist() == later

    def test_is_torchs(self):
        data = list(range(100, 200))
        lengths = [int(0.8 * len(data)), len(data) - int(0.8 * len(data))]
        expected = torch.utils.data.random_split(data, lengths, torch.Generator().manual_seed(42))
        parts = RandomSplit(0.8, 42).parts(np.array(data))
        assert [parts["train"].tolist(), parts["evaluation"].tolist()] == [[*part] for part in expected]

    @pytest.mark.parametrize(
        ("split", "parts"),
        [
            (RandomSplit(0.8, 1), {"train": 40, "evaluation": 11}),
            (RandomSplit(0.5, 1, validation_share=0.2), {"train": 25, "validation": 10, "evaluation": 16}),
            (RandomSplit(0.8, 1, validation_share=0.2), {"train": 40, "validation": 11}),
        ],
    )
    def test_parts_are_all_rows_once(self, split, parts):
        made = split.parts(np.arange(51))
        assert {name: len(rows) for name, rows in made.items()} == parts and split.gives == (*parts,)
        assert sorted(itertools.chain(*(rows.tolist() for rows in made.values()))) == list(range(51))

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"share": 1.5, "seed": 0}, r"task 't': random_split: share must be in \(0, 1\), got 1.5"),
            ({"share": 0.8, "seed": -1}, "random_split: seed must be in"),
            ({"share": 0.8, "seed": 0, "validation_share": 0.5}, "validation_share must be in"),
            ({"share": 0.8}, "random_split.seed is missing"),
            ({"share": 0.8, "seed": 0, "sort": ["a"]}, "unknown key 'sort'"),
            (0.8, "random_split must be a mapping, got 0.8"),
        ],
    )
    def test_is_checked(self, given, message):
        with pytest.raises(ConfigurationError, match=message):
            described("org/data", random_split=given)


# Data in the registered form


NAMES = {"cra": "crab", "big_dog": "big dog", "F/A-18": "F/A-18"}


def shade(value: int) -> PILImage.Image:
    return PILImage.new("RGB", (4, 4), (value % 256, value // 256, 7))


def as_stored(labels: list[str], order: list[str], ids=None, **columns) -> Dataset:
    """Pictures that tell their number, with labels by name in a `ClassLabel` of that order."""
    rows = {"image": [shade(number) for number in range(len(labels))]}
    rows |= {"label": [order.index(label) for label in labels], "image_id": ids or [str(n) for n in range(len(labels))]}
    features = {"image": Image(), "label": ClassLabel(names=order), "image_id": Value("string")}
    return Dataset.from_dict(rows | columns, features=Features(features))


def numbers(rows: Dataset) -> list[int]:
    return [(pixel := image.getpixel((0, 0)))[0] + 256 * pixel[1] for image in rows["image"]]


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Writes a benchmark's YAML and its data in parquet; returns what `dataset` is."""
    monkeypatch.chdir(tmp_path)

    def write(train: Dataset, test: Dataset | None = None, path: str = "mine.yaml", **fields) -> str:
        files = {"train": train, "test": train if test is None else test}
        for split, rows in files.items():
            rows.to_parquet(tmp_path / f"{split}.parquet")
        content = {"dataset": "parquet", "data_files": {split: f"{split}.parquet" for split in files}}
        content |= {"class_names": NAMES, "templates": ["a {}."], "benchmark": {"classes": len(NAMES)}}
        (tmp_path / path).write_text(yaml.safe_dump(content | fields, sort_keys=False), encoding="utf-8")
        return f"./{path}"

    return write


def load(dataset: str, config=None, **entry):
    return load_stream(StreamConfig(tasks=[{"name": "t", "dataset": dataset} | entry], **config or {}))


LABELS = ["F/A-18", "cra", "big_dog", "cra", "cra", "F/A-18"]


class TestMapping:
    @pytest.mark.parametrize("order", itertools.permutations(NAMES))
    def test_is_by_name_in_any_order(self, own, order):
        (task,) = load(own(as_stored(LABELS, list(order))))
        assert task.class_names == ["crab", "big dog", "F/A-18"]
        assert labels_of(task.train).tolist() == [2, 0, 1, 0, 0, 2]
        assert numbers(task.train) == list(range(6))

    def test_splits_may_differ_in_order(self, tmp_path):
        test = as_stored(["cra", "F/A-18"], ["F/A-18", "cra", "big_dog"])
        DatasetDict({"train": as_stored(LABELS, [*NAMES]), "test": test}).save_to_disk(tmp_path / "saved")
        (task,) = load(str(tmp_path / "saved"), class_names=NAMES)
        assert labels_of(task.evaluation).tolist() == [0, 2]
        with pytest.raises(ConfigurationError, match="another order of them, in split 'test'"):
            load(str(tmp_path / "saved"), class_names=[*NAMES.values()])

    @pytest.mark.parametrize("kind", ["strings", "numbers"])
    def test_of_columns_without_names(self, own, kind):
        labels = LABELS if kind == "strings" else [4, 0, 2, 0, 0, 4]
        mapping = NAMES if kind == "strings" else {0: "crab", 2: "big dog", 4: "F/A-18"}
        rows = as_stored(LABELS, [*NAMES]).remove_columns("label").add_column("label", labels)
        (task,) = load(own(rows, class_names=mapping))
        assert labels_of(task.train).tolist() == [2, 0, 1, 0, 0, 2] and task.class_names == [*NAMES.values()]
        with pytest.raises(ConfigurationError, match="row .: label .* is not among the class names"):
            load(own(rows, class_names={0: "crab", "cra": "crab 2"}, benchmark={}))

    def test_left_out_classes_are_none_of_the_task(self, own):
        order = ["background", *NAMES]
        rows = as_stored(["background", *LABELS, "background"], order)
        (task,) = load(own(rows, left_out_classes=["background"]))
        assert labels_of(task.train).tolist() == [2, 0, 1, 0, 0, 2] and numbers(task.train) == list(range(1, 7))
        (task,) = load(own(rows, left_out_classes=["background", "cra"], class_names=None, benchmark={"classes": 2}))
        assert task.class_names == ["big_dog", "F/A-18"] and labels_of(task.train).tolist() == [1, 0, 1]

    def test_left_out_classes_win_over_the_mapping(self, own):
        dataset = own(as_stored(LABELS, [*NAMES]), benchmark={"classes": 3, "train": 6})
        (task,) = load(dataset, left_out_classes=["cra"])
        assert task.class_names == ["big dog", "F/A-18"] and labels_of(task.train).tolist() == [1, 0, 1]
        assert task.benchmark.changed == ["left_out_classes"]
        with pytest.raises(ConfigurationError, match="without its left_out_classes: class_names must be a non-empty"):
            load(dataset, left_out_classes=[*NAMES])

    def test_a_spelling_of_its_own(self, own, caplog):
        order = ["F_A-18", "Big Dog", "cra"]
        (task,) = load(
            own(as_stored([{"F/A-18": "F_A-18", "big_dog": "Big Dog"}.get(one, one) for one in LABELS], order))
        )
        assert task.class_names == [*NAMES.values()] and labels_of(task.train).tolist() == [2, 0, 1, 0, 0, 2]
        assert (
            "spelled otherwise than class_names maps them: 'F_A-18' for 'F/A-18', 'Big Dog' for 'big_dog'"
            in caplog.text
        )

    @pytest.mark.parametrize(
        ("order", "fields", "message"),
        [
            (
                ["cra", "big_dogs", "F/A-18"],
                {},
                r"column 'label': class_names maps no label 'big_dogs' \(is it 'big_dog'\?\); the data have no label "
                r"'big_dog' \(is it 'big_dogs'\?\)",
            ),
            (["cra", "big_dog", "F/A-18", "cat"], {}, "class_names maps no label 'cat'. Map every name"),
            (["cra", "F/A-18"], {}, "the data have no label 'big_dog'"),
            ([*NAMES, "F-A-18"], {}, "class_names maps no label 'F-A-18'"),
            ([*NAMES], {"left_out_classes": ["dog"]}, r"the data have no label 'dog'"),
            ([*NAMES], {"class_names": None, "left_out_classes": ["dog"]}, "left_out_classes are no classes .* 'dog'"),
            ([*NAMES], {"class_names": {"cra": "a", "big_dog": "a", "F/A-18": "b"}}, "must be unique, got a more than"),
            (
                [*NAMES],
                {"class_names": {"cra": None, "big_dog": "a", "F/A-18": "b"}},
                "class name 0 must be a non-empty",
            ),
            ([*NAMES], {"class_names": {True: "a"}}, r"must map names of labels, got True \(quote it in YAML\?\)"),
            (
                [*NAMES],
                {"class_names": {1: "a", "1": "b"}},
                "class_names maps label '1' twice, as a number and as text",
            ),
        ],
    )
    def test_of_other_names_is_refused(self, own, order, fields, message):
        labels = [one for one in LABELS if one in order] or order
        with pytest.raises(ConfigurationError, match=message):
            load(own(as_stored(labels, order), **fields))


class TestDrawn:
    IDS = ["b_10", "a_2", "b_9", "a_10", "a_1", "b_1"]
    SORTED = [4, 3, 1, 5, 0, 2]
    """Those by class and, as text, by number: a_1 a_10 a_2 b_1 b_10 b_9."""

    def rows(self) -> Dataset:
        return as_stored(["big_dog", "cra", "big_dog", "cra", "cra", "big_dog"], ["F/A-18", "big_dog", "cra"], self.IDS)

    def expected(self, order: list[int], share: float, seed: int) -> tuple[list[int], list[int]]:
        drawn = [
            order[position] for position in torch.randperm(len(order), generator=torch.Generator().manual_seed(seed))
        ]
        size = int(share * len(order))
        return sorted(drawn[:size]), sorted(drawn[size:])

    @pytest.mark.parametrize("seed", [42, 7])
    def test_from_sorted_rows_of_all_splits(self, own, seed):
        rows = self.rows()
        split = {"share": 0.7, "seed": seed, "sorted_by": ["label", "image_id"]}
        dataset = own(rows.select(range(2)), rows.select(range(2, 6)), train_split="train+test", random_split=split)
        (task,) = load(dataset)
        train, evaluation = self.expected(self.SORTED, 0.7, seed)
        assert numbers(task.train) == train and numbers(task.evaluation) == evaluation
        assert labels_of(task.train).tolist() == [[1, 0, 1, 0, 0, 1][row] for row in train]

    def test_without_rows_of_no_class(self, own):
        rows = self.rows()
        split = {"share": 0.5, "seed": 3}
        (task,) = load(own(rows, left_out_classes=["cra"], class_names={"big_dog": "dog", "F/A-18": "F/A-18"},
                           random_split=split, benchmark={}))  # fmt: skip
        assert (numbers(task.train), numbers(task.evaluation)) == self.expected([0, 2, 5], 0.5, 3)

    def test_validation_data_may_be_held_out(self, own):
        rows, split = self.rows(), {"share": 0.5, "seed": 3, "validation_share": 0.5}
        dataset = own(rows, rows.select([1, 2]), random_split=split)
        (task,) = load(dataset)
        train, held_out = self.expected(list(range(6)), 0.5, 3)
        assert (numbers(task.train), numbers(task.evaluation)) == (train, [1, 2])
        (task,) = load(dataset, {"evaluate_on": "validation"})
        assert (numbers(task.train), numbers(task.evaluation)) == (train, held_out)
        (task,) = load_stream(StreamConfig(tasks=[{"name": "t", "dataset": dataset}]), validation=True)
        assert numbers(task.validation) == held_out

    def test_sorts_by_the_names_of_image_files(self, tmp_path, monkeypatch, caplog):
        """Without a look at an image; those without a name stay as they come."""
        names = ["x_10.jpg", "x_2.jpg", "x_1.jpg", "x_9.jpg"]
        encoded = [{"bytes": b"no image", "path": name} for name in names]
        features = Features({"image": Image(decode=False), "label": Value("int64")})
        rows = Dataset.from_dict({"image": encoded, "label": [1, 1, 0, 1]}, features=features)
        rows.to_parquet(tmp_path / "images.parquet")
        rows = Dataset.from_parquet(str(tmp_path / "images.parquet")).cast_column("image", Image())
        monkeypatch.setattr(Image, "decode_example", lambda *_, **__: pytest.fail("an image is decoded"))
        labels = np.array([1, 1, 0, 1])
        assert sorted_rows(rows, labels, ["label", "image"], "label", "here").tolist() == [2, 0, 1, 3]
        assert sorted_rows(rows, labels, ["image"], "label", "here").tolist() == [2, 0, 1, 3]
        assert sorted_rows(rows, np.array([1, -1, 0, 1]), [], "label", "here").tolist() == [0, 2, 3]
        assert not caplog.text
        nameless = Dataset.from_dict(
            {"image": [{"bytes": b"", "path": None}] * 3}, features=Features({"image": Image()})
        )
        assert sorted_rows(nameless, np.array([1, 0, 1]), ["label", "image"], "label", "here").tolist() == [1, 0, 2]
        assert "but 3 of 3 images have none" in caplog.text

    def test_a_column_to_sort_by_must_be_there(self, own):
        with pytest.raises(ConfigurationError, match="random_split, sorted_by: no column 'file'"):
            load(own(self.rows(), random_split={"share": 0.5, "seed": 3, "sorted_by": ["file"]}))

    def test_in_parts_of_the_classes(self, own):
        """Few-shot and class-incremental tasks have theirs of what was drawn."""
        rows = as_stored(LABELS * 5, [*NAMES])
        dataset = own(
            rows, random_split={"share": 0.7, "seed": 1}, benchmark={"train": 21, "evaluation": 9, "zero_shot": 50}
        )
        (whole,) = load(dataset)
        (few,) = load(dataset, shots=2)
        assert len(few.train) == 6 and {*numbers(few.train)} < {*numbers(whole.train)} and len(few.evaluation) == 9
        assert few.limits["training_images"] == 21
        parts = load(dataset, class_incremental=3)
        assert sorted(itertools.chain(*(numbers(part.train) for part in parts))) == numbers(whole.train)
        assert [part.benchmark.zero_shot for part in parts] == [None] * 3 and whole.benchmark.zero_shot == 50
        assert (whole.fingerprint, len(whole.train)) == (load(dataset)[0].fingerprint, 21)


class TestCounts:
    @pytest.mark.parametrize(
        ("facts", "message"),
        [
            ({"classes": 4}, "mine has 4 classes, and found were 3"),
            ({"train": 7}, "mine has 7 train images, and found were 6"),
            ({"evaluation": 5}, "mine has 5 evaluation images, and found were 6"),
        ],
    )
    def test_others_are_refused(self, own, facts, message):
        with pytest.raises(ConfigurationError, match=rf"task 't', dataset 'parquet' \(mine\): {message}: the data"):
            load(own(as_stored(LABELS, [*NAMES]), benchmark=facts))

    def test_are_those_before_limits_and_of_what_the_benchmark_says(self, own):
        rows = as_stored(LABELS, [*NAMES])
        dataset = own(rows, benchmark={"classes": 3, "train": 6, "evaluation": 6})
        (task,) = load(dataset, max_train_samples=3, max_eval_samples=4)
        assert (len(task.train), len(task.evaluation), task.benchmark.changed) == (3, 4, [])
        (task,) = load(dataset, train_split="train[:3]")
        assert len(task.train) == 3 and task.benchmark.changed == ["train_split"]
        with pytest.raises(ConfigurationError, match="has 6 evaluation images"):
            load(own(rows, rows.select(range(5)), benchmark={"evaluation": 6}), train_split="train[:3]")

    def test_of_a_drawn_split_that_gave_way(self, own):
        rows = as_stored(LABELS * 5, [*NAMES])
        facts = {"train": 21, "evaluation": 9}
        dataset = own(rows, rows.select(range(5)), random_split={"share": 0.7, "seed": 1}, benchmark=facts)
        sizes = {
            ("train_split", "train[:4]"): (4, 5),
            ("eval_split", "train[:4]"): (30, 4),
            ("eval_split", "test"): (30, 5),
        }
        for (name, split), expected in sizes.items():
            (task,) = load(dataset, **{name: split})
            assert (len(task.train), len(task.evaluation)) == expected
            assert task.benchmark.changed == [name, "random_split"]


class TestEntry:
    def test_what_it_says_itself_wins(self):
        task = described("mtil:aircraft", templates=["a plane {}"], revision="refs/pr/1", shots=5, eval_split="test")
        assert (task.templates, task.eval_templates, task.revision) == (["a plane {}"], None, "refs/pr/1")
        assert task.benchmark.changed == ["templates", "eval_templates"] and task.shots == 5
        assert described("mtil:dtd").benchmark.changed == []

    @pytest.mark.parametrize("given", [{"eval_split": "validation"}, {"eval_split": "test"}, {"train_split": "train"}])
    def test_a_split_takes_the_place_of_drawn_ones(self, given):
        """Be it the one that is loaded where none is named."""
        task = described("mtil:eurosat", **given)
        assert task.random_split is None and task.benchmark.changed == [*given, "random_split"]
        split = {"share": 0.5, "seed": 1}
        task = described("mtil:eurosat", random_split=split, **given)
        assert task.random_split == RandomSplit(**split) and task.benchmark.changed == [*given, "random_split"]

    def test_a_split_beside_drawn_ones(self):
        """What is not drawn gives way alone."""
        assert described("mtil_coop:mnist", eval_split="test").benchmark.changed == []
        task = described("mtil_coop:mnist", eval_split="train[:10%]")
        assert task.random_split.share == 0.8 and task.benchmark.changed == ["eval_split"]
        with pytest.raises(ConfigurationError, match="validation_split and random_split's validation_share exclude"):
            described("mtil_coop:mnist", validation_split="test")

    def test_a_default_that_is_given_changes_nothing(self):
        assert described("mtil:dtd", left_out_classes=[], eval_split="test").benchmark.changed == []

    def test_what_results_say_of_it(self, own):
        benchmark = {"zero_shot": 50.5, "notes": ["Made up."], "license": "mit"}
        (task,) = load(own(as_stored(LABELS, [*NAMES]), benchmark=benchmark))
        record = task_record(task)
        told = {"name": "mine", "zero_shot": 50.5, "notes": ["Made up."], "redrawn": [], "changed": []}
        assert record.benchmark == told
        assert (record.license, record.dataset) == ("mit", "local files")

    @pytest.mark.parametrize(
        ("dataset", "message"),
        [
            ("mtil:aircrafts", "there is no benchmark 'mtil:aircrafts'; known are: mtil:aircraft, "),
            ("./nothing.yaml", "there is no file './nothing.yaml'"),
            ("mine:nothing.yaml", "there is no file 'mine:nothing.yaml'"),
        ],
    )
    def test_of_nothing(self, dataset, message):
        with pytest.raises(ConfigurationError, match=rf"tasks, entry 1 \('t'\): {message}"):
            described(dataset)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("[1]", "must be a mapping of a task's fields with at least dataset"),
            ("shots: 3", "with at least dataset"),
            ("{dataset: a/b, name: x}", "unknown key 'name'"),
            ("{dataset: a/b, label_colum: x}", "unknown key 'label_colum'; did you mean 'label_column'"),
            ("{dataset: a/b, benchmark: {tain: 3}}", "benchmark: unknown key 'tain'; did you mean 'train'"),
            ("{dataset: a/b, benchmark: {changed: []}}", "benchmark: unknown key 'changed'"),
            ("{dataset: a/b, benchmark: {train: many}}", "train must be an integer"),
            ("{dataset: a/b, benchmark: 3}", "benchmark must be a mapping"),
            ("{dataset: 'mtil:dtd'}", "dataset must be what is loaded, and no benchmark: 'mtil:dtd'"),
            ("dataset: a/b\ndataset: a/c", "key 'dataset' is there already, in line 1"),
        ],
    )
    def test_of_a_file_that_is_none(self, tmp_path, content, message):
        path = tmp_path / "own.yaml"
        path.write_text(content, encoding="utf-8")
        with pytest.raises(ConfigurationError, match="tasks, entry 1 .*own.yaml") as refused:
            described(str(path))
        assert message in str(refused.value)

    @pytest.mark.parametrize("name", ["mtil:aircraft", "mine:own"])
    def test_a_file_is_called_like_no_benchmark(self, tmp_path, monkeypatch, name):
        monkeypatch.chdir(tmp_path)
        (tmp_path / f"{name}.yaml").write_text("{dataset: org/data}")
        with pytest.raises(ConfigurationError, match=f"{name}.yaml: names with ':' are those of benchmarks that ship"):
            described(f"./{name}.yaml")

    def test_a_benchmark_is_no_field(self):
        with pytest.raises(ConfigurationError, match="unknown key 'benchmark'"):
            described("org/data", benchmark={"train": 3})


class TestFromTheHub:
    def confined(self, root=None, **task):
        return confined({"tasks": [{"name": "t"} | task]}, "org/run", root)["tasks"][0]

    def test_a_benchmark_may_be_named(self):
        spec = {"name": "t", "dataset": "mtil:sun397", "class_names": {"forest_path": "forest path"}}
        assert self.confined(**spec) == spec

    def test_a_file_must_lie_in_data_root(self, tmp_path):
        with pytest.raises(ConfigurationError, match="dataset of task 't' 'mine.yaml' is no name on the Hub"):
            self.confined(dataset="mine.yaml")
        with pytest.raises(ConfigurationError, match="leads upwards"):
            self.confined(str(tmp_path), dataset="../mine.yaml")
        (tmp_path / "mine.yaml").write_text("{dataset: parquet, data_files: b.parquet, class_names: names.txt}")
        spec = self.confined(str(tmp_path), dataset="mine.yaml")
        assert spec["data_files"] == f"{tmp_path}/b.parquet" and spec["class_names"] == f"{tmp_path}/names.txt"
        spec = self.confined(str(tmp_path), dataset="mine.yaml", data_files="a.parquet")
        assert spec["dataset"] == f"{tmp_path}/mine.yaml" and spec["data_files"] == f"{tmp_path}/a.parquet"

    def test_no_folder_takes_the_place_of_its_data(self, tmp_path, monkeypatch):
        (tmp_path / "ylecun" / "mnist").mkdir(parents=True)
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ConfigurationError, match="'ylecun/mnist' would be read from"):
            self.confined(dataset="mtil:mnist")

    @pytest.mark.parametrize("given", [{}, {"data_dir": "private"}, {"data_files": "private/*.png"}])
    def test_files_of_a_benchmark_must_lie_in_data_root(self, tmp_path, given):
        """Its own and those that somebody names beside it."""
        with pytest.raises(ConfigurationError, match="of task 't' .* would be read from this machine"):
            self.confined(dataset="snd:ucf101", **given)
        spec = self.confined(str(tmp_path), dataset="snd:ucf101", **given)
        assert spec["dataset"] == "snd:ucf101"
        assert spec["data_dir"] == f"{tmp_path}/{given.get('data_dir', 'UCF-101-midframes')}"
        assert TaskConfig.from_dict(spec, 1).benchmark.changed == [*given.keys() & {"data_files"}]

    @pytest.mark.parametrize(
        "given",
        [{"data_dir": "/private"}, {"data_files": "../*.png"}, {"data_dir": "x", "data_files": {"train": "/x"}}],
    )
    @pytest.mark.parametrize("dataset", ["snd:ucf101", "mtil:stanford_cars", "mine.yaml"])
    def test_files_beside_a_benchmark(self, tmp_path, dataset, given):
        (tmp_path / "mine.yaml").write_text("{dataset: org/data}")
        with pytest.raises(ConfigurationError, match="is absolute, leads upwards"):
            self.confined(str(tmp_path), dataset=dataset, **given)

    def test_no_link_of_a_benchmark_leads_out(self, tmp_path):
        (root := tmp_path / "root").mkdir()
        (root / "UCF-101-midframes").symlink_to(tmp_path)
        with pytest.raises(ConfigurationError, match="is a link that leads out of data_root"):
            self.confined(str(root), dataset="snd:ucf101")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{dataset: ./pets}", "'./pets' is no name on the Hub"),
            ("{dataset: /private}", "'/private' is no name on the Hub"),
            ("{dataset: imagefolder}", "'imagefolder' names no data_files"),
            ("{dataset: imagefolder, data_dir: /private}", "data_dir of task 't' '/private' is absolute"),
            ("{dataset: org/data, class_names: /private}", "class_names of task 't' '/private' is absolute"),
            ("{dataset: org/data, rows: [/private]}", "rows of task 't' '/private' is absolute"),
        ],
    )
    def test_a_file_chooses_no_others_outside(self, tmp_path, content, message):
        (tmp_path / "mine.yaml").write_text(content)
        with pytest.raises(ConfigurationError, match=message):
            self.confined(str(tmp_path), dataset="mine.yaml")

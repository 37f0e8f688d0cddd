"""The families of class-incremental streams and of SnD's, and YAMLs that extend a benchmark."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as PILImage

from mulki_hf import ConfigurationError, StreamConfig, load_stream
from mulki_hf.data import registry
from mulki_hf.data.class_orders import class_groups
from mulki_hf.data.task_config import TaskConfig


SND = ["aircraft", "dtd", "eurosat", "flowers", "food101", "oxford_pets", "stanford_cars", "ucf101"]
REMAPPED = {"n07056680": "fishing casting reel", "n13719102": "slug", "n08742578": "Chihuahua", "n14991210": "orange"}


def described(dataset: str, **given) -> TaskConfig:
    return TaskConfig.from_dict({"name": "t", "dataset": dataset} | given, 1)


def test_what_there_is():
    assert [name for name in registry.names() if name.startswith(("cil:", "snd:"))] == [
        *("cil:cifar100", "cil:imagenet_r", "cil:tiny_imagenet"),
        *(f"snd:{name}" for name in SND),
    ]


def test_what_is_drawn_anew_is_what_the_notes_say():
    """Whole splits of the published size, or the training images alone."""
    splits = {name: registry.read(name, "tests")[1] for name in registry.names()}
    for name, benchmark in splits.items():
        notes = " ".join(benchmark.notes)
        both = "this is a random" in notes or "split can't be rebuilt" in notes
        held_out = "fifth is" in notes
        assert benchmark.redrawn == (["train", "evaluation"] if both else ["train"] if held_out else []), name
    drawn = {name for name, benchmark in splits.items() if "evaluation" in benchmark.redrawn}
    assert {"cil:imagenet_r", "mtil:sun397", "mtil_coop:dtd", "snd:dtd"} <= drawn
    assert not {"mtil:dtd", "cil:cifar100", "mtil_coop:sun397", "snd:ucf101"} & drawn


class TestClassIncremental:
    def test_cifars_names_keep_their_underscores(self):
        task, mtil = described("cil:cifar100"), described("mtil:cifar100")
        assert list(task.class_names) == list(mtil.class_names) and task.class_names["cra"] == "crab"
        names = list(task.class_names.values())
        assert [name.replace("_", " ") for name in names] == list(mtil.class_names.values()) and "lawn_mower" in names
        assert task.templates == ["a bad photo of a {}."] and task.eval_templates is None
        assert (task.dataset, task.revision, task.label_column) == (mtil.dataset, mtil.revision, "fine_label")

    def test_tiny_imagenets_classes_are_in_the_order_that_the_published_one_counts_in(self):
        task = described("cil:tiny_imagenet")
        names = list(task.class_names.values())
        assert (
            names[:3] == ["Egyptian Mau", "fishing casting reel", "volleyball"] and names[-1] == "African bush elephant"
        )
        assert len({*names}) == 200 and task.benchmark.label_names == sorted(task.class_names)
        assert task.class_names.items() >= REMAPPED.items()
        first = class_groups([100, *[20] * 5], "zscl_tiny_imagenet", None, names, "here")[0]
        assert [names[number] for number in first[:3]] == ["Persian cat", "stick insect", "goldfish"]

    def test_imagenet_r(self):
        task = described("cil:imagenet_r")
        assert list(task.class_names) == sorted(task.class_names) and len({*task.class_names.values()}) == 200
        assert (
            task.class_names["n02009912"] == "american_egret" and task.class_names["n04552348"] == "military_aircraft"
        )
        assert len(task.eval_templates) == 7 and task.templates == task.eval_templates[:1]
        assert int(task.random_split.share * 30000) == task.benchmark.train == 24000
        assert any("random split" in note for note in task.benchmark.notes)

    @pytest.mark.parametrize(
        ("dataset", "order"),
        [("cifar100", "zscl_cifar100"), ("tiny_imagenet", "zscl_tiny_imagenet"), ("imagenet_r", "numpy_1993")],
    )
    def test_in_miniature(self, tmp_path, dataset, order):
        """Pictures whose shade is their label, with the labels of the Hub's copy in its order."""
        task = described(f"cil:{dataset}", class_incremental=10, class_order=order)
        labels = task.benchmark.label_names or list(task.class_names)
        count = len(labels)
        shades = [PILImage.new("RGB", (4, 4), (label, 0, 0)) for label in range(count)] * 5
        kind = ClassLabel(names=labels) if dataset != "imagenet_r" else None
        content = {task.image_column: shades, task.label_column: [*range(count)] * 5 if kind else labels * 5}
        features = Features({task.image_column: Image(), task.label_column: kind}) if kind else None
        path = str(tmp_path / "rows.parquet")
        data = Dataset.from_dict(content, features=features)
        (data if kind else data.cast_column(task.image_column, Image())).to_parquet(path)
        said = yaml.safe_load((registry.BENCHMARKS / f"cil/{dataset}.yaml").read_text())
        said |= {"dataset": "parquet", "data_files": {task.train_split: path, task.eval_split: path}}
        said = {name: value for name, value in said.items() if name not in ("config_name", "revision")}
        said["benchmark"] |= {"train": len(data) * 4 // 5 if task.random_split else len(data), "evaluation": None}
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(said, sort_keys=False))
        entry = {"name": "t", "dataset": str(tmp_path / "mine.yaml"), "class_incremental": 10, "class_order": order}
        tasks = load_stream(StreamConfig(tasks=[entry]))
        names = list(task.class_names.values())
        groups = class_groups(10, order, None, names, "here")
        assert [one.class_names for one in tasks] == [[names[number] for number in group] for group in groups]
        for one in tasks:
            for row in one.train:
                label = labels[np.asarray(row["image"])[0, 0, 0]]
                assert task.class_names[label] == one.class_names[row["label"]]


class TestSnd:
    @pytest.mark.parametrize("name", SND[:-1])
    def test_is_coops_with_one_template(self, name):
        task, coop = described(f"snd:{name}"), described(f"mtil_coop:{name}")
        fields = ("dataset", "revision", "train_split", "eval_split", "validation_split", "class_names", "random_split")
        assert all(getattr(task, field) == getattr(coop, field) for field in fields)
        assert task.templates == ["a photo of a {}."] and task.eval_templates is None
        assert task.benchmark.name == f"snd:{name}" and task.benchmark.train == coop.benchmark.train
        assert task.benchmark.notes[: len(coop.benchmark.notes)] == coop.benchmark.notes
        assert "SnD's own lists" in task.benchmark.notes[-1]

    def test_ucf101_is_a_folder_here(self, tmp_path, monkeypatch):
        task = described("snd:ucf101")
        assert len(task.class_names) == 101 and task.class_names["Yo_Yo"] == "Yo Yo"
        assert any("no copy on the Hub" in note for note in task.benchmark.notes)
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ConfigurationError, match="task 't'.*snd:ucf101.*can't load split 'train'"):
            load_stream(StreamConfig(tasks=[{"name": "t", "dataset": "snd:ucf101"}]))
        for split in ("train", "val", "test"):
            for folder in ("Archery", "Yo_Yo"):
                (Path("UCF-101-midframes") / split / folder).mkdir(parents=True)
                PILImage.new("RGB", (4, 4)).save(f"UCF-101-midframes/{split}/{folder}/v_1.jpg")
        with pytest.raises(ConfigurationError, match="split 'train'.* the data have no label 'Apply_Eye_Makeup'"):
            load_stream(StreamConfig(tasks=[{"name": "t", "dataset": "snd:ucf101"}]))


class TestExtends:
    @pytest.fixture
    def write(self, tmp_path):
        def write(**said) -> str:
            (tmp_path / "mine.yaml").write_text(yaml.safe_dump(said))
            return str(tmp_path / "mine.yaml")

        return write

    def test_says_only_what_is_different(self, write):
        base = described("mtil:cifar100")
        task = described(
            write(extends="mtil:cifar100", templates=["{}!"], benchmark={"zero_shot": None, "notes": ["so"]})
        )
        assert task.templates == ["{}!"] and task.class_names == base.class_names
        assert task.eval_templates == base.eval_templates
        assert (task.benchmark.name, task.benchmark.classes, task.benchmark.zero_shot) == ("mine", 100, None)
        assert task.benchmark.notes == [*base.benchmark.notes, "so"]

    @pytest.mark.parametrize(
        ("said", "message"),
        [
            ({"extends": "mtil:nothing"}, "there is no benchmark 'mtil:nothing'"),
            ({"extends": "other.yaml"}, "extends must be one of cil:cifar100, .*, got 'other.yaml'"),
            ({"extends": ["mtil:dtd"]}, "extends must be one of"),
            ({"extends": "mtil:dtd", "benchmark": 5}, "benchmark must be a mapping, got 5"),
            ({"extends": "mtil:dtd", "benchmark": {"notes": "so"}}, "benchmark: notes must be a list"),
            ({"extends": "mtil:dtd", "template": []}, "unknown key 'template'; did you mean 'templates'"),
        ],
    )
    def test_is_refused(self, write, said, message):
        with pytest.raises(ConfigurationError, match=message):
            described(write(**said))

"""The benchmark's recipes against a hub on loopback, with miniatures of all data and of CLIP."""

import re
from functools import cache
from pathlib import Path

import pytest
import yaml
from datasets import Dataset
from support.benchmark import publish_benchmarks
from support.hub import connected, hub_environment, tiny_hub
from support.hub_data import labelled, repository
from support.openai_clip import REPO_ID, openai_clip

from mulki_hf import load_stream
from mulki_hf.config.parser import parse
from mulki_hf.data import registry
from mulki_hf.data.unlabelled import load_reference
from mulki_hf.extends import merged, read_layers
from mulki_hf.models.loading import load_model, load_processor
from mulki_hf.records import BaseModel, TaskRecord
from mulki_hf.report.published.matching import match
from mulki_hf.resources import shipped_recipes
from mulki_hf.results import StreamResults
from mulki_hf.runs.checks import check_task
from mulki_hf.train import main


METHODS = ("mulki", "mulki_lora", "snd", "zscl", "lwf", "wise_ft", "finetune")
RECIPES = [name for name in shipped_recipes() if name.partition("/")[0] in ("mtil", "mtil_coop", "snd8", "cil")]
RECIPES_FOLDER = Path(__file__).parents[2] / "recipes"
ORDER_1 = [
    "aircraft", "caltech101", "cifar100", "dtd", "eurosat", "flowers", "food101", "mnist", "oxford_pets",
    "stanford_cars", "sun397",
]  # fmt: skip
ORDER_2 = [
    "stanford_cars", "food101", "mnist", "oxford_pets", "flowers", "sun397", "aircraft", "caltech101", "dtd",
    "eurosat", "cifar100",
]  # fmt: skip
# Before miniatures take their place.
TRAIN = {name: registry.read(name, "tests")[1].train for name in registry.names()}
CAPTIONS = merged(read_layers(shipped_recipes()["mtil/zscl"]))["reference_text_revision"]
SMALL = ["--max_train_samples", "16", "--max_eval_samples", "12"]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """With all that the recipes name; the environment that knows it."""
    place = tmp_path_factory.mktemp("benchmarks")
    with tiny_hub() as hub, pytest.MonkeyPatch.context() as patch:
        families = sorted({name.partition(":")[0] for name in registry.names()})
        folder = publish_benchmarks(hub, place / "yaml", families)
        for path in folder.glob("*/*.yaml"):
            # Ensembles of 34 templates are most of a miniature's evaluation.
            content = yaml.safe_load(path.read_text())
            if "eval_templates" in content:
                path.write_text(yaml.safe_dump(content | {"eval_templates": content["eval_templates"][:2]}))
        patch.setattr(registry, "BENCHMARKS", folder)
        hub.publish(REPO_ID, openai_clip())
        hub.publish("datasets/ILSVRC/imagenet-1k", repository({"train": labelled(["cat", "dog"], 8)}))
        texts = Dataset.from_dict({"image_url": ["-"] * 9, "caption": [f"a text about {n}" for n in range(9)]})
        captions = repository({"train": texts, "validation": texts}, "unlabeled")
        hub.publish("datasets/google-research-datasets/conceptual_captions", captions, revision=CAPTIONS)
        yield hub_environment(hub, place / "hf-home")


def reference(name: str) -> list[str]:
    """Of a recipe with reference images, a few of them."""
    return ["--reference_samples", "6"] if name.rpartition("/")[2].partition("_")[0] in ("snd", "zscl") else []


def parsed(name: str, *options: str):
    return parse(["--config", name, "--use_cpu", "true", *options])


def reads(name: str) -> tuple:
    """What a recipe reads, in whichever order."""
    stream, _ = parsed(name)
    beside = (stream.reference_dataset, stream.reference_text_dataset)
    return (stream.model_name_or_path, *beside, *sorted(str(task["dataset"]) for task in stream.tasks))


@pytest.mark.long
def test_what_they_read_is_there(hub):
    """Each recipe is parsed strictly; of those that read the same one is tried. Prompts fit."""
    with connected(hub):
        for name in {reads(name): name for name in reversed(RECIPES)}.values():
            # Of a recipe that drops last batches one is whole.
            stream, config = parsed(name, *SMALL, *reference(name), "--per_device_train_batch_size", "8")
            tasks, beside = load_stream(stream), load_reference(stream)
            processor = load_processor(stream.model_name_or_path, stream.model_revision)
            load_model(stream.model_name_or_path, stream.model_revision, pickled=stream.pickled_weights)
            for task in tasks:
                check_task(task, processor, config)
                assert task.benchmark is not None
            assert (beside is not None) == (config.method in ("snd", "zscl"))


def test_each_has_an_output_folder_of_its_own():
    assert {name: parsed(name)[1].output_dir for name in RECIPES} == {name: name.replace("/", "_") for name in RECIPES}


def test_both_orders_of_every_method():
    for method in METHODS:
        for name, order in ((f"mtil/{method}", ORDER_1), (f"mtil/{method}_order_2", ORDER_2)):
            stream, config = parsed(name)
            assert [task["name"] for task in stream.tasks] == order
            assert [task["dataset"] for task in stream.tasks] == [f"mtil:{task}" for task in order]
            assert config.method == method.removesuffix("_lora") and (config.lora_r is not None) == ("lora" in method)
            assert stream.model_name_or_path == "openai/clip-vit-base-patch16"


def test_coops_splits_in_both_orders():
    for name, shots in (("mulki", None), ("few_shot_16", 16), ("xtail_16", 16)):
        for suffix, order in (("", ORDER_1), ("_order_2", ORDER_2)):
            stream, config = parsed(f"mtil_coop/{name}{suffix}")
            names = [task for task in order if not (name == "xtail_16" and task == "cifar100")]
            assert [task["dataset"] for task in stream.tasks] == [f"mtil_coop:{task}" for task in names]
            assert [task["name"] for task in stream.tasks] == names
            assert stream.shots == shots
            own = {task.name: task.settings for task in stream.task_configs() if task.settings}
            assert own == {name: {"learning_rate": 5e-5} for name in ("aircraft", "mnist")}
            assert (config.method, config.max_steps) == ("mulki", 500 if shots else 1000)
            assert stream.protocols == (["xtail", "til"] if name == "xtail_16" else ["til"])


def fabricated(name: str) -> StreamResults:
    """Of a finished run of a recipe, as far as published rows ask."""
    stream, config = parsed(name)
    tasks = []
    for task in stream.task_configs():
        sizes = task.class_incremental or 1
        sizes = [task.benchmark.classes // sizes] * sizes if isinstance(sizes, int) else sizes
        limits = {"shots": stream.shots} if stream.shots else {}
        for size in sizes:
            record = TaskRecord(f"{task.name}-{len(tasks)}", "org/data", ["a"] * size, ["{}"], 9, 9, limits=limits)
            record.benchmark = task.benchmark.record()
            tasks.append(record)
    results = StreamResults(config.method, stream.protocols[0], tasks, BaseModel("tiny"), config=stream.to_dict())
    results.measured({results.protocol: [50.0] * len(tasks)})
    for _ in tasks:
        results.add({results.protocol: [60.0] * len(tasks)}, 1.0)
    return results


def test_the_readme_says_which_have_published_rows(monkeypatch):
    read = registry.read
    once = cache(lambda dataset: read(dataset, "tests"))
    monkeypatch.setattr(registry, "read", lambda dataset, where: once(dataset))
    readme = " ".join((RECIPES_FOLDER / "mtil/README.md").read_text().split())
    without = readme.partition("No published rows stand beside ")[2].partition(":")[0]
    assert {*re.findall("`(.*?)`", without)} == {name for name in RECIPES if not match(fabricated(name)).setting}
    assert match(fabricated("mtil_coop/few_shot_16")).setting.shots == 16
    assert match(fabricated("mtil_coop/xtail_16")).setting.protocol == "xtail"


@pytest.mark.parametrize("method", ["zscl", "lwf", "wise_ft", "finetune"])
@pytest.mark.parametrize("order", ["", "_order_2"])
def test_the_published_settings(method, order):
    stream, config = parsed(f"mtil/{method}{order}")
    own = {task.name: task.settings for task in stream.task_configs() if task.settings}
    assert own == {name: {"learning_rate": 5e-5} for name in ("aircraft", "mnist")}
    published = {"max_steps": 1000, "per_device_train_batch_size": 64, "learning_rate": 1e-5, "warmup_steps": 100}
    published |= {"weight_decay": 0.0, "label_smoothing_factor": 0.2, "lr_scheduler_type": "cosine", "seed": 42}
    published |= {"adam_beta1": 0.9, "adam_beta2": 0.999, "max_grad_norm": 0.0, "bf16": False, "train_towers": "both"}
    assert {name: config.to_dict()[name] for name in published} == published
    assert stream.random_resized_crop == 0.9


def test_select_and_distill_counts_its_steps():
    """Ten epochs of whole batches of 32, but no more than two of them or 1,000 steps, whichever is more."""
    for name in ("mtil/snd", "snd8/snd"):
        stream, _ = parsed(name)
        for task in stream.task_configs():
            epoch = TRAIN[task.benchmark.name] // 32
            assert task.settings == {"max_steps": min(10 * epoch, max(2 * epoch, 1000))}, task.name


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS)
def test_order_1_shortened(hub, method, tmp_path):
    """A smoke run, as one is typed, of all eleven tasks; after MulKI of three, the last with 397 classes.

    Results and card say that it is no benchmark's.
    """
    names = ORDER_1 if method == "mulki" else ["aircraft", "eurosat", "sun397"]
    recipe = {"extends": f"mtil/{method}"}
    if names != ORDER_1:
        recipe["tasks"] = [{"name": name, "dataset": f"mtil:{name}"} for name in names]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    options = [*SMALL, *reference(method), "--max_steps", "2", "--per_device_train_batch_size", "8"]
    options += ["--use_cpu", "true", "--output_dir", str(tmp_path / "out")]
    options += ["--keep_checkpoints", "last", "--dataloader_num_workers", "0", "--dataloader_pin_memory", "false"]
    with connected(hub):
        main(["--config", str(tmp_path / "recipe.yaml"), *options])
    results = StreamResults.load(tmp_path / "out")
    assert results.names == names and results.finished == len(names) and None not in results.metrics.values()
    assert [task.steps for task in results.tasks] == [2] * len(names)
    assert [task.benchmark["name"] for task in results.tasks] == [f"mtil:{name}" for name in names]
    # Of these every image is evaluated on, and a model that knows nothing is far from the published figures.
    doubtful = [warning.split(" is ")[0] for warning in results.warnings]
    assert doubtful == [f"Zero-shot accuracy on {name}" for name in ("eurosat", "mnist") if name in names]
    folder = tmp_path / f"out/task{len(names)}-sun397"
    card = (folder / "README.md").read_text()
    assert "Trained on a sample of at most 16 images: every task." in card
    assert "ZSCL's split can't be rebuilt" in card and "Published results" not in card
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    assert "extends" not in recipe and {"name": "sun397", "dataset": "mtil:sun397"} in recipe["tasks"]

"""Miniatures of the registered benchmark datasets: repositories of their schemas, and YAMLs with their counts."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from datasets import ClassLabel, Dataset, Value
from support.hub_data import labelled, repository, webdataset
from support.hub_server import HubServer

from mulki_hf.data import registry
from mulki_hf.extends import merged, read_layers
from mulki_hf.resources import find_recipe


PER_CLASS = {"train": 2}
"""Rows of each class in a split; one in any other."""

BESIDE: dict[str, dict[str, ClassLabel | Value]] = {
    "uoft-cs/cifar100": {"coarse_label": ClassLabel(num_classes=20)},
    "timm/eurosat-rgb": {"image_id": Value("string")},
    "timm/oxford-iiit-pet": {"image_id": Value("string"), "label_cat_dog": ClassLabel(names=["cat", "dog"])},
}
"""Columns of a repository that are neither image nor label."""

OTHER_SPLITS = {
    "tanganke/stanford_cars": ["contrast", "gaussian_noise", "impulse_noise", "jpeg_compression", "motion_blur"],
}
"""Splits that no task reads; whoever loads the repository by its name alone downloads them."""

WEBDATASET = "wds:mnist"
"""What is no registered dataset: the same form with a webdataset behind it, whose labels have no names."""


@dataclass
class Schema:
    """What a repository on the Hub looks like, by the YAMLs that read it.

    Attributes:
        revision: that the YAMLs pin; the miniature has it.
        columns: of image and label.
        names: of the labels, in the Hub's order.
        splits: that somebody reads.
    """

    config_name: str | None
    revision: str
    columns: tuple[str, str]
    names: list[str]
    splits: list[str] = field(default_factory=list)


def splits_in(expression: str) -> list[str]:
    """The splits that `train+test[:10%]` is made of."""
    return [re.sub(r"\[.*", "", part) for part in expression.split("+")]


def schema_of(content: dict[str, Any], label_names: list[str] | None) -> Schema:
    """From a benchmark's YAML, `content` and the fact of that name."""
    given, left_out = content["class_names"], content.get("left_out_classes", [])
    names = label_names or [*(given if isinstance(given, list) else [*given, *left_out])]
    columns = content.get("image_column", "image"), content.get("label_column", "label")
    schema = Schema(content.get("config_name"), content.get("revision", "main"), columns, names)
    read = [content.get("train_split", "train"), content.get("validation_split")]
    read += [] if draws_evaluation(content) else [content.get("eval_split", "test")]
    schema.splits = [*dict.fromkeys(split for expression in filter(None, read) for split in splits_in(expression))]
    return schema


def draws_evaluation(content: dict[str, Any]) -> bool:
    """Whether a random split leaves something to evaluate on."""
    drawn = content.get("random_split")
    return drawn is not None and drawn["share"] + drawn.get("validation_share", 0.0) < 1 - 1e-9


def counts(content: dict[str, Any], schema: Schema) -> dict[str, int]:
    """How many images a miniature has to train and to evaluate on, told by the sizes of its splits."""
    classes = len(schema.names) - len(content.get("left_out_classes", []))

    def rows(expression: str) -> int:
        return sum(classes * PER_CLASS.get(split, 1) for split in splits_in(expression))

    drawn = content.get("random_split")
    count = rows(content.get("train_split", "train"))
    train = int(drawn["share"] * count) if drawn else count
    if draws_evaluation(content):
        return {"train": train, "evaluation": count - train - int(drawn.get("validation_share", 0.0) * count)}
    return {"train": train, "evaluation": rows(content.get("eval_split", "test"))}


def registered(families: Iterable[str]) -> dict[str, tuple[dict[str, Any], registry.Benchmark]]:
    """By name, what the YAMLs of these families say."""
    names = [name for name in registry.names() if name.partition(":")[0] in families]
    return {name: registry.read(name, "tests") for name in names}


def publish_benchmarks(hub: HubServer, folder: Path, families: Iterable[str] = ("mtil",)) -> Path:
    """Put miniatures of all registered datasets of some families on a hub.

    Returns:
        `folder`, with copies of the YAMLs that expect the miniatures' counts: for `registry.BENCHMARKS`.
    """
    schemas: dict[tuple[str, str], Schema] = {}
    for name, (content, facts) in registered(families).items():
        if content["dataset"] == "imagefolder":
            # What no copy on the Hub has is read from a folder; here it is one more repository.
            content = {key: value for key, value in content.items() if key != "data_dir"}
            content["dataset"] = f"org/{name.replace(':', '_')}"
        schema = schema_of(content, facts.label_names)
        known = schemas.setdefault((content["dataset"], schema.revision), schema)
        known.splits = [*dict.fromkeys([*known.splits, *schema.splits])]
        _write(folder, name, content, facts, counts(content, schema), len(schema.names))
    for (repo_id, _), schema in schemas.items():
        _publish(hub, repo_id, schema)
    publish_webdataset(hub, folder)
    return folder


def publish_webdataset(hub: HubServer, folder: Path) -> None:
    """[`WEBDATASET`]: digits in shards, whose classes are numbers."""
    names = [str(digit) for digit in range(10)]
    splits = {
        split: labelled(names, PER_CLASS.get(split, 1), seed=seed) for seed, split in enumerate(("train", "test"))
    }
    hub.publish("datasets/org/wds_mnist", {f"{split}/0.tar": webdataset(rows) for split, rows in splits.items()})
    content = {"dataset": "org/wds_mnist", "image_column": "png", "label_column": "cls", "class_names": names}
    content |= {"templates": ['a photo of the number: "{}".']}
    _write(folder, WEBDATASET, content, registry.Benchmark(WEBDATASET), {"train": 20, "evaluation": 10}, 10)


def publish_reference(hub: HubServer, recipe: str, images: int = 40, texts: int = 12) -> None:
    """What a recipe reads beside its tasks: images, gated as ImageNet is, and captions whose images are addresses."""
    given = merged(read_layers(find_recipe(recipe)))
    if dataset := given.get("reference_dataset"):
        rows = labelled([f"synset {number}" for number in range(images)], 1)
        files = repository({given.get("reference_split", "train"): rows}, given.get("reference_config_name"))
        hub.publish(f"datasets/{dataset}", files, gated=True, revision=given.get("reference_revision", "main"))
        hub.repositories[f"datasets/{dataset}"].accepted.add("ann")
    if dataset := given.get("reference_text_dataset"):
        captions = [f"a picture of thing {number}" for number in range(texts)]
        column = {given["reference_text_column"]: captions}
        rows = Dataset.from_dict({"image_url": ["http://127.0.0.1/none.png"] * texts} | column)
        files = repository({given.get("reference_text_split", "train"): rows}, given.get("reference_text_config_name"))
        hub.publish(f"datasets/{dataset}", files, revision=given.get("reference_text_revision", "main"))


def _write(
    folder: Path, name: str, content: dict[str, Any], facts: registry.Benchmark, found: dict[str, int], labels: int
) -> None:
    family, _, dataset = name.partition(":")
    told = {"classes": labels - len(content.get("left_out_classes", [])), "license": facts.license} | found
    told |= {"zero_shot": facts.zero_shot, "label_names": facts.label_names, "notes": facts.notes}
    told["redrawn"] = facts.redrawn
    path = folder / family / f"{dataset}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {key: value for key, value in told.items() if value is not None}
    path.write_text(yaml.safe_dump(content | {"benchmark": known}, allow_unicode=True, sort_keys=False))


def _publish(hub: HubServer, repo_id: str, schema: Schema) -> None:
    image, label = schema.columns
    made = {}
    for seed, split in enumerate([*schema.splits, *OTHER_SPLITS.get(repo_id, [])]):
        beside = BESIDE.get(repo_id)
        made[split] = labelled(schema.names, PER_CLASS.get(split, 1), image, label, beside, seed)
    hub.publish(f"datasets/{repo_id}", repository(made, schema.config_name), revision=schema.revision)

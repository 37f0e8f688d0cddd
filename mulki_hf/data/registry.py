"""Benchmark datasets: `mtil:aircraft`, or a YAML of the same form, in place of what a task's entry says at length."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from ..errors import ConfigurationError, shown
from ..extends import EXTENDS
from ..fields import check_keys, instance
from ..resources import resource
from ..strict_yaml import read_yaml
from .builders import LOCAL_BUILDERS
from .splitting import RandomSplit


BENCHMARKS = resource("data/benchmarks")
"""A folder a family, in it a YAML a dataset: the fields of [`TaskConfig`] but `name`, and `benchmark`."""

DEFINING = (
    "config_name", "data_files", "data_dir", "train_split", "eval_split", "image_column", "label_column", "class_names",
    "left_out_classes", "random_split", "templates", "eval_templates",
)  # fmt: skip
"""Fields with which a benchmark's dataset is another one. A revision is not: counts are checked whatever it is."""

GIVES_WAY = {"train_split": "random_split", "eval_split": "random_split", "templates": "eval_templates"}
"""What a benchmark says no longer where a task's own entry says something else. It is changed too."""

_NAME = re.compile(r"(\w+):([\w.-]+)")


@dataclass(frozen=True)
class Benchmark:
    """What is known of a benchmark's dataset beside how it is loaded.

    Attributes:
        name: `mtil:aircraft`; of a file of the user's, its name.
        classes, train, evaluation (*optional*): how many there are, of classes and of images to train and evaluate on.
        zero_shot (*optional*): published accuracy in percent of `openai/clip-vit-base-patch16` before any training.
        license (*optional*): of the data, where their card says none.
        label_names (*optional*): the data's own in their order, where that is not the order of `class_names`.
        notes: what is not confirmed or can't be rebuilt, a sentence each, for card and table.
        redrawn (`train`, `evaluation`): of which images are others than the published, drawn at random to their number.
        changed: fields that the task's entry gives otherwise, so that it is the benchmark no longer.
    """

    name: str
    classes: int | None = None
    train: int | None = None
    evaluation: int | None = None
    zero_shot: float | None = None
    license: str | None = None
    label_names: list[str] | None = None
    notes: list[str] = field(default_factory=list)
    redrawn: list[Literal["train", "evaluation"]] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)

    def check_classes(self, found: int, where: str) -> None:
        """Raise `ConfigurationError` unless there are as many classes as the benchmark has."""
        if not {"class_names", "left_out_classes"} & {*self.changed}:
            self._check(self.classes, found, "classes", where)

    def check_images(self, split: str, found: int, where: str) -> None:
        """The same of the images of `train` or `evaluation`, before any limit."""
        of_split = "train_split" if split == "train" else "eval_split"
        if not {"class_names", "left_out_classes", "random_split", of_split} & {*self.changed}:
            self._check(getattr(self, split), found, f"{split} images", where)

    def part(self) -> "Benchmark":
        """That of a task with some of the classes, of which nothing was published."""
        return replace(self, zero_shot=None)

    def record(self) -> dict[str, Any]:
        """What results say of it."""
        return {name: getattr(self, name) for name in ("name", "zero_shot", "notes", "redrawn", "changed")}

    def _check(self, expected: int | None, found: int, what: str, where: str) -> None:
        if expected is not None and found != expected:
            raise ConfigurationError(
                f"{where}: {self.name} has {expected} {what}, and found were {found}: the data are not what it "
                "describes, or changed since; give the revision that has them, or copy its YAML and describe these"
            )


def names() -> list[str]:
    """The benchmarks' datasets that ship."""
    return [f"{path.parent.name}:{path.stem}" for path in sorted(BENCHMARKS.glob("*/*.yaml"))]


def is_benchmark(dataset: str) -> bool:
    """Whether a task's `dataset` names one that ships."""
    named = _NAME.fullmatch(dataset)
    return named is not None and (BENCHMARKS / named[1]).is_dir()


def is_file(dataset: str) -> bool:
    """Whether a task's `dataset` is the path of a YAML like those that ship."""
    return Path(dataset).suffix in (".yaml", ".yml")


def expanded(spec: dict[str, Any], known: Mapping[str, Any], where: str) -> tuple[dict[str, Any], Benchmark | None]:
    """A task's entry with what its benchmark says and it does not, if its `dataset` names one.

    Args:
        spec: the entry.
        known: the fields that an entry may have, with their defaults.
        where: the entry, for messages.

    Raises:
        ConfigurationError: there is no such benchmark or file, or it holds something else.
    """
    dataset = spec.get("dataset")
    if not isinstance(dataset, str) or not (is_benchmark(dataset) or is_file(dataset)):
        return spec, None
    content, benchmark = read(dataset, where)
    where = f"{where}, {dataset}"
    check_keys(content, {*known} - {"name"}, where)
    given = {name: value for name, value in spec.items() if name != "dataset"}
    changed = {name for name in given.keys() & {*DEFINING} if given[name] != content.get(name, known[name])}
    gives_way = GIVES_WAY
    if "evaluation" in _drawn(content):
        # Any split that is named is another one than what is drawn.
        changed |= given.keys() & {"eval_split"}
    else:
        gives_way = {name: other for name, other in GIVES_WAY.items() if name != "eval_split"}
    if content["dataset"] in LOCAL_BUILDERS:
        # It says where the files lie.
        changed -= {"data_dir"}
    out = {gives_way[name] for name in gives_way.keys() & changed} & (content.keys() - given.keys())
    content = {name: value for name, value in content.items() if name not in out}
    return content | given, replace(benchmark, changed=[name for name in DEFINING if name in changed | out])


def _drawn(content: dict[str, Any]) -> tuple[str, ...]:
    """Which parts of a task a benchmark's random split makes."""
    try:
        return instance(RandomSplit, content.get("random_split"), "").gives
    except ValueError:
        # There is none, or the task will say what is wrong with it.
        return ()


def read(dataset: str, where: str) -> tuple[dict[str, Any], Benchmark]:
    """The fields of a task's entry that a benchmark of that name, or a YAML, gives, and what else it knows.

    Raises:
        ConfigurationError: there is no such benchmark or file, or it is none.
    """
    named = _NAME.fullmatch(dataset) if is_benchmark(dataset) else None
    path = BENCHMARKS / named[1] / f"{named[2]}.yaml" if named else Path(dataset)
    if not path.is_file():
        family = [name for name in names() if named and name.startswith(f"{named[1]}:")]
        ending = f"; known are: {', '.join(family)}" if named else ""
        raise ConfigurationError(f"{where}: there is no {'benchmark' if named else 'file'} {dataset!r}{ending}")
    where = f"{where}, {dataset}"
    if not named and ":" in path.stem:
        raise ConfigurationError(f"{where}: names with ':' are those of benchmarks that ship; rename the file")
    content = read_yaml(path, where)
    if isinstance(content, dict) and EXTENDS in content:
        content = _extended(content, where)
    if not isinstance(content, dict) or not isinstance(content.get("dataset"), str):
        raise ConfigurationError(
            f"{where}: must be a mapping of a task's fields with at least dataset, got {shown(content)}"
        )
    facts = content.pop("benchmark", {})
    if is_benchmark(content["dataset"]) or is_file(content["dataset"]):
        raise ConfigurationError(f"{where}: dataset must be what is loaded, and no benchmark: {content['dataset']!r}")
    if not isinstance(facts, dict):
        raise ConfigurationError(f"{where}: benchmark must be a mapping, got {shown(facts)}")
    own = {one.name for one in fields(Benchmark)} - {"name", "changed"}
    check_keys(facts, own, f"{where}: benchmark")
    return content, instance(Benchmark, facts | {"name": dataset if named else path.stem}, f"{where}: benchmark")


def _extended(said: dict[str, Any], where: str) -> dict[str, Any]:
    """What a YAML says over the benchmark that it extends, key by key, those of `benchmark` too; notes are added."""
    base = said.pop(EXTENDS)
    if not isinstance(base, str) or not is_benchmark(base):
        raise ConfigurationError(f"{where}: extends must be one of {', '.join(names())}, got {shown(base)}")
    content, benchmark = read(base, where)
    facts = {name: value for name, value in asdict(benchmark).items() if name not in ("name", "changed")}
    own = said.pop("benchmark", {})
    if isinstance(own, dict):
        more = own.get("notes", [])
        own = facts | own | {"notes": [*facts["notes"], *more] if isinstance(more, list) else more}
    return content | said | {"benchmark": own}

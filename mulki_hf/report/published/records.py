"""Published results of the field's benchmarks, as `published.json` has them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from ...metrics import continual_metrics
from ...resources import PACKAGE


FAMILIES = {
    "mtil": "MTIL on ZSCL's splits",
    "mtil_coop": "MTIL on CoOp's splits",
    "snd": "Select-and-Distill's tasks",
    "cil": "class-incremental streams",
}
"""What the part of a benchmark's name before the colon means: images, splits and class names."""

MEASURES = {
    "mtil": ("transfer", "avg", "last"),
    "mtil_coop": ("transfer", "avg", "last"),
    "snd": ("last", "snd_forgetting", "snd_degradation"),
    "cil": ("step_avg", "step_last"),
}
"""What is published of a family: metrics as [`continual_metrics`] has them, and those of [`steps`]."""

MEASURE_WORDS = {
    "transfer": "Transfer",
    "avg": "Avg",
    "last": "Last",
    "snd_forgetting": "snd_forgetting",
    "snd_degradation": "snd_degradation",
    "step_avg": "Avg of steps",
    "step_last": "Last step",
}
RANKING = ("avg", "step_last", "last")
"""The first that a setting has says which result is better."""

ZERO_SHOT = "zero-shot CLIP"
PUBLISHED_AS = {
    "mulki": "MulKI",
    "snd": "SnD",
    "zscl": "ZSCL",
    "lwf": "LwF",
    "wise_ft": "WiSE-FT",
    "finetune": "continual fine-tuning",
    "zero_shot": ZERO_SHOT,
}
"""By our method what tables call it."""

CLIP_B16 = "CLIP ViT-B/16"


@dataclass(frozen=True)
class Source:
    """Where figures come from.

    Attributes:
        words: paper and table, or repository.
        url: of either.
        second_hand: not the source itself was read, but what others wrote down of it.
    """

    words: str
    url: str
    second_hand: bool = False


@dataclass(frozen=True, eq=False)
class PublishedResult:
    """A row of a published table.

    Attributes:
        method: as tables call it.
        figures: in percent, by the names of [`MEASURES`].
        source: see [`Source`].
        extra_data: beside the tasks' own; empty: none; None: not known. So `trained`, how many parameters, and
            `per_task_parts`, what is kept for each task beside one model.
        matrix (`T x T`, *optional*): accuracy on each task after each task.
        by_task (`T`, *optional*): its last row, where that alone is known.
        backbone: what it started from.
        paper (*optional*): the method's, an arXiv number.
        confirmed: somebody read the figures; not only remembered them.
        splits_confirmed: that they are of the family's splits was read too; else it is what other rows of their table
            are of.
        remark: what else is particular.
    """

    method: str
    figures: dict[str, float]
    source: Source
    extra_data: str | None = None
    trained: str | None = None
    per_task_parts: str | None = None
    matrix: list[list[float]] | None = None
    by_task: list[float] | None = None
    backbone: str = CLIP_B16
    paper: str | None = None
    confirmed: bool = True
    splits_confirmed: bool = True
    remark: str = ""

    @property
    def kind(self) -> str:
        """What has to be known before it is read against another, of [`KINDS`]."""
        if self.extra_data is None or self.per_task_parts is None:
            return KINDS[-1]
        return {
            (False, False): "one model, no extra data",
            (True, False): "extra data",
            (False, True): "per-task parts",
            (True, True): "extra data, per-task parts",
        }[bool(self.extra_data), bool(self.per_task_parts)]

    @property
    def doubts(self) -> list[str]:
        """What of it is not certain, in words."""
        said = {
            "not confirmed": not self.confirmed,
            "splits not confirmed": not self.splits_confirmed,
            "read second-hand": self.source.second_hand and self.confirmed,
        }
        return [words for words, true in said.items() if true]

    @property
    def last_row(self) -> list[float] | None:
        """Accuracy on each task in the end."""
        return self.matrix[-1] if self.matrix else self.by_task


KINDS = (
    "one model, no extra data",
    "extra data",
    "per-task parts",
    "extra data, per-task parts",
    "data or parts not known",
)


@dataclass(frozen=True)
class Training:
    """Steps of each task, and images of each step, in the code that most of a setting's rows come from.

    Attributes:
        of: whose code it is.
    """

    steps: int
    images: int
    of: str


@dataclass(frozen=True, eq=False)
class Setting:
    """What has to be equal before figures are read against each other.

    Attributes:
        family: of [`FAMILIES`].
        order: what the order of the tasks is called.
        tasks: the benchmarks' names in that order, `mtil:aircraft`.
        protocol: by which accuracy is meant.
        results: published ones.
        shots (*optional*): images of each class; None: all.
        classes (*optional*): of each task, where one dataset is split into tasks; then `class_order` names the order
            in which it was, and is empty where that is not known.
        rotations: each figure is the mean over all rotations of the order.
        measures: that may be compared.
        training (*optional*): the published one, where it was read in code.
        note: what has to be known of all of it.
    """

    family: str
    order: str
    tasks: tuple[str, ...]
    protocol: str
    results: tuple[PublishedResult, ...]
    shots: int | None = None
    classes: tuple[int, ...] | None = None
    class_order: str | None = None
    rotations: bool = False
    measures: tuple[str, ...] = ()
    training: Training | None = None
    note: str = ""

    @property
    def name(self) -> str:
        """All of it in words."""
        return f"{FAMILIES[self.family]}: {self.within_family}"

    @property
    def within_family(self) -> str:
        """The same without the family."""
        order = f"the mean over the {len(self.tasks)} rotations of {self.order}" if self.rotations else self.order
        return setting_words(order, self.protocol, self.shots, self.class_order)

    @cached_property
    def zero_shot(self) -> PublishedResult | None:
        """The model before any training, of which shots mean nothing."""
        same = ("tasks", "classes", "class_order", "protocol", "rotations")
        alike = (
            setting
            for setting in (self, *settings())
            if all(getattr(setting, name) == getattr(self, name) for name in same)
        )
        return next((own for setting in alike for own in setting.results if own.method == ZERO_SHOT), None)

    def shown(self, unconfirmed: bool = False) -> list[PublishedResult]:
        """Zero-shot, then the others from the best on; without those that nobody read, unless they are asked for."""
        others = [own for own in self.results if own.method != ZERO_SHOT and (own.confirmed or unconfirmed)]
        zero_shot = [own for own in [self.zero_shot] if own is not None and (own.confirmed or unconfirmed)]
        return [*zero_shot, *sorted(others, key=lambda own: -self.rank(own))]

    def rank(self, result: PublishedResult) -> float:
        """By which results are ordered; 0 where it was not published."""
        return result.figures.get(next(name for name in RANKING if name in self.measures), 0.0)

    def values(self, result: PublishedResult) -> dict[str, float | None]:
        """The figures that may be compared, in order."""
        return {name: result.figures.get(name) for name in self.measures}

    def metrics(self, result: PublishedResult) -> dict[str, float | None]:
        """Those that may be compared, and of a published matrix all; what was printed is as it was."""
        level = self.zero_shot.last_row if self.zero_shot else None
        computed = continual_metrics(result.matrix, level) if result.matrix else {}
        return computed | {name: value for name, value in self.values(result).items() if value is not None}


def setting_words(order: str, protocol: str, shots: int | None, class_order: str | None) -> str:
    """Order, protocol and images, in words."""
    classes = [] if class_order is None else [f"class order {class_order or 'not known'}"]
    images = "all training images" if shots is None else f"{shots} images of each class"
    return ", ".join([order, *classes, protocol, images])


@cache
def settings() -> tuple[Setting, ...]:
    """All that the package knows of."""
    content = json.loads((PACKAGE / "report" / "published" / "published.json").read_text(encoding="utf-8"))
    sources = {name: Source(**entry) for name, entry in content["sources"].items()}
    return tuple(_setting(entry, content, sources) for entry in content["settings"])


def _setting(entry: dict[str, Any], content: dict[str, Any], sources: dict[str, Source]) -> Setting:
    family, first = entry["family"], entry.get("classes")
    training = entry.get("training") or content["training"].get(family)
    names = [entry["dataset"]] * entry["tasks"] if first else content["orders"][entry["order"]]
    results = (PublishedResult(**row | {"source": sources[row["source"]]}) for row in entry["results"])
    return Setting(
        family,
        entry["order"],
        tuple(f"{family}:{name}" for name in names),
        entry["protocol"],
        tuple(results),
        entry.get("shots"),
        (first[0], *[first[1]] * (entry["tasks"] - 1)) if first else None,
        entry.get("class_order"),
        entry.get("rotations", False),
        tuple(entry.get("measures", MEASURES[family])),
        Training(**training) if training else None,
        " ".join(filter(None, [entry.get("note"), content["notes"].get(family)])),
    )


def steps(accuracy: Sequence[Sequence[float | None]], images: Sequence[int]) -> dict[str, float | None]:
    """Class-incremental figures: accuracy over the images of all tasks seen so far, after the last, and its mean.

    Args:
        accuracy (`(T, T)`): after each task (rows) on each task, by `cil`; every cell that is needed is known.
        images (`(T,)`): how many each task is evaluated on.
    """
    means = []
    for step, row in enumerate(accuracy):
        seen = [(value, count) for value, count in zip(row[: step + 1], images, strict=False) if value is not None]
        means.append(sum(value * count for value, count in seen) / sum(count for _, count in seen))
    return {"step_avg": sum(means) / len(means), "step_last": means[-1]} if means else {}

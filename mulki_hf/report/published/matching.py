"""Which published setting a run is of: the same benchmark, splits, order, protocol and images, or why it is of none."""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace

from ...metrics import cells_lacking
from ...results import StreamResults
from ..samples import is_sample
from .records import FAMILIES, MEASURES, Setting, setting_words, settings, steps


SAMPLES = {"max_train_samples": "training_images", "max_eval_samples": "evaluation_images"}
"""Limits with which a run is no run of the benchmark, and what they leave out."""


@dataclass(frozen=True)
class Match:
    """Of one run.

    Attributes:
        setting (*optional*): the published one.
        reason: without one, why there is none: a clause that follows the run's name.
    """

    setting: Setting | None
    reason: str = ""


def match(results: StreamResults, protocol: str | None = None) -> Match:
    """The published setting that a run is of by `protocol`, without one by the headline's."""
    protocol = protocol or results.protocol
    if reason := _unfit(results, protocol):
        return Match(None, reason)
    own = _place(results, protocol)
    family = own.tasks[0].partition(":")[0]
    known = [setting for setting in settings() if setting.family == family]
    if not known:
        return Match(None, f"is of {family}, of which nothing is published here; known are {_listed(FAMILIES)}")
    for setting in known:
        if _place_of(setting) == own and not setting.rotations:
            return Match(setting)
    if turned := rotation(results, protocol):
        return Match(None, f"is one order alone; published is {turned[0].within_family}")
    words = setting_words(_order(own, known), protocol, own.shots, own.class_order)
    there = "; ".join(setting.within_family for setting in _nearest(own, known))
    return Match(None, f"is of {FAMILIES[family]}: {words}. Published there: {there}")


def rotation(results: StreamResults, protocol: str) -> tuple[Setting, int] | None:
    """The setting of whose rotations a run is one, and by how many tasks its order is turned left."""
    if _unfit(results, protocol):
        return None
    own = _place(results, protocol)
    for setting in settings():
        for turned in range(len(own.tasks) if setting.rotations else 0):
            order = setting.tasks[turned:] + setting.tasks[:turned]
            if own == replace(_place_of(setting), tasks=order):
                return setting, turned
    return None


@dataclass(frozen=True)
class _Place:
    """What has to be equal; fields as in [`Setting`]."""

    tasks: tuple[str, ...]
    protocol: str
    shots: int | None
    classes: tuple[int, ...] | None
    class_order: str | None


def _place(results: StreamResults, protocol: str) -> _Place:
    tasks = tuple((task.benchmark or {})["name"] for task in results.tasks)
    place = _Place(tasks, protocol, results.tasks[0].limits.get("shots"), None, None)
    if not tasks[0].startswith("cil:"):
        return place
    classes = tuple(len(task.class_names) for task in results.tasks)
    return replace(place, classes=classes, class_order=_class_order(results))


def _place_of(setting: Setting) -> _Place:
    return _Place(setting.tasks, setting.protocol, setting.shots, setting.classes, setting.class_order)


def figures_of(results: StreamResults, protocol: str, setting: Setting) -> dict[str, float | None]:
    """A run's figures by the names and meanings of a setting's."""
    own = results.of(protocol)
    figures = dict(own.metrics)
    if setting.measures == MEASURES["cil"]:
        images = [task.evaluation_images for task in results.tasks]
        # Of a model that learns nothing only the last row's mean is recorded.
        alike = len({*images}) == 1
        figures |= steps(own.accuracy, images) or {"step_last": own.metrics.get("last") if alike else None}
    return {name: figures.get(name) for name in setting.measures}


def _unfit(results: StreamResults, protocol: str) -> str:
    """Why a run is of no benchmark, whatever was published."""
    benchmarks = [task.benchmark or {} for task in results.tasks]
    names = [benchmark.get("name", "") for benchmark in benchmarks]
    foreign = [task.name for task, name in zip(results.tasks, names, strict=True) if ":" not in name]
    if foreign:
        which = "its tasks" if len(foreign) == len(results.tasks) else _listed(foreign)
        return f"is of no benchmark: the registry does not have {which}"
    families = dict.fromkeys(name.partition(":")[0] for name in names)
    if len(families) > 1:
        return f"mixes {_listed(families)}, whose splits are not the same"
    changed = [task.name for task, own in zip(results.tasks, benchmarks, strict=True) if own.get("changed")]
    if changed:
        return f"changes what the benchmark says of {_listed(changed)}"
    if results.elsewhere:
        return "was evaluated on tasks that it did not learn"
    if results.stages:
        return "learned all tasks at once, and published are streams"
    if results.stages is None and results.finished < len(results.tasks):
        return f"has learned {results.finished} of its {len(results.tasks)} tasks"
    own = results.of(protocol)
    if own.accuracy and cells_lacking(own.accuracy, own.zero_shot):
        return "lacks cells of its matrix"
    if (split := results.config.get("evaluate_on", "test")) != "test":
        return f"was evaluated on {split} splits, and published is test"
    for limit, images in SAMPLES.items():
        if sampled := [task.name for task in results.tasks if limit in task.limits and is_sample(task, images)]:
            return f"is of a sample of the images ({limit} in {_listed(sampled)})"
    shots = {task.limits.get("shots") for task in results.tasks}
    return "has other shots in one task than in another" if len(shots) > 1 else ""


def _class_order(results: StreamResults) -> str:
    """The name of the order in which classes were split; `their own` where none was asked for."""
    records = [task.benchmark or {} for task in results.tasks]
    entries = [entry for entry in results.config.get("tasks", []) if isinstance(entry, dict)]
    found = {str(entry["class_order"]) for entry in (*records, *entries) if entry.get("class_order") is not None}
    return " and ".join(sorted(found)) or "their own"


def _order(own: _Place, known: Sequence[Setting]) -> str:
    """What the order of a run's tasks is called, else what it is."""
    for setting in known:
        if (setting.tasks, setting.classes) == (own.tasks, own.classes):
            return setting.order
    names = [name.partition(":")[2] for name in own.tasks]
    if own.classes is not None:
        counts = [*dict.fromkeys(own.classes)]
        classes = f"{counts[0]} classes each" if len(counts) == 1 else f"{_listed(map(str, own.classes))} classes"
        return f"{_listed(dict.fromkeys(names))} in {len(names)} tasks of {classes}"
    if any(sorted(setting.tasks) == sorted(own.tasks) for setting in known):
        return f"another order ({_listed(names)})"
    alike = max(known, key=lambda setting: len({*setting.tasks} & {*own.tasks}))
    left = [name.partition(":")[2] for name in alike.tasks if name not in own.tasks]
    more = [name.partition(":")[2] for name in own.tasks if name not in alike.tasks]
    said = [f"without {_listed(left)}"] * bool(left) + [f"with {_listed(more)}"] * bool(more)
    return f"{len(names)} tasks ({', '.join(said) or 'some more than once'})"


def _nearest(own: _Place, known: Sequence[Setting]) -> list[Setting]:
    """The settings that differ in the fewest things."""

    def apart(setting: Setting) -> int:
        return sum(a != b for a, b in zip(astuple(own), astuple(_place_of(setting)), strict=True)) + setting.rotations

    least = min(map(apart, known))
    return [setting for setting in known if apart(setting) == least]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)

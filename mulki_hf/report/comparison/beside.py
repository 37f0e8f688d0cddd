"""Runs beside published results of the same benchmark, splits, order, protocol and images."""

from collections import Counter
from dataclasses import dataclass, field
from statistics import mean
from typing import TYPE_CHECKING

from ..published.beside import NONE, run_data, said
from ..published.differences import differences
from ..published.matching import figures_of, match, rotation
from ..published.records import KINDS, MEASURE_WORDS, PublishedResult, Setting
from .spread import spread_text


if TYPE_CHECKING:
    from .compared import Comparison, Row
    from .runs import ComparedRun


@dataclass
class OwnLine:
    """Runs of a row that are of a published setting; of one that is a mean over rotations, all of a variant.

    Attributes:
        label: of the row or variant.
        row (*optional*): its position in the comparison.
        runs: that are of the setting.
        figures: by measure, of each run or seed.
    """

    label: str
    row: int | None
    runs: list["ComparedRun"]
    figures: dict[str, list[float | None]]


@dataclass
class Group:
    """What is read against each other: all of one setting."""

    setting: Setting
    own: list[OwnLine]
    results: list[PublishedResult]


@dataclass
class Beside:
    """What was published of the runs' streams.

    Attributes:
        groups: a setting each.
        unmatched: a sentence for runs that are of none.
    """

    groups: list[Group] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)

    def suffix(self, group: Group) -> str:
        """What tells a method's results apart where there are several settings."""
        return f", {group.setting.order}" if len(self.groups) > 1 else ""


def beside(comparison: "Comparison", unconfirmed: bool = False) -> Beside:
    """The published results of what the runs learned; with `unconfirmed` also those that nobody read."""
    own: dict[Setting, list[OwnLine]] = {}
    reasons: dict[str, str] = {}
    for position, row in enumerate(comparison.rows):
        found: dict[Setting, list[ComparedRun]] = {}
        for run in row.runs:
            matched = match(run.results, comparison.protocol)
            left = [task for task in run.results.names if task not in comparison.tasks]
            if matched.setting is None:
                reasons[run.name] = matched.reason
            elif left:
                reasons[run.name] = f"is compared without its {', '.join(left)}, and published are whole streams"
            else:
                found.setdefault(matched.setting, []).append(run)
        for setting, runs in found.items():
            own.setdefault(setting, []).append(OwnLine(row.label, position, runs, _values(runs, comparison, setting)))
    for setting, line in _rotated(comparison):
        own.setdefault(setting, []).append(line)
        for run in line.runs:
            reasons.pop(run.name, None)
    groups = [Group(setting, lines, setting.shown(unconfirmed)) for setting, lines in own.items()]
    said_of: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        said_of.setdefault(reason, []).append(name)
    unmatched = [
        f"Nothing published stands beside {', '.join(names)}, which {reason}." for reason, names in said_of.items()
    ]
    return Beside(groups, unmatched)


def _values(runs: list["ComparedRun"], comparison: "Comparison", setting: Setting) -> dict[str, list[float | None]]:
    figures = [figures_of(run.results, comparison.protocol, setting) for run in runs]
    return {name: [one[name] for one in figures] for name in setting.measures}


def _rotated(comparison: "Comparison") -> list[tuple[Setting, OwnLine]]:
    """Variants that were learned in all rotations of a published order: for each seed the mean over those."""
    lines = []
    for label, runs in comparison.variants.values():
        found: dict[Setting, dict[str, dict[int, ComparedRun]]] = {}
        for run in runs if len(comparison.tasks) == len(runs[0].results.tasks) else ():
            if turned := rotation(run.results, comparison.protocol):
                setting, number = turned
                found.setdefault(setting, {}).setdefault(run.seed, {})[number] = run
        for setting, seeds in found.items():
            whole = [list(own.values()) for own in seeds.values() if len(own) == len(setting.tasks)]
            if whole:
                each = [_values(own, comparison, setting) for own in whole]
                values = {name: [_mean(one[name]) for one in each] for name in setting.measures}
                words = f"{label}, mean over {len(setting.tasks)} orders"
                lines.append((setting, OwnLine(words, None, [run for own in whole for run in own], values)))
    return lines


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if len(known) == len(values) else None


# As lines of a table


@dataclass
class Line:
    """A line of [`lines`]: one of the runs' own, or a published one.

    Attributes:
        name: of row or method.
        published: it is.
        row (*optional*): position of a row of the comparison.
        figures: in words, by the measures of the setting.
        cells: by name what has to be known beside them.
        source, url: of what is published.
        remark: what is not certain, and what else is particular; of the runs' own, what is not as published.
    """

    name: str
    published: bool
    row: int | None
    figures: list[str]
    cells: dict[str, str]
    source: str = ""
    url: str = ""
    remark: str = ""

    @property
    def kind(self) -> int | None:
        """Position among [`KINDS`], of what is published."""
        return KINDS.index(self.cells[KIND]) if self.published else None


KIND = "kind"


def lines(group: Group) -> list[Line]:
    """The runs' own lines, then the published ones."""
    made = []
    for own in group.own:
        results = own.runs[0].results
        trained = results.artefact.trained if results.artefact else results.about.towers
        data = run_data(results)
        cells = {
            KIND: KINDS[0] if data == NONE else KINDS[1],
            "extra data": data,
            "per-task parts": NONE,
            "trained": NONE if own.runs[0].stays else trained or "-",
            "backbone": results.base.name or "-",
        }
        figures = [spread_text(values) for values in own.figures.values()]
        apart = [words for run in own.runs for words in differences(run.results, group.setting)]
        made.append(Line(own.label, False, own.row, figures, cells, remark="; ".join(dict.fromkeys(apart))))
    names: Counter[str] = Counter()
    for result in group.results:
        names[result.method] += 1
        again = f" ({names[result.method]})" if names[result.method] > 1 else ""
        cells = {
            KIND: result.kind,
            "extra data": said(result.extra_data),
            "per-task parts": said(result.per_task_parts),
            "trained": said(result.trained),
            "backbone": result.backbone,
        }
        figures = [spread_text([value]) for value in group.setting.values(result).values()]
        remark = "; ".join(filter(None, [*result.doubts, result.remark]))
        made.append(
            Line(result.method + again, True, None, figures, cells, result.source.words, result.source.url, remark)
        )
    return made


def header(group: Group) -> list[str]:
    """The names of a setting's measures."""
    return [MEASURE_WORDS[name] for name in group.setting.measures]


def by_task(group: Group, rows: list["Row"]) -> list[tuple[Line, list[str]]]:
    """Accuracy on each task in the end: of the rows that are of the setting, then as published where it was."""
    tasks, made = group.own[0].runs[0].tasks, lines(group)
    own = [(line, [spread_text(rows[line.row].last(task)) for task in tasks]) for line in made if line.row is not None]
    published = [
        (line, [spread_text([value]) for value in result.last_row])
        for line, result in zip(made[len(group.own) :], group.results, strict=True)
        if result.last_row
    ]
    return [*own, *published] if own and published else []


@dataclass
class Point:
    """Transfer and Last of a published result, and what it is called in a picture."""

    result: PublishedResult
    transfer: float
    last: float
    name: str


def points(beside: Beside) -> list[Point]:
    """The published results that have both."""
    found = []
    for group in beside.groups:
        for result in group.results if {"transfer", "last"} <= {*group.setting.measures} else ():
            transfer, last = result.figures.get("transfer"), result.figures.get("last")
            if transfer is not None and last is not None:
                found.append(Point(result, transfer, last, result.method + beside.suffix(group)))
    return found

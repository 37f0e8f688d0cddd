"""Runs side by side: what they share, which are seeds of one row, and how rows differ, pair by pair."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ...errors import ConfigurationError
from ...evaluation.protocols import PROTOCOLS
from ...results import StreamResults
from .beside import Beside
from .notes import notes
from .runs import ComparedRun
from .shared import check_competition, check_splits, choose_protocol, shared_tasks


@dataclass
class Row:
    """Runs that differ in the seed alone.

    Attributes:
        label: short, what tells the row from the others.
        variant: the same for rows that differ in the order of the tasks alone.
        order (*optional*): of the tasks, 1-based, where there are several and it matters.
        runs: at least one.
    """

    label: str
    variant: int
    order: int | None
    runs: list[ComparedRun]

    def values(self, metric: str) -> list[float | None]:
        """A metric of each run."""
        return [run.metrics.get(metric) for run in self.runs]

    def last(self, task: str) -> list[float | None]:
        """Accuracy on a task in the end, of each run."""
        return [run.last.get(task) for run in self.runs]

    def curve(self, task: str) -> dict[int, list[float | None]]:
        """Accuracies of the runs on a task by the number of compared tasks learned."""
        curves = [run.curves[task] for run in self.runs]
        return {step: [curve[step] for curve in curves] for step in curves[0]}


@dataclass
class Comparison:
    """All that tables, pictures and the page say.

    Attributes:
        protocol: by which all is compared.
        protocols: by which it could be, the same first.
        tasks: the compared ones, in the order of the first run.
        orders: the orders in which they were learned.
        rows: in the order in which their first runs were given.
        against: the variant that the others are held against.
        beside (*optional*): what was published of the same, where it was asked for.
    """

    protocol: str
    protocols: list[str]
    tasks: list[str]
    orders: list[tuple[str, ...]]
    rows: list[Row]
    against: int
    notes: list[str]
    beside: Beside | None = None

    @property
    def runs(self) -> list[ComparedRun]:
        """All, row by row."""
        return [run for row in self.rows for run in row.runs]

    @cached_property
    def variants(self) -> dict[int, tuple[str, list[ComparedRun]]]:
        """Label and runs, of all orders, by variant."""
        found: dict[int, tuple[str, list[ComparedRun]]] = {}
        for row in self.rows:
            label = row.label.removesuffix(order_suffix(row.order))
            found.setdefault(row.variant, (label, []))[1].extend(row.runs)
        return found

    def pairs(self, variant: int) -> list[tuple[ComparedRun, ComparedRun]]:
        """Runs of a variant and those of `against` with the same seed and order.

        A run that learns nothing stands for every seed, one that learns all tasks at once for every order.
        """
        sides = [{_place(run): run for run in reversed(self.variants[side][1])} for side in (variant, self.against)]
        return [
            (one, other)
            for place, one in reversed(sides[0].items())
            for opposite, other in reversed(sides[1].items())
            if all(a == b or a is None or b is None for a, b in zip(place, opposite, strict=True))
        ]


def compare(given: Mapping[str, StreamResults], protocol: str | None = None, against: str | None = None) -> Comparison:
    """Runs side by side.

    Args:
        given: the runs' results, by what they are called.
        protocol (*optional*): by which to compare. Default: the headline's, if that is the same in all.
        against (*optional*): the run, as it is called, against whose row the others are held. Default: the first.

    Raises:
        ConfigurationError: they can't be compared; the message names runs, tasks or protocols.
    """
    runs = [ComparedRun(name, results) for name, results in given.items()]
    for run in runs:
        if not run.results.zero_shot or not run.known:
            raise ConfigurationError(f"{run.name}: nothing to compare yet, no task is finished")
    check_splits(runs)
    protocols = choose_protocol(runs, protocol)
    tasks, apart = shared_tasks(runs)
    usable, refusal = [], None
    for name in protocols:
        for run in runs:
            run.protocol, run.tasks = name, [task.name for task in run.known if task.name in tasks]
        try:
            check_competition(runs)
            usable.append(name)
        except ConfigurationError as error:
            refusal = refusal or error
    if protocols[0] not in usable:
        hint = f"; --protocol {usable[0]} compares them" if usable else ""
        raise ConfigurationError(f"{refusal}{hint}")
    for run in runs:
        run.protocol = protocols[0]
    orders = list(dict.fromkeys(order for run in runs if (order := run.order) is not None))
    rows = _rows(runs, orders)
    chosen = next((row.variant for row in rows for run in row.runs if run.name == against), None)
    if against is not None and chosen is None:
        raise ConfigurationError(f"--against {against!r} is none of the runs: {', '.join(run.name for run in runs)}")
    return Comparison(usable[0], usable, tasks, orders, rows, chosen or 0, notes(runs, tasks, apart, orders))


def order_suffix(order: int | None) -> str:
    """What a label says of the order."""
    return "" if order is None else f", order {order}"


def protocol_sentence(protocol: str) -> str:
    """What accuracy means."""
    return f"Accuracy in percent, {PROTOCOLS[protocol].sentence}."


def _place(run: ComparedRun) -> tuple[str | None, tuple[str, ...] | None]:
    return (None if run.stays or run.as_it_is else run.seed, run.order)


def _rows(runs: list[ComparedRun], orders: list[tuple[str, ...]]) -> list[Row]:
    variants: dict[str, list[ComparedRun]] = {}
    for run in runs:
        variants.setdefault(json.dumps([run.kind, run.traits], sort_keys=True), []).append(run)
    several, rows = len(orders) > 1, []
    for variant, (label, own) in enumerate(zip(_labels([*variants.values()]), variants.values(), strict=True)):
        for order in dict.fromkeys(run.order for run in own):
            number = orders.index(order) + 1 if several and order is not None else None
            alike = [run for run in own if run.order == order]
            rows.append(Row(label + order_suffix(number), variant, number, alike))
    return rows


def _labels(variants: list[list[ComparedRun]]) -> list[str]:
    """The method, and as few settings as tell apart those of one method."""
    labels: list[str] = []
    for runs in variants:
        kind = runs[0].kind
        alike = [own[0] for own in variants if own[0].kind == kind]
        said = [(name, runs[0].trait(name)) for name in _telling(alike)]
        parts = [f"{name.removesuffix('_name_or_path')} {_short(value)}" for name, value in said if value]
        labels.append(", ".join([kind.rpartition(":")[2], *parts]))
    # What was cut off may have been what tells them apart.
    counts = [labels[: place + 1].count(label) for place, label in enumerate(labels)]
    return [label if count == 1 else f"{label} ({count})" for label, count in zip(labels, counts, strict=True)]


def _telling(runs: list[ComparedRun]) -> list[str]:
    """Traits by which no two of `runs` are equal, the most telling first."""
    names = list(dict.fromkeys(name for run in runs for name in run.traits))
    names.sort(key=lambda name: ": " in name)  # what is of one task says least
    told: list[str] = []

    def kinds(name: str) -> int:
        return len({tuple(run.trait(own) for own in [*told, name]) for run in runs})

    while len(runs) > 1 and names and (not told or kinds(told[-1]) < len(runs)):
        told.append(max(names, key=kinds))
        names.remove(told[-1])
    return told


def _short(value: str) -> str:
    return value if len(value) <= 40 else f"{value[:37]}..."

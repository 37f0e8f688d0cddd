"""Where things stand in the page's charts, in the units of their `viewBox`."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..published.records import KINDS
from ..tables import percent
from .beside import Beside, points
from .compared import Comparison, Row
from .looks import KIND_MARKERS, MOST_TICKS, Look, looks
from .spread import Spread, spread_text


@dataclass
class Frame:
    """A chart's size, and what its axes show."""

    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]
    left: float = 40
    right: float = 10
    top: float = 8
    bottom: float = 24

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a value stands."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        inner = self.width - self.left - self.right, self.height - self.top - self.bottom
        return round(self.left + across * inner[0], 1), round(self.top + (1 - up) * inner[1], 1)

    def around(self, step: int) -> tuple[float, float]:
        """Left edge and width of the strip around a whole number."""
        edges = self.left, self.width - self.right
        left, right = (min(max(self.at(step + half, 0)[0], edges[0]), edges[1]) for half in (-0.5, 0.5))
        return left, round(right - left, 1)

    @property
    def ticks(self) -> tuple[list[float], list[float]]:
        """Values with a line of the grid, across and up."""
        return _ticks(*self.x), _ticks(*self.y)


@dataclass
class Mark:
    """One row in a chart.

    Attributes:
        row: its position in the comparison.
        look: of the row.
        line: points of the way of its mean, as SVG has them; empty: there is none.
        band: corners of the spread around it.
        dots: shapes as the `d` of a path, the large ones last.
        level: a line across the chart, `(x1, y1, x2, y2)`.
        tips: what each dot says.
    """

    row: int
    look: Look
    line: str = ""
    band: str = ""
    dots: list[str] = field(default_factory=list)
    level: tuple[float, float, float, float] | None = None
    tips: list[str] = field(default_factory=list)


@dataclass
class Panel:
    """Each row's accuracy on one task over the stream.

    Attributes:
        across: numbers of tasks learned that the axis names.
        zero_shot: heights of the levels before any training.
        learned: left edge and width of where the task is learned, if that is the same in all rows.
        steps: by number of tasks learned the left edge, width and what is said there: of a row, or -1, and in words.
    """

    task: str
    frame: Frame
    across: list[int]
    marks: list[Mark]
    zero_shot: list[float]
    learned: tuple[float, float] | None
    steps: list[tuple[float, float, list[tuple[int, str]]]]


def panels(comparison: Comparison) -> list[Panel]:
    """One for each task, with the same axes."""
    values = [
        value
        for row in comparison.rows
        for task in comparison.tasks
        for cells in row.curve(task).values()
        for value in cells
    ]
    return [_panel(comparison, task, _range(values, 10)) for task in comparison.tasks]


def _panel(comparison: Comparison, task: str, y: tuple[float, float]) -> Panel:
    count = len(comparison.tasks)
    frame = Frame(300, 180, (-0.3, count + 0.3), y)
    curves = [row.curve(task) for row in comparison.rows]
    rows = enumerate(zip(comparison.rows, looks(comparison), strict=True))
    marks = [_way(frame, Mark(place, look), row, task) for place, (row, look) in rows]
    levels = {round(spread.mean, 1) for curve in curves if (spread := Spread.of(curve.get(0, []))) is not None}
    learned = None
    if len(comparison.orders) == 1:
        learned = frame.around(comparison.orders[0].index(task) + 1)
    steps = []
    for step in range(count + 1):
        said = [(-1, f"{task}, {_after(step)}")]
        said += [
            (place, f"{row.label}: {spread_text(curve[step])}")
            for place, (row, curve) in enumerate(zip(comparison.rows, curves, strict=True))
            if step in curve
        ]
        steps.append((*frame.around(step), said))
    across = [*range(0, count + 1, -(-count // MOST_TICKS))]
    return Panel(task, frame, across, marks, [frame.at(0, level)[1] for level in sorted(levels)], learned, steps)


def _after(step: int) -> str:
    return ("before any training", "after 1 task")[step] if step < 2 else f"after {step} tasks"


def _way(frame: Frame, mark: Mark, row: Row, task: str) -> Mark:
    spreads = {step: Spread.of(values) for step, values in row.curve(task).items()}
    known = {step: spread for step, spread in spreads.items() if spread is not None}
    mark.dots = [shape(mark.look.marker, frame.at(step, spread.mean), 3.4) for step, spread in known.items()]
    if len(known) > 1 and not row.runs[0].end_alone:
        mark.line = _points(frame.at(step, spread.mean) for step, spread in known.items())
        edges = [(step, spread.mean, spread.deviation or 0.0) for step, spread in known.items()]
        if any(around for *_, around in edges):
            upper = [frame.at(step, min(mean + around, frame.y[1])) for step, mean, around in edges]
            lower = [frame.at(step, max(mean - around, frame.y[0])) for step, mean, around in reversed(edges)]
            mark.band = _points([*upper, *lower])
    return mark


@dataclass
class Scatter:
    """Transfer against Last.

    Attributes:
        published: shapes as the `d` of a path, each with what it says.
    """

    frame: Frame
    marks: list[Mark]
    published: list[tuple[str, str]]


def scatter(comparison: Comparison) -> Scatter:
    """A small point a run, a large one for the mean; a row with one of the two metrics is a line."""
    found = points(comparison.beside or Beside())
    across = [value for row in comparison.rows for value in row.values("transfer")]
    across += [point.transfer for point in found]
    up = [value for row in comparison.rows if not row.runs[0].stays for value in row.values("last")]
    up += [point.last for point in found]
    frame = Frame(520, 330, _range(across, 1), _range(up, 1), bottom=40, left=52)
    rows = enumerate(zip(comparison.rows, looks(comparison), strict=True))
    published = []
    for point in found:
        figures, kind = f"Transfer {percent(point.transfer)}, Last {percent(point.last)}", point.result.kind
        drawn = shape(KIND_MARKERS[KINDS.index(kind)], frame.at(point.transfer, point.last), 4.5)
        published.append((drawn, f"{point.name}, published: {figures} ({kind})"))
    return Scatter(frame, [_point(frame, Mark(place, look), row) for place, (row, look) in rows], published)


def _point(frame: Frame, mark: Mark, row: Row) -> Mark:
    transfer, last = (Spread.of(row.values(name)) for name in ("transfer", "last"))
    if transfer is not None and (row.runs[0].stays or last is None):
        x, bottom = frame.at(transfer.mean, frame.y[0])
        mark.level = (x, frame.top, x, bottom)
        mark.tips.append(f"{row.label}: Transfer {spread_text(row.values('transfer'))}")
    elif transfer is None and last is not None:
        left, y = frame.at(frame.x[0], last.mean)
        mark.level = (left, y, frame.width - frame.right, y)
        mark.tips.append(f"{row.label}: Last {spread_text(row.values('last'))}")
    elif transfer is not None and last is not None:
        for run in row.runs:
            own = run.metrics.get("transfer"), run.metrics.get("last")
            if own[0] is not None and own[1] is not None:
                mark.dots.append(shape(mark.look.marker, frame.at(own[0], own[1]), 4))
                mark.tips.append(f"{run.name}: Transfer {percent(own[0])}, Last {percent(own[1])}")
        words = [f"{name.capitalize()} {spread_text(row.values(name))}" for name in ("transfer", "last")]
        mark.dots.append(shape(mark.look.marker, frame.at(transfer.mean, last.mean), 8))
        mark.tips.append(f"{row.label}, mean: {', '.join(words)}")
    return mark


def shape(marker: str, at: tuple[float, float], size: float) -> str:
    """A marker, called as matplotlib calls it, as the `d` of a path."""
    x, y = at
    corners = {
        "s": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
        "D": [(0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0)],
        "^": [(0, -1.1), (1.1, 0.9), (-1.1, 0.9)],
        "v": [(0, 1.1), (1.1, -0.9), (-1.1, -0.9)],
        "P": _plus(0.4, 1.1),
        "X": [_turned(corner) for corner in _plus(0.4, 1.2)],
        "*": [_on_circle(turn / 10, 1.4 if turn % 2 == 0 else 0.6) for turn in range(10)],
    }.get(marker)
    if corners is None:
        return f"M{x - size:g} {y:g}a{size:g} {size:g} 0 1 0 {2 * size:g} 0a{size:g} {size:g} 0 1 0 {-2 * size:g} 0Z"
    return "M" + "L".join(f"{x + dx * size:.1f} {y + dy * size:.1f}" for dx, dy in corners) + "Z"


def _plus(narrow: float, wide: float) -> list[tuple[float, float]]:
    n, w = narrow, wide
    return [(-n, -w), (n, -w), (n, -n), (w, -n), (w, n), (n, n), (n, w), (-n, w), (-n, n), (-w, n), (-w, -n), (-n, -n)]


def _turned(corner: tuple[float, float]) -> tuple[float, float]:
    x, y = corner
    return (x - y) / math.sqrt(2), (x + y) / math.sqrt(2)


def _on_circle(turn: float, radius: float) -> tuple[float, float]:
    return radius * math.sin(2 * math.pi * turn), -radius * math.cos(2 * math.pi * turn)


def _points(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def _range(values: Sequence[float | None], least: float) -> tuple[float, float]:
    """With some room around what is known, `least` percentage points at least."""
    known = [value for value in values if value is not None] or [0.0, 100.0]
    low, high = min(known), max(known)
    room = max(0.08 * (high - low), least / 2)
    return low - room, min(high + room, max(102.0, high + 0.5))


def _ticks(low: float, high: float) -> list[float]:
    step = next((step for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if (high - low) / step <= 6), 50)
    first = math.ceil(low / step)
    return [round(number * step, 1) for number in range(first, math.floor(high / step) + 1)]

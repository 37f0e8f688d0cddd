"""A comparison's two pictures as files: each task's accuracy over the stream, and Transfer against Last."""

from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from ..published.records import KINDS
from .beside import Beside, Point, points
from .compared import Comparison, Row
from .looks import DASHES, KIND_MARKERS, MOST_TICKS, PALETTE, looks
from .spread import Spread


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAKER = "mulki-hf compare"
PANELS = 5
"""In one row of the first picture."""
GREY = "0.35"
DPI = 120


def draw_curves(comparison: Comparison, path: Path) -> None:
    """A panel for each task: mean over the runs of a row, a band of one standard deviation, zero-shot levels dashed."""
    count = len(comparison.tasks)
    lines, width = -(-count // PANELS), max(6.0, 2.6 * min(count, PANELS) + 0.4)
    figure = _figure(width, 2.5 * lines + 0.7 + 0.2 * -(-len(comparison.rows) // 2))
    panels = figure.subplots(lines, min(count, PANELS), sharex=True, sharey=True, squeeze=False).ravel()
    for number, (task, axes) in enumerate(zip(comparison.tasks, panels, strict=False)):
        if len(comparison.orders) == 1:
            learned = comparison.orders[0].index(task)
            axes.axvspan(learned + 0.5, learned + 1.5, color="0.93", zorder=-1)
        for row, style in zip(comparison.rows, _styles(comparison), strict=True):
            _draw_curve(axes, row, task, style)
        axes.set_title(task, parse_math=False)
        axes.set_xticks(range(0, count + 1, -(-count // MOST_TICKS)))
        axes.grid(axis="y", color="0.92")
        axes.set_axisbelow(True)
        axes.tick_params(labelbottom=number + PANELS >= count)
    for axes in panels[count:]:
        axes.set_visible(False)
    for axes in panels[::PANELS]:
        axes.set_ylabel("accuracy in %")
    for axes in panels[max(0, count - PANELS) : count]:
        axes.set_xlabel("tasks learned")
    figure.suptitle(f"{comparison.protocol}: each task's accuracy over the stream")
    _add_legend(figure, panels[0])
    _save(figure, path)


def _draw_curve(axes: "Axes", row: Row, task: str, style: dict[str, Any]) -> None:
    points = {step: Spread.of(values) for step, values in row.curve(task).items()}
    known = {step: spread for step, spread in points.items() if spread is not None}
    if 0 in known:
        axes.axhline(known[0].mean, color="0.55", linestyle="--", linewidth=0.9, zorder=0)
    means = [spread.mean for spread in known.values()]
    # Nothing is known of the way there.
    line = "none" if row.runs[0].end_alone else style["line"]
    look = {name: style[name] for name in ("color", "marker", "label")}
    axes.plot([*known], means, linestyle=line, linewidth=1.5, markersize=4.5, **look)
    if line != "none":
        around = [spread.deviation or 0.0 for spread in known.values()]
        low, high = ([middle + sign * one for middle, one in zip(means, around, strict=True)] for sign in (-1, 1))
        axes.fill_between([*known], low, high, color=style["color"], alpha=0.18, linewidth=0)


def draw_transfer_last(comparison: Comparison, path: Path) -> None:
    """A small point a run, a large one for the mean of its row; what has only one of the two metrics is a line.

    Hollow: what was published.
    """
    published = points(comparison.beside or Beside())
    kinds = len({point.result.kind for point in published})
    width, height = (9.0, 5.5) if published else (7.0, 3.9)
    figure = _figure(width, height + 0.2 * -(-(len(comparison.rows) + kinds) // 2))
    axes = figure.subplots()
    for row, style in zip(comparison.rows, _styles(comparison), strict=True):
        pairs = [(run.metrics.get("transfer"), run.metrics.get("last")) for run in row.runs]
        whole = [(transfer, last) for transfer, last in pairs if transfer is not None and last is not None]
        if row.runs[0].stays or not whole:
            _draw_level(axes, row, style)
            continue
        across, up = zip(*whole, strict=True)
        look = {name: style[name] for name in ("color", "marker")}
        axes.scatter(across, up, s=22, alpha=0.5, **look)
        middle = {"s": 95, "edgecolor": "white", "linewidth": 0.8, "zorder": 3, "label": style["label"]}
        axes.scatter([mean(across)], [mean(up)], **look, **middle)
    _draw_published(axes, published)
    axes.set_xlabel("Transfer in %")
    axes.set_ylabel("Last in %")
    axes.set_title(f"{comparison.protocol}: Transfer against Last, a point a run, large the mean")
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    _add_legend(figure, axes)
    if published:
        _name(figure, axes, published)
    _save(figure, path)


def _draw_level(axes: "Axes", row: Row, style: dict[str, Any]) -> None:
    transfer, last = (Spread.of(row.values(name)) for name in ("transfer", "last"))
    line = {"color": style["color"], "label": style["label"], "linewidth": 1.2, "zorder": 0}
    if row.runs[0].stays and transfer is not None:
        axes.axvline(transfer.mean, linestyle="--", **line)
    elif last is not None:
        axes.axhline(last.mean, linestyle=":", **line)


def _draw_published(axes: "Axes", published: list[Point]) -> None:
    """Hollow and grey, a marker for each kind."""
    for kind, marker in zip(KINDS, KIND_MARKERS, strict=True):
        if own := [(point.transfer, point.last) for point in published if point.result.kind == kind]:
            across, up = zip(*own, strict=True)
            look: dict[str, Any] = {"marker": marker, "facecolor": "none", "edgecolor": GREY, "linewidth": 0.9}
            axes.scatter(across, up, s=26, zorder=2, label=f"published: {kind}", **look)


def _name(figure: "Figure", axes: "Axes", published: list[Point]) -> None:
    """The method's name beside each point, wherever it covers no other point and no other name."""
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()  # only now it is known where things lie
    scale, frame = figure.dpi / 72, axes.get_window_extent()
    places = [place for drawn in axes.collections for place in axes.transData.transform(drawn.get_offsets())]
    taken = [Bbox.from_bounds(x - 4 * scale, y - 4 * scale, 8 * scale, 8 * scale) for x, y in places]
    for point in published:
        for across, up in ((6, 2), (6, -6), (-6, 2), (-6, -6), (0, 7), (0, -11)):
            side = {1: "left", -1: "right", 0: "center"}[(across > 0) - (across < 0)]
            words = axes.annotate(
                point.name,
                (point.transfer, point.last),
                (across, up),
                textcoords="offset points",
                fontsize=6,
                color=GREY,
                ha=side,
            )
            words.set_parse_math(False)
            box = words.get_window_extent()
            if frame.x0 <= box.x0 and box.x1 <= frame.x1 and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            words.remove()


def _styles(comparison: Comparison) -> list[dict[str, Any]]:
    """Colour, marker, line and label of each row."""
    return [
        {
            "color": PALETTE[look.colour],
            "marker": look.marker,
            "line": (0, DASHES[look.dash]) if look.dash else "-",
            # Nothing in a name is mathematics.
            "label": row.label.replace("$", r"\$"),
        }
        for look, row in zip(looks(comparison), comparison.rows, strict=True)
    ]


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure  # here, because it takes a second that only who draws has to wait

    return Figure(figsize=(width, height), layout="constrained", dpi=DPI)


def _add_legend(figure: "Figure", axes: "Axes") -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize="small")


def _save(figure: "Figure", path: Path) -> None:
    figure.savefig(path, dpi=DPI, metadata={"Software": MAKER})

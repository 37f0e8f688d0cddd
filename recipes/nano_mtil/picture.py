"""The picture of nano-MTIL: Transfer against Last, a point a run."""

from pathlib import Path
from statistics import mean

from matplotlib.figure import Figure
from records import Record


MARKERS = "o*sD^vPX<>"
LINES = {"zero_shot": ("axvline", "transfer", "--"), "joint": ("axhline", "last", ":")}
"""Methods that are a line: of zero-shot there is nothing to learn, of joint nothing to transfer."""


def draw(grid: list[Record], path: Path) -> None:
    """A panel an order, a marker and a colour a method; zero-shot's Transfer and joint's Last as lines.

    Args:
        grid: the runs.
        path: of the PNG.
    """
    labels = list(dict.fromkeys(run.label for run in grid if run.method not in LINES))
    numbers = sorted({run.order for run in grid})
    figure = Figure(figsize=(2.2 + 3.4 * len(numbers), 3.9), layout="constrained")
    panels = figure.subplots(1, len(numbers), sharex=True, sharey=True, squeeze=False)[0]
    for number, axes in zip(numbers, panels, strict=True):
        for place, label in enumerate(labels):
            points = [run.metrics for run in grid if run.label == label and run.order == number]
            style = {"marker": MARKERS[place % len(MARKERS)], "color": f"C{place % 10}", "label": label, "alpha": 0.85}
            axes.scatter([run["transfer"] for run in points], [run["last"] for run in points], s=44, **style)
        for method, (line, metric, style) in LINES.items():
            # Joint's runs are of one order and stand for all.
            runs = [run for run in grid if run.method == method and (method == "joint" or run.order == number)]
            if runs:
                level = mean(run.metrics[metric] for run in runs)
                getattr(axes, line)(level, color="0.4", linestyle=style, linewidth=1, label=runs[0].label, zorder=0)
        axes.set_title(f"order {number}")
        axes.set_xlabel("Transfer in %")
        axes.grid(color="0.92")
        axes.set_axisbelow(True)
    panels[0].set_ylabel("Last in %")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", fontsize="small")
    figure.savefig(path, dpi=120)

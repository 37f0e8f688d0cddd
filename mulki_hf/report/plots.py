"""The two pictures of a stream: the accuracy matrix and each task's accuracy over the stream."""

from pathlib import Path
from typing import BinaryIO

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..results import StreamResults


def plot_accuracy_matrix(results: StreamResults, path: str | Path | BinaryIO, protocol: str | None = None) -> None:
    """Heat map: a row for zero-shot and each finished task, a column for each task; learned cells are framed.

    By `protocol`, without one the headline's.
    """
    protocol = protocol or results.protocol
    own = results.of(protocol)
    rows = np.array([own.zero_shot, *own.accuracy], dtype=float)
    names = [results.first_row, *(f"after {name}" for name in results.stage_names[: results.finished])]
    figure = Figure(figsize=(2.2 + 0.9 * len(results.tasks), 1.6 + 0.55 * len(rows)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(rows, vmin=0, vmax=100, cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(results.tasks)), results.names, rotation=30, ha="right", parse_math=False)
    axes.set_yticks(range(len(rows)), names, parse_math=False)
    axes.set_title(f"{results.subject}, {protocol}: accuracy in %", parse_math=False)
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            # A cell that was not measured is NaN, and left white.
            colour = "0.4" if np.isnan(value) else "white" if value < 60 else "black"
            axes.text(j, i, "-" if np.isnan(value) else f"{value:.1f}", ha="center", va="center", color=colour)
            if not results.elsewhere and i == (1 if results.stages else j + 1):
                corner = (j - 0.48, i - 0.46)
                axes.add_patch(Rectangle(corner, 0.96, 0.92, fill=False, edgecolor="white", linewidth=1.8))
    figure.colorbar(image, ax=axes)
    figure.savefig(path, dpi=120, format="png")


def plot_curves(results: StreamResults, path: str | Path | BinaryIO, protocol: str | None = None) -> None:
    """A panel for each task: its accuracy over the stream, its zero-shot level, and where it is learned.

    By `protocol`, without one the headline's.
    """
    protocol = protocol or results.protocol
    own, count = results.of(protocol), len(results.tasks)
    # As wide as the title at least.
    width = max(7.0, 2.6 * min(count, 5) + 0.4)
    figure = Figure(figsize=(width, 2.5 * -(-count // 5) + 0.4), layout="constrained")
    panels = figure.subplots(-(-count // 5), min(count, 5), sharex=True, sharey=True, squeeze=False).ravel()
    steps = range(results.finished + 1)
    for j, (name, axes) in enumerate(zip(results.names, panels, strict=False)):
        if results.learned and not results.elsewhere:
            learned = 0 if results.stages else j
            axes.axvspan(learned + 0.5, learned + 1.5, color="0.92")
        values = np.array([own.zero_shot[j], *(row[j] for row in own.accuracy)], dtype=float)
        axes.axhline(values[0], color="0.5", linestyle="--", linewidth=1, label=results.first_row)
        known = ~np.isnan(values)
        axes.plot(np.array(steps)[known], values[known], marker="o", label="accuracy")
        axes.set_title(name, parse_math=False)
        axes.set_ylim(-2, 102)
        axes.set_xticks(range(len(results.learned) + 1) if results.learned or not results.elsewhere else [])
        # Shared ticks are written below the lowest row alone, and the last one may not be full.
        axes.tick_params(labelbottom=j + 5 >= count)
    for axes in panels[count:]:
        axes.set_visible(False)
    for axes in panels[::5]:
        axes.set_ylabel("accuracy in %")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower right", ncols=2, fontsize="small")
    what, steps_are = "each task's accuracy over the stream (grey: where it is learned)", "tasks learned"
    if results.elsewhere:
        what = "accuracy on tasks of another stream" if results.learned else "each task's accuracy"
        steps_are = "tasks of its own stream learned" if results.learned else ""
    elif not results.learned:
        what = "each task's accuracy without any training"
    elif results.stages:
        steps_are = "before and after training on all tasks at once"
    figure.suptitle(f"{results.subject}, {protocol}: {what}", parse_math=False)
    figure.supxlabel(steps_are)
    figure.savefig(path, dpi=120, format="png")

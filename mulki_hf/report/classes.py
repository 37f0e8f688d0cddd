"""What a task's images were taken for, class by class: a table, a file of counts, a picture."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from ..markdown import text
from ..results import StreamResults
from .tables import csv_cell, markdown_table, percent


FOLDER = "classes"
"""Of these files, in that of the results."""
OUTSIDE = "other tasks"
"""The column of what was taken for a class that the task has not."""
WITH_NUMBERS, SPARSE = 20, 150
"""So many classes have the counts written into their cells; of more than so many not each is named."""


@dataclass
class Confusion:
    """One task's images by their class and by what a model took them for.

    Attributes:
        task: its name.
        model: whose answers they are, in words.
        protocol: which classes competed.
        classes: the task's `C` class names.
        counts (`C x (C + 1)`): images, a row for each class; the last column is of all classes of other tasks. A class
            of another task that has the same name counts as the task's own.
        mistakes: of each class what its images were most often taken for in its place, `TASK: CLASS` in another task,
            and how often; None where none was.
    """

    task: str
    model: str
    protocol: str
    classes: list[str]
    counts: list[list[int]]
    mistakes: list[tuple[str, int] | None]

    @classmethod
    def of(cls, results: StreamResults, position: int, model: str, counts: Sequence[Sequence[int]]) -> "Confusion":
        """From the `counts` (`C x N`) over all classes of the stream, task after task, by the headline's protocol."""
        task = results.tasks[position]
        columns = {name: number for number, name in enumerate(task.class_names)}
        stream = [(other.name, name) for other in results.tasks for name in other.class_names]
        own = np.array([columns.get(name, len(columns)) for _, name in stream])
        shown = [name if name in columns else f"{owner}: {name}" for owner, name in stream]
        folded, mistakes = np.zeros((len(columns), len(columns) + 1), dtype=int), []
        for number, row in enumerate(np.asarray(counts)):
            np.add.at(folded[number], own, row)
            wrong = np.where(own == number, 0, row)
            mistakes.append((shown[int(wrong.argmax())], int(wrong.max())) if wrong.any() else None)
        return cls(task.name, model, results.protocol, task.class_names, folded.tolist(), mistakes)

    def rows(self) -> list[tuple[str, int, int, float | None, str]]:
        """Of each class: name, images, how many were right, accuracy in percent, the commonest mistake in words."""
        rows = []
        for number, (name, row, mistake) in enumerate(zip(self.classes, self.counts, self.mistakes, strict=True)):
            images, right = sum(row), row[number]
            words = "" if mistake is None else f"{mistake[0]} ({mistake[1]})"
            rows.append((name, images, right, 100.0 * right / images if images else None, words))
        return rows


def class_table(confusion: Confusion) -> str:
    """Accuracy of each class, for a terminal."""
    rows = [["class", "images", "right", "accuracy", "most often taken for"]]
    for name, images, right, accuracy, mistake in confusion.rows():
        rows.append([text(name), str(images), str(right), percent(accuracy), text(mistake)])
    return markdown_table(rows)


def write_classes(confusion: Confusion, path: Path) -> None:
    """The same as CSV, with all digits."""
    header = ["class", "images", "right", "accuracy", "most_often_taken_for"]
    _write(path, header, [["" if cell is None else cell for cell in row] for row in confusion.rows()])


def write_counts(confusion: Confusion, path: Path) -> None:
    """The confusion matrix as CSV: a row for each class, a column for what its images were taken for."""
    header = ["class", *confusion.classes, OUTSIDE]
    _write(path, header, [[name, *row] for name, row in zip(confusion.classes, confusion.counts, strict=True)])


def _write(path: Path, header: list[str], rows: list[list]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([*map(csv_cell, row)] for row in [header, *rows])


def plot_confusion(confusion: Confusion, path: Path) -> None:
    """Heat map: in each row a class's images by what they were taken for, as a share of them."""
    counts = np.array(confusion.counts)
    names, columns = confusion.classes, [*confusion.classes, OUTSIDE]
    if confusion.protocol == "til":  # no other class competes
        counts, columns = counts[:, :-1], names
    size = len(names)
    few = size <= WITH_NUMBERS
    inches = max(3.5, (0.5 if few else 0.15) * size) + 0.09 * min(30, max(map(len, names)))
    figure = Figure(figsize=(inches + 2.0, inches + 1.2), layout="constrained")
    axes = figure.subplots()
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # The root of a share, so that mistakes can be told from none.
    image = axes.imshow(shares, norm=PowerNorm(0.5, 0, 100), cmap="viridis", aspect="equal")
    every, font = -(-size // SPARSE), "small" if few else 6
    for axis, labels in ((axes.xaxis, columns), (axes.yaxis, names)):
        ticks = [number for number in range(len(labels)) if number % every == 0 or number >= size]
        short = [name if len(name) <= 30 else f"{name[:29]}…" for name in (labels[number] for number in ticks)]
        axis.set_ticks(ticks, short, parse_math=False, fontsize=font)
    axes.tick_params(axis="x", rotation=90)
    axes.set_xlabel("taken for")
    axes.set_ylabel("class")
    if len(columns) > size:
        axes.axvline(size - 0.5, color="white", linewidth=2)
    for i, j in np.argwhere(counts > 0) if few else ():
        colour = "white" if shares[i, j] < 36 else "black"
        axes.text(j, i, str(counts[i, j]), ha="center", va="center", color=colour, fontsize="small")
    bar = figure.colorbar(image, ax=axes, label="% of the class's images", shrink=0.8, ticks=[0, 1, 5, 10, 25, 50, 100])
    bar.ax.yaxis.set_major_formatter("{x:g}")
    axes.set_title(f"{confusion.task}, {confusion.protocol}: {confusion.model}", parse_math=False, fontsize="medium")
    figure.savefig(path, dpi=120, bbox_inches="tight")

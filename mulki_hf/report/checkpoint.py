"""What stands beside a task's weights, so that its folder speaks for itself."""

from pathlib import Path

from ..results import StreamResults
from .model_card import save_card
from .plots import plot_accuracy_matrix, plot_curves


PICTURES = ("accuracy_matrix.png", "curves.png")


def describe_checkpoint(folder: Path, results: StreamResults) -> None:
    """Results so far, pictures and card, of `results` that may leave the machine."""
    results.save(folder)
    draw(results, folder)
    save_card(results, folder)


def draw(results: StreamResults, folder: Path) -> None:
    """The two pictures of a stream."""
    plot_accuracy_matrix(results, folder / PICTURES[0])
    plot_curves(results, folder / PICTURES[1])

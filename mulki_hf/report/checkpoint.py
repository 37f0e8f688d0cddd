"""What stands beside a task's weights, so that its folder speaks for itself."""

import dataclasses
from pathlib import Path

from ..hub.shareable import shareable
from ..results import StreamResults
from .model_card import save_card
from .plots import plot_accuracy_matrix, plot_curves


PICTURES = ("accuracy_matrix.png", "curves.png")


def describe_checkpoint(folder: Path, results: StreamResults) -> None:
    """Results so far, pictures and card; nothing that names people or machines."""
    about, artefact = results.about, results.artefact
    about = dataclasses.replace(about, settings=shareable(about.settings))
    artefact = artefact and dataclasses.replace(artefact, details=shareable(artefact.details))
    shared = dataclasses.replace(results, config=shareable(results.config), about=about, artefact=artefact)
    shared.save(folder)
    draw(shared, folder)
    save_card(shared, folder)


def draw(results: StreamResults, folder: Path) -> None:
    """The two pictures of a stream."""
    plot_accuracy_matrix(results, folder / PICTURES[0])
    plot_curves(results, folder / PICTURES[1])

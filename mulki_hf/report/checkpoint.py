"""What stands beside a task's weights, so that its folder speaks for itself."""

from pathlib import Path

from ..durable import replacing
from ..results import StreamResults
from .model_card import save_card
from .plots import plot_accuracy_matrix, plot_curves


def picture_names(protocols: list[str]) -> list[str]:
    """What [`draw`] writes: two pictures by the headline's protocol, the first, and two by each other."""
    endings = ["", *(f"_{protocol}" for protocol in protocols[1:])]
    return [f"{picture}{ending}.png" for ending in endings for picture in ("accuracy_matrix", "curves")]


def describe_checkpoint(folder: Path, results: StreamResults) -> None:
    """Results so far, pictures and card, of `results` that may leave the machine."""
    results.save(folder)
    draw(results, folder)
    save_card(results, folder)


def draw(results: StreamResults, folder: Path) -> None:
    """The two pictures of a stream, by each protocol."""
    names = picture_names(results.protocols)
    for protocol, matrix, curves in zip(results.protocols, names[::2], names[1::2], strict=True):
        for plot, name in ((plot_accuracy_matrix, matrix), (plot_curves, curves)):
            with replacing(folder / name) as picture:
                plot(results, picture, protocol)

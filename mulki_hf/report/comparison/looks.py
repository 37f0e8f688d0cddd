"""How a row looks in every picture: colour by what it is, line and marker by the order of its tasks too."""

from dataclasses import dataclass

from .compared import Comparison


PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#7a5195", "#5f6b76")
"""Okabe and Ito's colours, which colour-blind people can tell apart, the yellow darker; then two more."""
DARK_PALETTE = ("#4da6e8", "#ff8f4d", "#2fc79b", "#e2a3c7", "#e0b13c", "#8fd3ff", "#b58fd6", "#aab4c0")
"""The same on a dark ground."""
MARKERS = "osD^vPX*"
KIND_MARKERS = "osvDX"
"""Of published results, which are hollow, by their kind."""
DASHES = ((), (5.0, 2.0), (1.5, 1.5))
"""Lengths of line and gap, by the order of the tasks."""
MOST_TICKS = 12
"""On the axis of tasks learned."""


@dataclass
class Look:
    """Of one row.

    Attributes:
        colour: position in the palettes.
        marker: as matplotlib calls it.
        dash: position in `DASHES`.
    """

    colour: int
    marker: str
    dash: int


def looks(comparison: Comparison) -> list[Look]:
    """Of each row; no two are alike before there are many."""
    found = []
    for row in comparison.rows:
        again, colour = divmod(row.variant, len(PALETTE))
        order = (row.order or 1) - 1
        found.append(Look(colour, MARKERS[(colour + again + 3 * order) % len(MARKERS)], (order + again) % len(DASHES)))
    return found

"""Which of a CLIP's parameters are which tower."""

from dataclasses import dataclass, field
from typing import Literal

from torch import nn


TOWERS = {
    "both": ("vision_model", "visual_projection", "text_model", "text_projection"),
    "vision": ("vision_model", "visual_projection"),
    "text": ("text_model", "text_projection"),
}
"""The parts of each choice: towers with their projections. The logit scale belongs to none and is never trained."""

TOWER_WORDS = {"both": "both towers", "vision": "the vision tower", "text": "the text tower"}


@dataclass
class TowerArguments:
    """Which towers are trained."""

    _argument_group_name = "Towers"

    train_towers: Literal["both", "vision", "text"] | None = field(
        default=None,
        metadata={
            "help": "Towers to train, each with its projection: both, vision or text. Default: the method's own "
            "(both; vision for snd). The logit scale is never trained."
        },
    )

    def __post_init__(self):
        if self.train_towers not in (None, *TOWERS):
            raise ValueError(f"train_towers must be one of {', '.join(TOWERS)}, got {self.train_towers!r}")


def train_towers(model: nn.Module, towers: str) -> None:
    """Set `requires_grad`: the named towers with their projections, never the logit scale."""
    model.requires_grad_(False)
    for part in TOWERS[towers]:
        getattr(model, part).requires_grad_(True)


def trains(model: nn.Module, tower: str) -> bool:
    """Whether a parameter of `tower`, `vision` or `text`, has a gradient, be it an adapter's."""
    return any(p.requires_grad and any(part in name for part in TOWERS[tower]) for name, p in model.named_parameters())

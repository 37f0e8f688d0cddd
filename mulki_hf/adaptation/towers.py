"""Which of a CLIP's parameters are which tower."""

import math
from dataclasses import dataclass, field
from typing import Literal

from torch import nn
from torch.optim import Optimizer

from ..errors import ConfigurationError


TOWERS = {
    "both": ("vision_model", "visual_projection", "text_model", "text_projection"),
    "vision": ("vision_model", "visual_projection"),
    "text": ("text_model", "text_projection"),
}
"""The parts of each choice: towers with their projections, which SigLIP has inside of them.

The logit scale, and SigLIP's bias, belong to none and are never trained.
"""

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

    text_learning_rate: float | None = field(
        default=None,
        metadata={"help": "Peak learning rate of the text tower, where it is trained. Default: learning_rate."},
    )

    def __post_init__(self):
        if self.text_learning_rate is not None and not 0 <= self.text_learning_rate < math.inf:
            raise ValueError(f"text_learning_rate must be >= 0 and finite, got {self.text_learning_rate}")
        if self.train_towers not in (None, *TOWERS):
            raise ValueError(f"train_towers must be one of {', '.join(TOWERS)}, got {self.train_towers!r}")


def train_towers(model: nn.Module, towers: str) -> None:
    """Set `requires_grad`: the named towers with their projections, never the logit scale."""
    model.requires_grad_(False)
    for part in TOWERS[towers]:
        if hasattr(model, part):
            getattr(model, part).requires_grad_(True)


def trains(model: nn.Module, tower: str) -> bool:
    """Whether a parameter of `tower`, `vision` or `text`, has a gradient, be it an adapter's."""
    return any(p.requires_grad and any(part in name for part in TOWERS[tower]) for name, p in model.named_parameters())


def check_optimizer(optimizer: Optimizer | None, model: nn.Module) -> None:
    """Raise `ConfigurationError` for an optimizer of the user's that moves nothing which is to be trained."""
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    if optimizer is not None and not any(id(p) in trained for group in optimizer.param_groups for p in group["params"]):
        raise ConfigurationError(
            f"optimizers: the optimizer holds none of the {len(trained)} parameters that are trained; make it of those "
            "of the model as it is handed to the trainer, with its adapters"
        )


def set_text_rate(optimizer: Optimizer, model: nn.Module, rate: float) -> None:
    """Give the text tower's parameters a learning rate of their own, in groups that go on from those they are in."""
    text = {id(p) for name, p in model.named_parameters() if any(part in name for part in TOWERS["text"])}
    for group in list(optimizer.param_groups):
        own = [p for p in group["params"] if id(p) in text]
        if own:
            group["params"] = [p for p in group["params"] if id(p) not in text]
            optimizer.add_param_group({**group, "params": own, "lr": rate})
    # Of a tower that is not trained nothing is left.
    optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]

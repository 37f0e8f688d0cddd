"""A two-layer model for arithmetic on weights."""

import torch
from torch import nn


def make_model(seed: int = 0) -> nn.Sequential:
    """A trainable and a frozen layer."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[1].requires_grad_(False)
    return model


def copied(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}

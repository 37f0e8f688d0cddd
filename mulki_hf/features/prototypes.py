"""Textual and visual prototypes of a task's classes under a frozen model."""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..data.tables import Table
from ..objectives import Prototypes


PROTOTYPES_FILE = "prototypes.safetensors"


def compute_prototypes(features: Table, labels: Tensor, class_features: Tensor, chunk: int = 65536) -> Prototypes:
    """Prototypes of a task's classes under one model.

    Args:
        features: the model's features `(N, d)` of the task's training images, without crops.
        labels (`(N,)`, long): their classes.
        class_features (`(C, d)`): the model's own text features of the classes.
        chunk (`int`): images read at a time.
    """
    sums = torch.zeros(class_features.shape)
    for part in torch.arange(len(labels)).split(chunk):
        sums.index_add_(0, labels[part], features[part.numpy()])
    classes = labels.unique()
    visual = F.normalize(sums[classes], dim=-1)
    return Prototypes(class_features, visual.to(class_features.device), classes.to(class_features.device))


def save_prototypes(prototypes: Prototypes, path: str | Path) -> None:
    """Write `textual (C, d)`, `visual (K, d)` and `classes (K,)` as safetensors."""
    tensors = {name: getattr(prototypes, name).contiguous().cpu() for name in ("textual", "visual", "classes")}
    save_file(tensors, str(path), metadata={"format": "pt"})


def load_prototypes(path: str | Path) -> Prototypes:
    """Read what [`save_prototypes`] wrote."""
    return Prototypes(**load_file(str(path)))

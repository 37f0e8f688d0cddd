"""Textual and visual prototypes of a task's classes under a frozen teacher."""

from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader
from transformers.utils.logging import tqdm

from .images import encode_images
from .objectives import Prototypes


@torch.no_grad()
def compute_prototypes(
    model, loader: DataLoader, class_features: Tensor, accelerator: Accelerator, description: str
) -> Prototypes:
    """One pass of `model` over a task's training images; every rank ends with the same prototypes.

    Args:
        model: a frozen CLIP in eval mode.
        loader: prepared by `accelerator`; batches of `pixel_values` and `labels`, each image once, without crops.
        class_features (`(C, d)`): the model's own text features of the task's classes.
        description: shown beside the progress bar.
    """
    sums = torch.zeros_like(class_features)
    counts = torch.zeros(len(class_features), device=class_features.device)
    for batch in tqdm(loader, desc=description, leave=False):
        with accelerator.autocast():
            features = encode_images(model, batch["pixel_values"])
        features, labels = accelerator.gather_for_metrics((features, batch["labels"]))
        sums.index_add_(0, labels, features)
        counts.index_add_(0, labels, torch.ones_like(labels, dtype=counts.dtype))
    classes = counts.nonzero().squeeze(1)
    return Prototypes(textual=class_features, visual=F.normalize(sums[classes], dim=-1), classes=classes)


def save_prototypes(prototypes: Prototypes, path: str | Path) -> None:
    """Write `textual (C, d)`, `visual (K, d)` and `classes (K,)` as safetensors."""
    tensors = {name: getattr(prototypes, name).contiguous().cpu() for name in ("textual", "visual", "classes")}
    save_file(tensors, str(path), metadata={"format": "pt"})


def load_prototypes(path: str | Path) -> Prototypes:
    """Read what [`save_prototypes`] wrote."""
    return Prototypes(**load_file(str(path)))

"""A model asked to classify: scores of an image over classes, not features to be compared by somebody else."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import CLIPModel

from .encoding import encode_classes, encode_images


class Classifier(Protocol):
    """Scores over all classes of a stream, per image, never by what else is in the batch."""

    def features(self, pixel_values: Tensor) -> dict[str, Tensor]:
        """What is computed of the images `(B, 3, H, W)`, a row an image; kept between models whose images it suits."""
        ...

    def logits(self, features: dict[str, Tensor]) -> Tensor:
        """Scores `(B, N)` of the classes, task after task."""
        ...


class DualEncoder:
    """Both towers and a product: the zero-shot classifier of CLIP.

    Args:
        model ([`CLIPModel`]): in eval mode.
        classes (`(N, d)`): its class features, task after task.
    """

    def __init__(self, model: CLIPModel, classes: Tensor):
        self.model = model
        self.classes = classes

    def features(self, pixel_values: Tensor) -> dict[str, Tensor]:
        return {"image": encode_images(self.model, pixel_values)}

    def logits(self, features: dict[str, Tensor]) -> Tensor:
        return features["image"] @ self.classes.T


def classifier_of(
    model: Any, prompts: Sequence[tuple[dict[str, Tensor], int]], classes: Tensor | None = None
) -> Classifier:
    """How `model` classifies: as it says itself, in a method `classifier(prompts)`, else by both towers.

    Args:
        model: a [`CLIPModel`], or one that brings `classifier`.
        prompts: of each task, tokenised, and how many classes they are of.
        classes (`(N, d)`, *optional*): class features, where the text tower is one that was asked already.
    """
    if hasattr(model, "classifier"):
        return model.classifier(prompts)
    if classes is None:
        classes = torch.cat([encode_classes(model, ids, count) for ids, count in prompts])
    return DualEncoder(model, classes)

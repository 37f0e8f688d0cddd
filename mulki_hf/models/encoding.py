"""Features of images and of classes, in memory that stays bounded."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_outputs import BaseModelOutputWithPooling


@dataclass
class EncodingArguments:
    """How class prompts are read."""

    _argument_group_name = "Text tower"

    text_chunk: int = field(
        default=256,
        metadata={
            "help": "Prompts that a trained text tower reads at a time; with more, each part is computed again in the "
            "backward pass, so that memory stays bounded."
        },
    )

    def __post_init__(self):
        if self.text_chunk < 1:
            raise ValueError(f"text_chunk must be >= 1, got {self.text_chunk}")


@torch.no_grad()
def encode_images(model, pixel_values: Tensor) -> Tensor:
    """The model's L2-normalised image features `(B, d)` in fp32, without gradient.

    Mixed precision is the caller's: wrap the call in `accelerator.autocast()`.
    """
    features = model.get_image_features(pixel_values=pixel_values).pooler_output.float()
    return F.normalize(features, dim=-1)


def class_features(text_embeds: Tensor, num_classes: int) -> Tensor:
    """Mean of each class's normalised prompt features over the templates, normalised: `(C * M, d)` to `(C, d)`."""
    return F.normalize(text_embeds.view(num_classes, -1, text_embeds.shape[-1]).mean(dim=1), dim=-1)


@torch.no_grad()
def encode_classes(model, prompts: dict[str, Tensor], num_classes: int, chunk: int = 512) -> Tensor:
    """The model's class features `(C, d)` in fp32, without gradient, in chunks of prompts so that memory stays bounded.

    Mixed precision is the caller's: wrap the call in `accelerator.autocast()`.
    """
    embeds = [
        F.normalize(model.get_text_features(input_ids=ids.to(model.device)).pooler_output.float(), dim=-1)
        for ids in prompts["input_ids"].split(chunk)
    ]
    return class_features(torch.cat(embeds), num_classes)


@contextmanager
def chunked_text_tower(text_model: nn.Module, chunk: int) -> Iterator[None]:
    """While training, let a text tower read more than `chunk` prompts in chunks, computed again in the backward pass.

    The memory of a step is then that of one chunk, however many classes there are; the gradients stay the same. Prompts
    come without a mask, as [`tokenize_prompts`] makes them.
    """
    forward = text_model.forward

    def in_chunks(input_ids: Tensor, **kwargs) -> BaseModelOutputWithPooling:
        if len(input_ids) <= chunk or not torch.is_grad_enabled():
            return forward(input_ids=input_ids, **kwargs)

        def pooled(ids: Tensor) -> Tensor:
            return forward(input_ids=ids, **kwargs).pooler_output

        parts = [checkpoint(pooled, ids, use_reentrant=False) for ids in input_ids.split(chunk)]
        return BaseModelOutputWithPooling(pooler_output=torch.cat(parts))

    # An instance may have a forward of its own already.
    own = vars(text_model).get("forward")
    text_model.forward = in_chunks
    try:
        yield
    finally:
        del text_model.forward
        if own is not None:
            text_model.forward = own

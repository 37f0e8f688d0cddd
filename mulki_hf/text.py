"""Class names to prompts to class features."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutputWithPooling

from .errors import ConfigurationError


def tokenize_prompts(
    tokenizer: PreTrainedTokenizerBase, class_names: list[str], templates: list[str]
) -> dict[str, Tensor]:
    """What the text tower reads of every class in every template, class after class: `input_ids` of `(C * M, L)`.

    Prompts are padded to the longest, not to the model's maximum, and come without a mask: the causal text tower pools
    at EOS, so what comes behind it changes nothing. (To use a mask, transformers looks at its values in every step,
    which an accelerator has to wait for.) A prompt that would be cut is an error, since classes could become the same.

    Raises:
        ConfigurationError: a prompt is longer than the text tower reads.
    """
    prompts = [template.replace("{}", name) for name in class_names for template in templates]
    encoded = tokenizer(prompts, padding="longest", padding_side="right", return_tensors="pt")
    longest = encoded["input_ids"].shape[1]
    if longest > tokenizer.model_max_length:
        length = encoded["attention_mask"].sum(dim=1)
        worst = prompts[int(length.argmax())]
        raise ConfigurationError(
            f"prompt {worst!r} has {longest} tokens, the model reads {tokenizer.model_max_length}: "
            "shorten the template or the class name"
        )
    return {"input_ids": encoded["input_ids"]}


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

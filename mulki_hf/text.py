"""Class names to prompts to class features."""

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from .errors import ConfigurationError


def tokenize_prompts(
    tokenizer: PreTrainedTokenizerBase, class_names: list[str], templates: list[str]
) -> dict[str, Tensor]:
    """Token ids and mask of every class in every template, class after class: `(C * M, L)`.

    Prompts are padded to the longest, not to the model's maximum: the causal text tower pools at EOS, so what comes
    behind it changes nothing. A prompt that would be cut is an error, since classes could become the same prompt.

    Raises:
        ConfigurationError: a prompt is longer than the text tower reads.
    """
    prompts = [template.replace("{}", name) for name in class_names for template in templates]
    encoded = tokenizer(prompts, padding="longest", return_tensors="pt")
    longest = encoded["input_ids"].shape[1]
    if longest > tokenizer.model_max_length:
        length = encoded["attention_mask"].sum(dim=1)
        worst = prompts[int(length.argmax())]
        raise ConfigurationError(
            f"prompt {worst!r} has {longest} tokens, the model reads {tokenizer.model_max_length}: "
            "shorten the template or the class name"
        )
    return {name: encoded[name] for name in ("input_ids", "attention_mask")}


def class_features(text_embeds: Tensor, num_classes: int) -> Tensor:
    """Mean of each class's normalised prompt features over the templates, normalised: `(C * M, d)` to `(C, d)`."""
    return F.normalize(text_embeds.view(num_classes, -1, text_embeds.shape[-1]).mean(dim=1), dim=-1)


@torch.no_grad()
def encode_classes(model, prompts: dict[str, Tensor], num_classes: int, chunk: int = 512) -> Tensor:
    """The model's class features `(C, d)` in fp32, without gradient, in chunks of prompts so that memory stays bounded.

    Mixed precision is the caller's: wrap the call in `accelerator.autocast()`.
    """
    embeds = [
        F.normalize(
            model.get_text_features(
                input_ids=ids.to(model.device), attention_mask=mask.to(model.device)
            ).pooler_output.float(),
            dim=-1,
        )
        for ids, mask in zip(prompts["input_ids"].split(chunk), prompts["attention_mask"].split(chunk), strict=True)
    ]
    return class_features(torch.cat(embeds), num_classes)

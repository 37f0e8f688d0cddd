"""Class names to prompts."""

import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPProcessor

from ..errors import ConfigurationError, shown
from ..models.dual_encoders import padded_to


def tokenize_prompts(processor: CLIPProcessor, class_names: list[str], templates: list[str]) -> dict[str, Tensor]:
    """What the text tower reads of every class in every template, class after class: `input_ids` of `(C * M, L)`.

    Prompts are padded to the longest, not to the model's maximum, and come without a mask: CLIP's causal text tower
    pools at EOS, so what comes behind it changes nothing. (To use a mask, transformers looks at its values in every
    step, which an accelerator has to wait for.) SigLIP's reads without a mask, too, but always as many tokens. A prompt
    that would be cut is an error, since classes could become the same.

    Raises:
        ConfigurationError: a prompt is longer than the text tower reads.
    """
    return tokenize(processor, prompts_of(class_names, templates), "prompt", "shorten the template or the class name")


def prompts_of(class_names: list[str], templates: list[str]) -> list[str]:
    """The prompts of every class in every template, class after class."""
    return [template.replace("{}", name) for name in class_names for template in templates]


def tokenize(processor: CLIPProcessor, prompts: list[str], kind: str, advice: str) -> dict[str, Tensor]:
    """`input_ids` of texts, `(N, L)`, padded as the model wants it; one that would be cut is a `ConfigurationError`."""
    tokenizer, length = processor.tokenizer, padded_to(processor)
    # Where padding is read, it stands where it does for everybody who loads the model.
    side = "right" if length is None else tokenizer.padding_side
    encoded = tokenizer(prompts, padding="longest", padding_side=side, return_attention_mask=True, return_tensors="pt")
    ids = encoded["input_ids"]
    longest, limit = ids.shape[1], min(tokenizer.model_max_length, length or tokenizer.model_max_length)
    if longest > limit:
        worst = prompts[int(encoded["attention_mask"].sum(dim=1).argmax())]
        raise ConfigurationError(f"{kind} {shown(worst)} has {longest} tokens, the model reads {limit}: {advice}")
    if length is not None:
        missing = limit - longest
        ids = F.pad(ids, (0, missing) if side == "right" else (missing, 0), value=tokenizer.pad_token_id)
    return {"input_ids": ids}

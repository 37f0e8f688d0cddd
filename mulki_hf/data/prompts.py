"""Class names to prompts."""

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..errors import ConfigurationError, shown


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
    return tokenize(tokenizer, prompts_of(class_names, templates), "prompt", "shorten the template or the class name")


def prompts_of(class_names: list[str], templates: list[str]) -> list[str]:
    """The prompts of every class in every template, class after class."""
    return [template.replace("{}", name) for name in class_names for template in templates]


def tokenize(tokenizer: PreTrainedTokenizerBase, prompts: list[str], kind: str, advice: str) -> dict[str, Tensor]:
    """`input_ids` of texts, `(N, L)`, padded to the longest; a text that would be cut is a `ConfigurationError`."""
    encoded = tokenizer(prompts, padding="longest", padding_side="right", return_tensors="pt")
    longest = encoded["input_ids"].shape[1]
    if longest > tokenizer.model_max_length:
        length = encoded["attention_mask"].sum(dim=1)
        worst = prompts[int(length.argmax())]
        raise ConfigurationError(
            f"{kind} {shown(worst)} has {longest} tokens, the model reads {tokenizer.model_max_length}: {advice}"
        )
    return {"input_ids": encoded["input_ids"]}

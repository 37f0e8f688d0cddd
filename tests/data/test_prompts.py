"""Class names in templates, as token ids."""

import pytest
from support.tiny import tiny_processor

from mulki_hf.data.prompts import tokenize_prompts
from mulki_hf.errors import ConfigurationError


def test_order_is_class_after_class():
    tokenizer = tiny_processor().tokenizer
    prompts = tokenize_prompts(
        tiny_processor(), ["red", "greenish", "a blue one"], ["a {}.", "the colour {} on a wall"]
    )
    expected = ["a red.", "the colour red on a wall", "a greenish.", "the colour greenish on a wall"]
    for ids, text in zip(prompts["input_ids"].tolist(), expected, strict=False):
        own = tokenizer(text)["input_ids"]
        assert ids[: len(own)] == own and set(ids[len(own) :]) <= {tokenizer.pad_token_id}
    assert len(prompts["input_ids"]) == 6


def test_too_long_a_prompt_is_named_not_cut():
    fits = "x" * 75  # with start and end 77 tokens
    assert tokenize_prompts(tiny_processor(), [fits], ["{}"])["input_ids"].shape == (1, 77)
    with pytest.raises(ConfigurationError, match=f"'{fits}y' has 78 tokens, the model reads 77"):
        tokenize_prompts(tiny_processor(), ["red", fits + "y"], ["{}"])

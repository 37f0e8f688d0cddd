"""Words that name nothing, for holding a text tower where no class name is."""

from functools import lru_cache

import numpy as np
from transformers import PreTrainedTokenizerBase


COUNT = 256
_LETTERS = 3


# Every task asks the same tokenizer, and to go through the 900,000 tokens of MetaCLIP 2's takes half a minute.
@lru_cache(maxsize=1)
def random_words(tokenizer: PreTrainedTokenizerBase, count: int = COUNT) -> list[str]:
    """Pairs of words that the tokenizer's vocabulary has whole, always the same ones for a tokenizer.

    Two at random make sense to nobody, so that no class of a task to come is among them. A token each, they are short.
    """
    strings = {tokenizer.convert_tokens_to_string([token]).strip() for token in tokenizer.get_vocab()}
    letters = sorted(word for word in strings if word.isascii() and word.isalpha())
    long = [word for word in letters if len(word) >= _LETTERS] or letters
    tokens = tokenizer(long, add_special_tokens=False)["input_ids"]
    words = [word for word, ids in zip(long, tokens, strict=True) if len(ids) == 1] or long
    rng = np.random.default_rng(0)
    return [" ".join(words[number] for number in rng.integers(len(words), size=2)) for _ in range(count)]

"""Prompts beside the task's own: of earlier tasks' classes, of words that name nothing, and reference texts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPProcessor

from ..data.epochs import data_seed
from ..data.prompts import prompts_of, tokenize
from ..data.words import random_words
from ..objectives import Objective
from ..objectives.batch import PROMPT_PARTS


class PromptBank:
    """Some prompts, of which every step draws a part without replacement: a function of seed and step alone.

    Args:
        input_ids (`(N, L)`): the prompts.
        per_step (`int`): how many a step draws; 0: all, in order.
        seed: of the draws.

    Attributes:
        said (`dict[str, Tensor]`): by a model's name, its features `(N, d)` of the prompts.
    """

    def __init__(self, input_ids: Tensor, per_step: int = 0, seed: Sequence[int] = (0,)):
        self.input_ids = input_ids
        self.per_step = per_step if 0 < per_step < len(input_ids) else 0
        self.seed = tuple(seed)
        self.said: dict[str, Tensor] = {}
        self._step: int | None = None
        self._drawn = torch.empty(0, dtype=torch.long)

    @property
    def drawn(self) -> int:
        """How many prompts a step has."""
        return self.per_step or len(self.input_ids)

    def of_step(self, rows: Tensor, step: int) -> Tensor:
        """Of `rows`, one for each prompt, those that `step` draws: the same on every rank and after a resumption."""
        if not self.per_step:
            return rows
        if step != self._step:
            rng = np.random.default_rng((*self.seed, step))
            drawn = torch.from_numpy(rng.permutation(len(self.input_ids))[: self.per_step])
            self._drawn, self._step = drawn.to(self.input_ids.device), step
        return rows[self._drawn]


def prompt_banks(
    objective: Objective,
    processor: CLIPProcessor,
    earlier: Sequence[Any],
    texts: Sequence[str],
    args: Any,
) -> dict[str, PromptBank]:
    """The banks that `objective` needs, by the part of a batch that they fill: `earlier`, `words`, `texts`.

    Args:
        objective ([`Objective`]): its `needs` and `per_step`.
        processor ([`CLIPProcessor`]): the student's.
        earlier: the tasks learned before, with `class_names` and `templates`.
        texts: the reference texts.
        args ([`MulKIConfig`]): seed of the draws, device.

    Raises:
        ConfigurationError: a text is longer than the text tower reads.
    """
    prompts = {
        "earlier": lambda: [p for task in earlier for p in prompts_of(task.class_names, task.templates)],
        "words": lambda: random_words(processor.tokenizer),
        "texts": lambda: list(texts),
    }
    asked = {path.rpartition(".")[2] for path in objective.needs}
    banks = {}
    for number, part in enumerate(PROMPT_PARTS):
        if part in asked:
            advice = "shorten it or leave it out"
            unique = list(dict.fromkeys(prompts[part]()))
            ids = tokenize(processor, unique, NAMES[part], advice)["input_ids"] if unique else torch.empty(0, 1).long()
            seed = (data_seed(args), number)
            banks[part] = PromptBank(ids.to(args.device), objective.per_step.get(part, 0), seed)
    return banks


NAMES = {"earlier": "prompt of an earlier task", "words": "prompt", "texts": "reference text"}
"""What one is called in messages."""


def joined(parts: Sequence[Tensor], padding: int) -> Tensor:
    """Token ids `(N, L)` of several widths as one tensor, the narrower ones padded on the right."""
    width = max(ids.shape[1] for ids in parts)
    return torch.cat([F.pad(ids, (0, width - ids.shape[1]), value=padding) for ids in parts])

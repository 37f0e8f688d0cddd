"""What can go wrong in a way that a person can mend."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeAlias


Attempt: TypeAlias = Callable[[], AbstractContextManager]
"""Around each step of a check: `nullcontext` lets the first error end it, another may note it and go on."""


UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What no name or sentence holds: control characters, turns of the writing's direction, halves of characters."""


class _Told:
    """An error whose message says all: the command prints it without a traceback, and so does a notebook."""

    def _render_traceback_(self, *args: object) -> list[str]:
        return [f"{type(self).__name__}: {self}", *getattr(self, "__notes__", ())]


class ConfigurationError(_Told, ValueError):
    """Something the user gave (a field, a file, a dataset row, a model) can't be used.

    The message says what is wrong, where (task, dataset, column, row, file or field) and what to do.
    The command line prints it without a traceback and exits with status 1.
    """


class TrainingError(_Told, RuntimeError):
    """Training can't go on: a loss, a gradient norm or a weight is not finite, or the disk takes no more.

    The message names task, step and rows, or the file. Nothing of it was written; what was finished before stays. The
    command line prints it without a traceback and exits with status 1.
    """


class RankError(TrainingError):
    """Another rank of the run has failed; the message is what it said, or that it ended without a word."""


class UnreadableImage(TrainingError):
    """An image can't be read any more, which could be when training began; the message names task, row and file."""

    def __init__(self, message: str):
        # A data loader hands on what a worker met with its traceback as text, where the message stands last.
        super().__init__(message.rpartition(f"{UnreadableImage.__name__}: ")[2].strip())


class PushError(_Told, RuntimeError):
    """Checkpoints that did not reach the Hub: complete on disk, recorded as pending; nothing else went wrong."""


def printable(text: str) -> str:
    """`text` without what a terminal obeys: control characters but line breaks and tabs, and turns of direction.

    They are escaped, so that one can see who wrote some.
    """
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shown(value: object, length: int = 120) -> str:
    """`value` as a message shows it: on one line, characters that can't be seen escaped, shortened."""
    text = repr(value)
    return text if len(text) <= length else f"{text[: length * 2 // 3]}...{text[-length // 4 :]}"

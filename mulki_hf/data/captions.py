"""Reference texts: captions of no image in particular, from a dataset's column or a file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from datasets import Dataset

from ..errors import ConfigurationError, shown
from .rows import check_column


TEXT_FIELDS = ("reference_texts", "reference_text_dataset", "reference_text_column")
"""Where reference texts can be given: a file, a column of a dataset of their own, or one of the reference images'."""


def texts_of(rows: Dataset, column: str, where: str, used: np.ndarray | None = None) -> tuple[str, ...]:
    """The texts of a column, each once; of the `used` rows `(N,)`, bool, alone.

    Raises:
        ConfigurationError: there is no such column, it does not hold texts, or one of them is empty.
    """
    check_column(rows, column, f"reference_text_column: {where}")
    texts = rows.select_columns([column]).with_format("arrow")[:][column].to_pylist()
    numbers = range(len(texts)) if used is None else np.flatnonzero(used).tolist()
    for row in numbers:
        text = texts[row]
        if not isinstance(text, str) or not text.strip():
            raise ConfigurationError(
                f"{where}, row {row}: column {column!r} (reference_text_column) must hold texts, got {shown(text)}"
            )
    return tuple(dict.fromkeys(texts[row].strip() for row in numbers))


def read_texts(path: str) -> tuple[str, ...]:
    """The texts of a file with one a line, each once; empty lines are left out.

    Raises:
        ConfigurationError: the file can't be read, or there is no text in it.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        reason = f"it is not UTF-8 text ({error}); save it as UTF-8" if isinstance(error, UnicodeError) else error
        raise ConfigurationError(f"reference_texts: can't read {shown(path)}: {reason}") from error
    texts = tuple(dict.fromkeys(text for line in lines if (text := line.strip())))
    if not texts:
        raise ConfigurationError(f"reference_texts: {shown(path)} holds no text")
    return texts


def checked_texts(texts: Sequence[str], where: str) -> tuple[str, ...]:
    """The texts, each once.

    Raises:
        ConfigurationError: they are one string, or one of them is none or empty.
    """
    if isinstance(texts, str):
        raise ConfigurationError(f"{where} must be a list of texts, got the string {shown(texts)}")
    for number, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise ConfigurationError(f"{where}, number {number}: must be a text, got {shown(text)}")
    return tuple(dict.fromkeys(text.strip() for text in texts))

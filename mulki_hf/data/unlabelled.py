"""Unlabelled reference images and reference texts, for methods that hold a model by what it says of them."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from datasets import Dataset

from .captions import read_texts, texts_of
from .checked import content_fingerprint
from .config import DataArguments
from .rows import load_split, with_images


@dataclass(frozen=True)
class Reference:
    """The unlabelled reference images, and reference texts, which belong to no image.

    Attributes:
        images ([`datasets.Dataset`], *optional*): one column, `image`.
        dataset: where they come from, as the configuration names it.
        fingerprint (*optional*): of their content, as a task's; behind a dash that of the texts.
        texts: each once, in the order in which they first come.
        drawn_from (*optional*): how many rows there were, where some were drawn.
        text_dataset (*optional*): where the texts come from, if from a dataset of their own.
        text_license (*optional*): of that one, where it says one.
    """

    images: Dataset | None
    dataset: str | None = None
    fingerprint: str | None = None
    texts: tuple[str, ...] = ()
    drawn_from: int | None = None
    text_dataset: str | None = None
    text_license: str | None = None


def load_reference(config: DataArguments) -> Reference | None:
    """The unlabelled reference set, if there is one.

    Raises:
        ConfigurationError: images or texts are missing or unusable; the message names dataset, row or file.
    """
    reference = _texts_alone(config)
    if config.reference_dataset is None:
        return reference
    where = f"reference_dataset {config.reference_dataset!r}"
    rows = load_split(
        where,
        config.reference_dataset,
        config.reference_split,
        config.reference_config_name,
        None,
        config.reference_data_files,
        config.reference_revision,
    )
    drawn = draw(len(rows), config.reference_samples, config.reference_seed)
    if config.reference_text_column is not None and config.reference_text_dataset is None:
        reference = of_texts(texts_of(rows, config.reference_text_column, where, drawn))
    split = with_images(
        rows, config.reference_image_column, f"{where}, split {config.reference_split!r}", config, drawn
    )
    used = np.flatnonzero(split.used)
    images = split.images if len(used) == len(split.used) else split.images.select(used)
    fingerprint = content_fingerprint([(split.digests[used], np.zeros(len(used), dtype=np.int64))])
    if reference is not None:
        fingerprint = f"{fingerprint}-{reference.fingerprint}"
    return replace(
        reference or Reference(None),
        images=images,
        dataset=config.reference_dataset,
        fingerprint=fingerprint,
        drawn_from=None if drawn is None else len(rows),
    )


def draw(count: int, samples: int | None, seed: int) -> np.ndarray | None:
    """Which of `count` rows are used `(count,)`, bool: `samples` of them, drawn as SnD's code does; None: all."""
    if samples is None or samples >= count:
        return None
    drawn = np.zeros(count, dtype=bool)
    drawn[np.random.default_rng(seed).choice(count, samples, replace=False)] = True
    return drawn


def of_texts(texts: tuple[str, ...]) -> Reference:
    """Reference texts without images."""
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
    return Reference(None, fingerprint=digest, texts=texts)


def _texts_alone(config: DataArguments) -> Reference | None:
    """The reference texts that lie in a file or in a dataset of their own."""
    if config.reference_texts is not None:
        return of_texts(read_texts(config.reference_texts))
    if config.reference_text_dataset is None or config.reference_text_column is None:
        return None
    where = f"reference_text_dataset {config.reference_text_dataset!r}"
    rows = load_split(
        where,
        config.reference_text_dataset,
        config.reference_text_split,
        config.reference_text_config_name,
        revision=config.reference_text_revision,
    )
    texts = texts_of(rows, config.reference_text_column, where)
    return replace(of_texts(texts), text_dataset=config.reference_text_dataset, text_license=rows.info.license or None)

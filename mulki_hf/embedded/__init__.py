"""Datasets and a model that need no download: built from pip packages, or part of this one.

`import mulki_hf.embedded` needs none of the packages of the extras `quickstart` and `benchmark`; building a dataset
does.
"""

from pathlib import Path

from datasets import Dataset, DatasetDict

from .builder import EmbeddedBuilder
from .digits import Digits, Mnist
from .emoji import Emoji, Objects
from .glyphs import Greek, Letters
from .photographs import Photographs
from .reference import Reference
from .reference_large import ReferenceLarge
from .signs import Cards, Georgian, Operators


EMBEDDED_DATASETS: dict[str, type[EmbeddedBuilder]] = {
    builder.short_name: builder
    for builder in (
        Emoji,
        Letters,
        Greek,
        Digits,
        Mnist,
        Georgian,
        Operators,
        Cards,
        Objects,
        Photographs,
        Reference,
        ReferenceLarge,
    )
}
"""The builders by short name: what stands behind `embedded:` in a stream's `dataset`."""

EMBEDDED_MODELS = {"clip-nano": "clip_nano"}
"""The folders of the models inside this package, by the name a user gives."""


def load_embedded_dataset(name: str, split: str | None = None, cache_dir: str | None = None) -> Dataset | DatasetDict:
    """Load an embedded dataset, built on first use and then taken from the cache of `datasets`.

    Args:
        name (`str`): one of `EMBEDDED_DATASETS`, without the prefix `embedded:`.
        split (`str`, *optional*): `train`, `validation` or `test`, or a slice such as `train[:100]`; all
            splits by default.
        cache_dir (`str`, *optional*): where to cache; the cache folder of `datasets` by default.

    Raises:
        ValueError: there is no such dataset or split.
        ImportError: a package that the data are made from is not installed.
    """
    if name not in EMBEDDED_DATASETS:
        raise ValueError(f"no embedded dataset is called {name!r}; there are {', '.join(EMBEDDED_DATASETS)}")
    builder = EMBEDDED_DATASETS[name](cache_dir=cache_dir)
    builder.download_and_prepare()
    return builder.as_dataset(split=split)


def embedded_model_path(name: str) -> Path:
    """The folder of an embedded model, as `CLIPModel.from_pretrained` takes it.

    Raises:
        ValueError: there is no such model.
    """
    if name not in EMBEDDED_MODELS:
        raise ValueError(f"no embedded model is called {name!r}; there are {', '.join(EMBEDDED_MODELS)}")
    return Path(__file__).parent / EMBEDDED_MODELS[name]

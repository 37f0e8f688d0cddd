"""What the embedded datasets share: a `datasets` builder that needs pip packages instead of downloads."""

import importlib.metadata
import zlib
from abc import abstractmethod

import numpy as np
from datasets import GeneratorBasedBuilder, SplitGenerator, Version


class EmbeddedBuilder(GeneratorBasedBuilder):
    """Builds a dataset from installed packages, into the cache that every other dataset goes to.

    The cache folder is named after the versions of the packages as well, so that data drawn with another version of a
    font is drawn anew. A subclass sets the attributes, describes its features in `_info` and yields its examples from
    `_examples`.

    Attributes:
        short_name (`str`): the name behind `embedded:`.
        packages (`tuple[str, ...]`): the distributions, by their pip names, that the data are made from.
        license (`str`): of the pictures; becomes part of the dataset's `info`.
        extra (`str`, defaults to `"quickstart"`): the extra of mulki-hf that installs the packages.
        splits (`tuple[str, ...]`): names of the splits, the order in which they are built.

    Args:
        cache_dir (`str`, *optional*): where to cache; the cache folder of `datasets` by default.

    Raises:
        ImportError: one of the packages is not installed.
    """

    VERSION = Version("1.1.1")

    short_name: str
    packages: tuple[str, ...]
    license: str
    extra: str = "quickstart"
    splits: tuple[str, ...] = ("train", "validation", "test")

    def __init__(self, cache_dir: str | None = None):
        versions = "-".join(f"{package}-{self._installed_version(package)}" for package in self.packages)
        super().__init__(cache_dir=cache_dir, dataset_name=f"mulki_hf_{self.short_name}", hash=versions)

    def _installed_version(self, package: str) -> str:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError as error:
            raise ImportError(
                f"the embedded dataset {self.short_name!r} is made from the package {package}, which is not installed: "
                f'run pip install "mulki-hf[{self.extra}]"',
                name=package,
            ) from error

    def random(self, *key: str | int) -> np.random.Generator:
        """A generator that depends on the dataset and the key alone, not on what was drawn before."""
        return np.random.default_rng(zlib.crc32(repr((self.short_name, *key)).encode()))

    def _split_generators(self, dl_manager):
        return [SplitGenerator(name=split, gen_kwargs={"split": split}) for split in self.splits]

    def _generate_examples(self, split: str):
        yield from enumerate(self._examples(split))

    @abstractmethod
    def _examples(self, split: str):
        """The examples of a split, as dicts with the columns of `_info`."""

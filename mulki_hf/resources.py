"""This package as it is installed: its version, and the files that ship with it."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


PACKAGE = Path(__file__).parent

try:
    __version__ = version("mulki-hf")
except PackageNotFoundError:  # a clone that is not installed
    __version__ = "0+unknown"


def resource(name: str) -> Path:
    """A file or folder that ships, `recipes` or `model_cards/clip-nano.md`: inside a wheel, or beside the package in a
    clone.
    """
    installed = PACKAGE / name
    return installed if installed.exists() else PACKAGE.parent / name

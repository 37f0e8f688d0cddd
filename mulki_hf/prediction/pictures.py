"""Pictures of one's own: found in folders, read as the tasks' images are."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from PIL import Image, ImageOps, UnidentifiedImageError

from ..data.pixels import open_image
from ..errors import ConfigurationError, printable


SUFFIXES = (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Of the files that a folder is searched for; a file that is named may have any."""


class UnreadablePicture(ValueError):
    """A file that is no picture, or not a whole one."""


def find_pictures(places: Sequence[str | Path]) -> list[Path]:
    """The pictures of files and folders with all folders in these, each once; hidden ones stay out.

    Raises:
        ConfigurationError: a place is not there, or a folder has no picture.
    """
    found: dict[str, Path] = {}
    for place in map(Path, places):
        if not place.exists():
            raise ConfigurationError(f"images: there is no {str(place)!r}")
        own = _pictures_in(place) if place.is_dir() else [place]
        if not own:
            raise ConfigurationError(f"images: the folder {str(place)!r} has no pictures ({', '.join(SUFFIXES)})")
        for path in own:
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _pictures_in(folder: Path) -> list[Path]:
    own = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]
    return sorted(p for p in own if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def read_picture(path: str | Path | IO[bytes]) -> Image.Image:
    """As `datasets` and the pipelines of transformers read it: turned as its EXIF data say, RGB, an animation's first.

    Raises:
        UnreadablePicture: it can't be decoded, or has more pixels than memory should take.
    """
    try:
        with open_image(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except UnidentifiedImageError as error:
        raise UnreadablePicture("it is no picture, or of a kind that is not read") from error
    except Exception as error:  # decoders raise errors of many kinds; each is reported
        raise UnreadablePicture(f"{type(error).__name__}: {error}") from error


def called(path: str | Path) -> str:
    """A path as text that any file and any terminal takes: what is no character, or none that is seen, is escaped."""
    return printable(str(path)).replace("\n", "\\n").replace("\t", "\\t")

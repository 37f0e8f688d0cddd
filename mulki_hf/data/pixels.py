"""Images that can be opened without harm: a few bytes can claim billions of pixels, or be a program."""

import warnings
from pathlib import Path
from typing import IO

from PIL import Image, UnidentifiedImageError


def open_image(file: str | Path | IO[bytes]) -> Image.Image:
    """`PIL.Image.open`, for which more pixels than `PIL.Image.MAX_IMAGE_PIXELS` (89 million) are an error at once.

    Of itself it warns, and refuses twice as many; PostScript it would hand to Ghostscript.

    Raises:
        UnidentifiedImageError: it is PostScript.
        Image.DecompressionBombWarning, Image.DecompressionBombError: it has more; names both numbers.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        image = Image.open(file)
    if image.format == "EPS":
        raise UnidentifiedImageError("it is PostScript, which is a program and no picture")
    return image

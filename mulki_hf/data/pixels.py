"""Images of a size that memory takes: a few bytes can claim billions of pixels."""

import warnings
from pathlib import Path
from typing import IO

from PIL import Image


def open_image(file: str | Path | IO[bytes]) -> Image.Image:
    """`PIL.Image.open`, for which more pixels than `PIL.Image.MAX_IMAGE_PIXELS` (89 million) are an error at once.

    Of itself it warns, and refuses twice as many.

    Raises:
        Image.DecompressionBombWarning, Image.DecompressionBombError: it has more; names both numbers.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(file)

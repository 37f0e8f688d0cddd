"""The contact sheet: pictures as thumbnails, with bars of what models take them for."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ft2font import FT2Font
from matplotlib.patches import Rectangle
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .pictures import called, read_picture
from .predictions import Predictions


SHEET = "contact_sheet.png"
PAGES = 20
"""Pages that are drawn at most."""
MAKER = "mulki-hf predict"
"""Stands at the start of a page's file."""

# In pixels.
THUMBNAIL, BAR, LINE, GAP, EDGE = 132, 196, 24, 22, 24
DPI = 100
FIRST, OTHER, INK, FAINT, CHANGED = "#2a7de1", "#b9cdea", "#1c2530", "#66717e", "#b85c00"


def draw_sheets(predictions: Predictions, folder: Path) -> list[Path]:
    """Write `contact_sheet.png` and, for what does not fit, `contact_sheet-2.png`, ... up to `PAGES`.

    Further pages, of an earlier call, are deleted.

    A picture has its thumbnail and, for each model, a bar a class; where the first class is another one than the model
    before had, its name is orange. Characters that no font here has are written by
    their number, `\\u4e2d`.

    Returns:
        The pages, some pictures being on none of them where there are more than `PAGES` hold.
    """
    written = []
    for number, pictures in enumerate(_pages(predictions)):
        path = folder / (SHEET if number == 0 else SHEET.replace(".", f"-{number + 1}."))
        _Page(predictions, pictures).save(path)
        written.append(path)
    for path in pages_in(folder):
        if path not in written and _is_ours(path):
            path.unlink()
    return written


def pages_in(folder: Path) -> list[Path]:
    """What has the name of a page there."""
    return sorted(path for path in folder.glob("*") if re.fullmatch(r"contact_sheet(-\d+)?\.png", path.name))


def _is_ours(path: Path) -> bool:
    return path.is_file() and MAKER.encode() in path.read_bytes()[:2048]


def left_off(predictions: Predictions) -> int:
    """How many pictures no page has room for."""
    return max(0, len(predictions.pictures) - per_page(predictions) * PAGES)


def per_page(predictions: Predictions) -> int:
    """Pictures on a page: about as many as make it square."""
    models = len(predictions.models)
    return 12 if models == 1 else max(4, min(10, 2 * models))


def _pages(predictions: Predictions) -> Iterator[list[Path]]:
    size, pictures = per_page(predictions), predictions.pictures
    yield from (pictures[start : start + size] for start in range(0, min(len(pictures), size * PAGES), size))


class _Page:
    """A page in pixels, its origin at the top left."""

    def __init__(self, predictions: Predictions, pictures: list[Path]):
        self.models = predictions.models
        # One model: cards in columns; several: a line a picture.
        self.columns = min(3, len(pictures)) if len(self.models) == 1 else 1
        bars = max(len(said) for picture in pictures for said in predictions.of(picture))
        self.side = THUMBNAIL if len(self.models) == 1 else min(THUMBNAIL, max(100, bars * LINE - 18))
        self.height = max(self.side + 18, bars * LINE) + GAP
        self.top = EDGE + (24 if len(self.models) > 1 else 0)
        across = self.side + (GAP + BAR) * len(self.models) + GAP
        lines = -(-len(pictures) // self.columns)
        size = (2 * EDGE + across * self.columns - GAP, self.top + self.height * lines - GAP + EDGE)
        self.figure = Figure(figsize=(size[0] / DPI, size[1] / DPI), dpi=DPI, facecolor="white")
        self.canvas = FigureCanvasAgg(self.figure)
        self.axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, size[0]), ylim=(size[1], 0))
        self.axes.set_axis_off()
        if len(self.models) > 1:
            for number, model in enumerate(self.models):
                left = EDGE + self.side + GAP + number * (BAR + GAP)
                self.text(left, EDGE + 4, model, BAR, weight="bold", size=9.5)
        for number, picture in enumerate(pictures):
            line, column = divmod(number, self.columns)
            self.draw(picture, predictions, EDGE + column * across, self.top + line * self.height)
        self.axes.set(xlim=(0, size[0]), ylim=(size[1], 0))

    def draw(self, picture: Path, predictions: Predictions, left: float, top: float) -> None:
        image = _thumbnail(picture, self.side)
        height, width = image.shape[:2]
        x, y = left + (self.side - width) / 2, top + (self.side - height) / 2
        self.axes.imshow(image, extent=(x, x + width, y + height, y), aspect="auto", interpolation="nearest")
        self.axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor="0.8", linewidth=0.8))
        self.text(left, top + self.side + 9, called(picture.name), self.side, color=FAINT, size=8)
        for number, said in enumerate(predictions.of(picture)):
            x = left + self.side + GAP + number * (BAR + GAP)
            for place, (name, probability) in enumerate(said):
                y = top + place * LINE
                style: dict[str, Any] = {"color": INK}
                if place == 0:
                    changed = number > 0 and name != predictions.of(picture)[number - 1][0][0]
                    style = {"color": CHANGED if changed else INK, "weight": "bold"}
                self.text(x, y + 7, name, BAR - 48, **style)
                self.text(x + BAR, y + 7, f"{100 * probability:.1f}%", 48, color=FAINT, ha="right")
                self.axes.add_patch(Rectangle((x, y + 15), BAR, 4, color="0.93", linewidth=0))
                colour = FIRST if place == 0 else OTHER
                self.axes.add_patch(Rectangle((x, y + 15), BAR * probability, 4, color=colour, linewidth=0))

    def text(self, x: float, y: float, words: str, width: float, size: float = 9, **style: Any) -> None:
        """On one line at most `width` wide, shortened with an ellipsis."""
        words, families = legible(words)
        # None of a hundred characters fits any column.
        words = words if len(words) <= 100 else f"{words[:100]}…"
        options: dict[str, Any] = {"va": "center", "fontsize": size, "family": families, "parse_math": False}
        drawn, renderer = self.axes.text(x, y, words, **options | style), self.canvas.get_renderer()
        kept = len(words)
        while kept and drawn.get_window_extent(renderer).width > width:
            kept -= 1
            drawn.set_text(f"{words[:kept].rstrip()}…")

    def save(self, path: Path) -> None:
        self.canvas.draw()
        info = PngInfo()
        info.add_text("Software", MAKER)
        Image.fromarray(np.asarray(self.canvas.buffer_rgba())[..., :3]).save(path, optimize=True, pnginfo=info)


def _thumbnail(picture: Path, side: int) -> np.ndarray:
    """At most `side` pixels wide and high; small pictures are enlarged by whole pixels."""
    image = read_picture(picture)
    factor = side // max(image.size)
    if factor > 1:
        return np.asarray(image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST))
    image.thumbnail((side, side))
    return np.asarray(image)


def legible(words: str) -> tuple[str, list[str]]:
    """`words` on one line, and the families of fonts that have all its characters; what none has, by its number."""
    words = " ".join(words.split())
    families, written = ["DejaVu Sans"], ""
    for character in words:
        family = _family_of(character)
        if family is None:
            written += character.encode("unicode_escape").decode()
            continue
        if family not in families:
            families.append(family)
        written += character
    return written, families


@cache
def _family_of(character: str) -> str | None:
    """The first family, by default matplotlib's own, that has a character."""
    if ord(character) in _characters(font_manager.findfont(FontProperties(family="DejaVu Sans"))):
        return "DejaVu Sans"
    fonts = sorted(font_manager.fontManager.ttflist, key=lambda font: (font.style, font.name))
    return next((font.name for font in fonts if ord(character) in _characters(font.fname)), None)


@cache
def _characters(path: str) -> frozenset[int]:
    try:
        font = FT2Font(path)
        # Fonts of coloured pictures can't be drawn with.
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except (OSError, RuntimeError):
        return frozenset()

"""Drawing characters of a font as small, varied pictures that depend on nothing but the random generator given."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont


SIDE = 64
"""Width and height in pixels of every drawn picture."""

_FONT_SIZE = 128
_COARSEST_BLUR = 1.2

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """How far pictures may differ from an upright character in the middle.

    Attributes:
        scale (`tuple[float, float]`): smallest and largest share of the picture's side that the character's
            longer side takes.
        rotation (`float`): largest rotation in degrees, either way.
        shear (`float`, defaults to 0): largest horizontal shear, as a slope.
        shift (`float`, defaults to 0.08): largest shift along each axis, as a share of the picture's side; less
            where the character would leave the picture.
        flip (`bool`, defaults to `False`): mirror every second picture.
        blur (`float`, defaults to 0): chance of a Gaussian blur of up to 1.2 pixels.
        noise (`float`, defaults to 0): largest standard deviation of Gaussian noise, in grey levels of 256.
    """

    scale: tuple[float, float]
    rotation: float
    shear: float = 0.0
    shift: float = 0.08
    flip: bool = False
    blur: float = 0.0
    noise: float = 0.0


def matplotlib_font(stem: str) -> Path:
    """The file of one of the fonts that matplotlib ships, by its name without `.ttf`."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{stem}.ttf"


@cache
def characters_of(font: Path) -> frozenset[int]:
    """The code points that the font has a glyph for."""
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(font)).get_charmap())


def sprite(character: str, font: Path, ink: Colour | None = None) -> Image.Image:
    """The character cut out along its outline (RGBA, about 128 pixels high), in one colour or in the font's own.

    Raises:
        ValueError: the font has no such glyph, or it is blank. Pillow would draw a box in its place.
    """
    if ord(character) not in characters_of(font):
        raise ValueError(f"font {font.name} has no glyph for U+{ord(character):04X}")
    loaded = _load(font)
    left, top, right, bottom = loaded.getbbox(character)
    canvas = Image.new("RGBA", (int(right - left) + 8, int(bottom - top) + 8), (*(ink or (0, 0, 0)), 0))
    ImageDraw.Draw(canvas).text(
        (4 - left, 4 - top), character, font=loaded, fill=ink or (0, 0, 0), embedded_color=ink is None
    )
    box = canvas.getchannel("A").getbbox()
    if box is None:
        raise ValueError(f"font {font.name} draws nothing for U+{ord(character):04X}")
    return canvas.crop(box)


@cache
def _load(font: Path) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(font), _FONT_SIZE, layout_engine=ImageFont.Layout.BASIC)


def picture(cut_out: Image.Image, background: Image.Image, look: Look, rng: np.random.Generator) -> Image.Image:
    """Lay the sprite over the background (RGB, `SIDE` pixels square), varied at random within the look."""
    side = background.width
    if look.flip and rng.random() < 0.5:
        cut_out = cut_out.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    target = rng.uniform(*look.scale) * side
    # Shrink with a filter first: the affine transform samples points and would break thin strokes up.
    factor = target / max(cut_out.size)
    cut_out = cut_out.resize([max(1, round(length * factor)) for length in cut_out.size], Image.Resampling.LANCZOS)

    angle = np.deg2rad(rng.uniform(-look.rotation, look.rotation))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    forward = turn @ np.array([[1.0, rng.uniform(-look.shear, look.shear)], [0.0, 1.0]])
    extent = np.abs(forward) @ np.array(cut_out.size)
    room = np.clip((side - extent) / 2, 0, look.shift * side)
    # A turned sprite can be larger than the picture; it is shrunk to fit so that nothing is cut off.
    forward *= min(1.0, side / extent.max())
    inverse = np.linalg.inv(forward)
    centre = side / 2 + rng.uniform(-1, 1, size=2) * room
    offset = np.array(cut_out.size) / 2 - inverse @ centre
    layer = cut_out.transform(
        (side, side),
        Image.Transform.AFFINE,
        (*inverse[0], offset[0], *inverse[1], offset[1]),
        Image.Resampling.BICUBIC,
    )
    image = Image.alpha_composite(background.convert("RGBA"), layer).convert("RGB")
    if rng.random() < look.blur:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, _COARSEST_BLUR)))
    if look.noise:
        pixels = np.asarray(image) + rng.normal(0, rng.uniform(0, look.noise), (side, side, 1))
        image = Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
    return image


def plain(colour: Colour) -> Image.Image:
    """A background of one colour."""
    return Image.new("RGB", (SIDE, SIDE), colour)


def gradient(first: Colour, second: Colour, rng: np.random.Generator) -> Image.Image:
    """A background that runs from one colour to another in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    position = np.linspace(-1, 1, SIDE)
    ramp = np.cos(angle) * position[None, :] + np.sin(angle) * position[:, None]
    share = ((ramp - ramp.min()) / np.ptp(ramp))[..., None]
    pixels = (1 - share) * np.array(first) + share * np.array(second)
    return Image.fromarray(np.rint(pixels).astype(np.uint8))


def colour(rng: np.random.Generator, darkest: int = 0) -> Colour:
    """A random colour; no channel is below `darkest` (0 to 255)."""
    return tuple(rng.integers(darkest, 256, size=3).tolist())


def contrasting_colours(rng: np.random.Generator, contrast: float = 90.0) -> tuple[Colour, Colour]:
    """Two random colours whose brightness differs by at least `contrast` of 255 grey levels."""
    while True:
        ink, ground = colour(rng), colour(rng)
        if abs(_brightness(ink) - _brightness(ground)) >= contrast:
            return ink, ground


def _brightness(rgb: Colour) -> float:
    return float(np.dot(rgb, (0.299, 0.587, 0.114)))

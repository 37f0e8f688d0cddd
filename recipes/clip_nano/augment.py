"""Batched augmentation of the corpus's RGBA pictures into the model's 32-pixel RGB images."""

import torch
import torch.nn.functional as F
from torch import Tensor


SIDE = 32


def augment(rgba: Tensor, glyph: Tensor, generator: torch.Generator) -> Tensor:
    """Random view of each picture.

    Glyphs are recoloured, thickened or thinned, and at times drawn at a very low resolution; every picture is moved,
    turned, sheared, bent, composed over a random ground, and disturbed by contrast, blur and noise.

    Args:
        rgba (`(B, 4, S, S)`): in 0..1, not premultiplied.
        glyph (`(B,)`, bool): whose colour is free, since only the alpha carries the character.
        generator: source of all randomness.

    Returns:
        `Tensor`: `(B, 3, 32, 32)` in 0..1.
    """

    def uniform(*shape, low=0.0, high=1.0):
        return torch.rand(*shape, generator=generator) * (high - low) + low

    count = len(rgba)
    alpha = _strokes(rgba[:, 3:].clone(), glyph, uniform(count))
    foreground, ground = _colours(count, glyph, uniform)
    colour = torch.where(glyph[:, None, None, None], foreground, rgba[:, :3])
    layers = torch.cat([colour * alpha, alpha], dim=1)
    layers = F.grid_sample(layers, _grid(count, glyph, uniform, generator), align_corners=False, padding_mode="zeros")
    image = layers[:, :3] + ground * (1 - layers[:, 3:])

    image = _low_resolution(image, glyph & (uniform(count) < 0.3), int(uniform(1, low=8, high=15)))
    blurred, grey = uniform(count) < 0.15, uniform(count) < 0.1
    image[blurred] = F.avg_pool2d(image[blurred], 3, stride=1, padding=1)
    image[grey] = image[grey].mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    contrast = uniform(count, 1, 1, 1, low=0.65, high=1.3)
    brightness = uniform(count, 1, 1, 1, low=-0.12, high=0.12)
    noise = torch.randn(image.shape, generator=generator) * uniform(count, 1, 1, 1, high=0.06)
    return ((image - 0.5) * contrast + 0.5 + brightness + noise).clamp(0, 1)


def _strokes(alpha: Tensor, glyph: Tensor, draw: Tensor) -> Tensor:
    """Thickens about a third of the glyphs and thins those of a sixth that have strokes wide enough to survive it."""
    thicker, thinner = glyph & (draw < 0.35), glyph & (draw > 0.85)
    alpha[thicker] = F.max_pool2d(alpha[thicker], 3, stride=1, padding=1)
    thin = -F.max_pool2d(-alpha[thinner], 3, stride=1, padding=1)
    survives = (thin.flatten(1).sum(1) > 0.5 * alpha[thinner].flatten(1).sum(1))[:, None, None, None]
    alpha[thinner] = torch.where(survives, thin, alpha[thinner])
    return alpha


def _colours(count: int, glyph: Tensor, uniform) -> tuple[Tensor, Tensor]:
    """Foreground and ground, `(B, 3, 1, 1)` each: white on black, black on white, or random with enough contrast."""
    foreground, ground = uniform(count, 3), uniform(count, 3)
    close = (foreground.mean(1) - ground.mean(1)).abs() < 0.3
    foreground[close] = (ground[close].mean(1, keepdim=True) < 0.5).float().expand(-1, 3)
    style = uniform(count)
    white_on_black, black_on_white = glyph & (style < 0.4), glyph & (style > 0.8)
    foreground[white_on_black], ground[white_on_black] = 1.0, 0.0
    foreground[black_on_white], ground[black_on_white] = 0.0, 1.0
    ground[~glyph & (style < 0.5)] = 1.0
    return foreground[..., None, None], ground[..., None, None]


def _grid(count: int, glyph: Tensor, uniform, generator) -> Tensor:
    """Sampling grid `(B, 32, 32, 2)`: affine, and for half of the glyphs a smooth bend."""
    angle = uniform(count, low=-0.3, high=0.3)
    scale = torch.where(glyph, uniform(count, low=0.95, high=1.75), uniform(count, low=0.9, high=1.5))
    aspect = uniform(count, low=0.8, high=1.25)
    shear = torch.where(glyph, uniform(count, low=-0.3, high=0.3), uniform(count, low=-0.1, high=0.1))
    slack = (scale - 0.85).clamp(min=0.05)
    move = uniform(count, 2, low=-0.5, high=0.5) * slack[:, None]
    cos, sin = angle.cos(), angle.sin()
    rows = [scale * cos * aspect, scale * (shear - sin), scale * (sin + 0.0), scale * cos / aspect]
    matrix = torch.stack([rows[0], rows[1], move[:, 0], rows[2], rows[3], move[:, 1]], dim=1).view(count, 2, 3)
    grid = F.affine_grid(matrix, [count, 1, SIDE, SIDE], align_corners=False)
    bend = torch.randn(count, 2, 4, 4, generator=generator) * (glyph & (uniform(count) < 0.5))[:, None, None, None]
    bend = F.interpolate(bend, size=(SIDE, SIDE), mode="bicubic", align_corners=False)
    return grid + 0.09 * bend.permute(0, 2, 3, 1)


def _low_resolution(image: Tensor, chosen: Tensor, side: int) -> Tensor:
    """The chosen images scaled down to `side` pixels and up again."""
    small = F.interpolate(image[chosen], size=(side, side), mode="area")
    image[chosen] = F.interpolate(small, size=(SIDE, SIDE), mode="bicubic", align_corners=False)
    return image

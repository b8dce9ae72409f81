"""A colour for every lesion, the same in segments, pictures and Slicer, and in every session.

Lesions with neighbouring ids get colours far apart. All are bright enough for outlines on a dark
scan and dark enough to be told apart from white.
"""

from __future__ import annotations

import math
from functools import cache

Colour = tuple[float, float, float]
"""Red, green and blue, 0 to 1."""

# Steps by the golden angle never come back to a hue they have been at, and spread evenly over the
# circle however many there are. Lightness cycles so that hues that come close differ in it.
_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
_FIRST_HUE = math.radians(25)
_LIGHTNESS = (0.70, 0.82, 0.60)
_CHROMA = 0.17

# Björn Ottosson, "A perceptual color space for image processing" (2020): OKLab to linear sRGB.
_TO_CONE_ROOTS = (
    (1.0, 0.3963377774, 0.2158037573),
    (1.0, -0.1055613458, -0.0638541728),
    (1.0, -0.0894841775, -1.2914855480),
)
_TO_LINEAR_RGB = (
    (4.0767416621, -3.3077115913, 0.2309699292),
    (-1.2684380046, 2.6097574011, -0.3413193965),
    (-0.0041960863, -0.7034186147, 1.7076147010),
)


@cache
def lesion_colour(lesion_id: int) -> Colour:
    """Return the colour of a lesion."""
    hue = _FIRST_HUE + (lesion_id - 1) * _GOLDEN_ANGLE
    lightness = _LIGHTNESS[(lesion_id - 1) % len(_LIGHTNESS)]
    # What a screen cannot show loses saturation; to cut off single channels would change its hue.
    chroma = _CHROMA
    linear = _linear_rgb(lightness, chroma, hue)
    while min(linear) < 0 or max(linear) > 1:
        chroma *= 0.95
        linear = _linear_rgb(lightness, chroma, hue)
    red, green, blue = (round(_encoded(part), 4) for part in linear)
    return red, green, blue


def _linear_rgb(lightness: float, chroma: float, hue: float) -> Colour:
    lab = (lightness, chroma * math.cos(hue), chroma * math.sin(hue))
    cones = tuple(_dot(row, lab) ** 3 for row in _TO_CONE_ROOTS)
    red, green, blue = (_dot(row, cones) for row in _TO_LINEAR_RGB)
    return red, green, blue


def _dot(row: Colour, vector: Colour) -> float:
    return sum(a * b for a, b in zip(row, vector, strict=True))


def _encoded(linear: float) -> float:
    """Apply the sRGB transfer curve (IEC 61966-2-1)."""
    return 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055

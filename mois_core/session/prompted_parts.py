"""Which components of a prompted slice's mask belong to the lesion.

The network may mark something elsewhere on the slice that nobody asked for.
"""

from __future__ import annotations

import numpy as np

from mois_core.session.components import touching_parts
from mois_core.session.lesion import Lesion

SAME_DIGITS = 6
"""Digits behind the point to which two squared distances in pixels are the same."""


def prompted_parts(
    lesion: Lesion, slice_index: int, image: np.ndarray, before: np.ndarray | None
) -> np.ndarray:
    """Return the components that the user's prompts are in, or are nearest to.

    A correction leaves those parts of the mask ``before`` alone that it says nothing about; what a
    negative click cuts off from the other prompts goes. Where only negative clicks are on the
    slice, and nothing was before, nothing says which components are meant.
    """
    seeds = _prompted_places(lesion, slice_index, image)
    if before is not None:
        seeds |= before & ~_denied_parts(lesion, slice_index, before)
    elif not seeds.any():
        return image
    return touching_parts(image, seeds)


def _prompted_places(lesion: Lesion, slice_index: int, image: np.ndarray) -> np.ndarray:
    """Return the pixels of a mask that are nearest to positive clicks, and all of a box."""
    seeds = np.zeros_like(image)
    pixels = np.argwhere(image)
    if not len(pixels):
        return seeds
    for click in lesion.clicks_on(slice_index):
        if click.positive:
            # Of two equally near it is the first, whatever the click's place was rounded to.
            squares = np.square(pixels - (click.y, click.x)).sum(axis=1)
            seeds[tuple(pixels[np.round(squares, SAME_DIGITS).argmin()])] = True
    box = lesion.box_on(slice_index)
    if box is not None:
        rows = slice(round(box.y0), round(box.y1) + 1)
        seeds[rows, round(box.x0) : round(box.x1) + 1] = True
    return seeds


def _denied_parts(lesion: Lesion, slice_index: int, before: np.ndarray) -> np.ndarray:
    """Return the components of a mask that a negative click is in and that other prompts hold.

    Where nothing else says what is meant, the click takes away no more than the network does.
    """
    denied = np.zeros_like(before)
    for click in lesion.clicks_on(slice_index):
        if not click.positive:
            denied[_pixel(click.y, click.x, before.shape)] = True
    parts = touching_parts(before, denied)
    return touching_parts(parts, _prompted_places(lesion, slice_index, before))


def _pixel(y: float, x: float, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the pixel that a place on a slice is in."""
    row, column = np.clip((round(y), round(x)), 0, np.subtract(shape, 1)).tolist()
    return row, column

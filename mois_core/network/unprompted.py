"""Where a click begins: with what the network marks there by itself, without any prompt.

Two layers of attention on a map of one place per 16 pixels know what is a lesion and what a click
is near to, but hardly how far a large lesion goes on. What is connected with the click can be told
exactly, if the network was taught to mark every lesion (`mois_core/training/places_loss.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from mois_core.network.config import MASK_STRIDE, Size
from mois_core.network.holes import EIGHT_CONNECTED
from mois_core.network.prompt_encoder import NEGATIVE, POSITIVE

UNMARKED_LOGIT = -8.0
"""Logit of lesions that no point is in."""


def with_marked(
    before: Tensor | None, marked: Tensor, origin: Size, points: Tensor, labels: Tensor
) -> Tensor | None:
    """Return masks (B, 1, low rows, low columns) with what is marked at the positive points.

    ``before`` are the masks that are corrected, so that only the last point is new; without them
    all points are, and if none is positive there is no mask. A part that a negative point is in is
    not added. ``marked`` (1 or B, 1, low rows, low columns) are logits of any lesion on slices, or
    on crops that begin at the row and column ``origin``; ``points`` (B, n, (x, y)) are in model
    pixels of whole slices.
    """
    pixels = ((points + 0.5 - points.new_tensor(origin[::-1])) / MASK_STRIDE).floor().long()
    own = list(zip(pixels.tolist(), labels.tolist(), strict=True))
    denied = [_labelled(NEGATIVE, *one) for one in own]
    if before is not None:
        own = [(places[-1:], kinds[-1:]) for places, kinds in own]
    clicked = [_labelled(POSITIVE, *one) for one in own]
    if before is None:
        if not any(clicked):
            return None
        before = marked.masked_fill(marked > 0, UNMARKED_LOGIT)
    planes = [_named_parts(plane) for plane in (marked[:, 0] > 0).cpu().numpy()]
    planes *= len(clicked) // len(planes)
    each = zip(planes, clicked, denied, strict=True)
    parts = np.stack([_parts_at(plane, yes) & ~_parts_at(plane, no) for plane, yes, no in each])
    is_part = torch.from_numpy(parts)[:, None].to(marked.device)
    return torch.where(is_part, torch.maximum(before, marked), before)


def _labelled(label: int, pixels: Sequence, labels: Sequence[int]) -> list[tuple[int, int]]:
    """Return those pixels that have a label."""
    return [pixel for pixel, own in zip(pixels, labels, strict=True) if own == label]


def _named_parts(plane: np.ndarray) -> np.ndarray:
    """Return the number of the connected part that each pixel [rows, columns] is in, or 0."""
    return ndimage.label(plane, structure=EIGHT_CONNECTED)[0]


def _parts_at(parts: np.ndarray, pixels: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the parts at or next to any of some pixels, each given as column and row."""
    names = [name for column, row in pixels if (name := _part_at(parts, row, column))]
    return np.isin(parts, names)


def _part_at(parts: np.ndarray, row: int, column: int) -> int:
    """Return the number of the part at a pixel, or of the one with most of its neighbours, or 0."""
    row, column = np.clip((row, column), 0, np.subtract(parts.shape, 1))
    counts = np.bincount(parts[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].ravel())
    counts[0] = 0
    return int(parts[row, column] or counts.argmax())

"""A clicked place is what the click says, and its surroundings follow.

A network may leave the mask at a click as it was, most often after a click on what is too much.
To the user that is a program that does not listen.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mois_core.network.config import MASK_STRIDE
from mois_core.network.model import NO_OBJECT_LOGIT

REACH = 1.6
"""Deviation of the bump that is added around a click, in mask pixels: in an even mask it turns what
is within 1.9 pixels, which is more than the largest hole that is filled."""
SAME = 1e-3
"""Mask pixels that two places differ by at most if they are the same but for rounding."""
FEWEST = 1.0
"""Logit that the clicked pixel and its eight neighbours get at least, with the sign of the click.
Nine pixels are no hole that is filled."""


def heeded(logits: Tensor, x: float, y: float, positive: bool) -> Tensor:
    """Return logits (1, 1, low, low) that say at a place in model pixels what a click there says.

    Where the network agrees nothing is changed, and neither is a mask of something that is not on
    the slice. Earlier clicks are the network's business: a later one may mean to take them back.
    """
    if not (logits > NO_OBJECT_LOGIT / 2).any():
        return logits
    result = logits.clone()
    _heed(result[0, 0], x, y, 1.0 if positive else -1.0)
    return result


def _heed(plane: Tensor, x: float, y: float, sign: float) -> None:
    """Turn a mask (rows, columns) around a place if it contradicts the click there."""
    rows, columns = plane.shape
    grid = plane.new_tensor(
        [(2 * x + 1) / (MASK_STRIDE * columns) - 1, (2 * y + 1) / (MASK_STRIDE * rows) - 1]
    )
    here = F.grid_sample(plane[None, None], grid.view(1, 1, 1, 2), align_corners=False).item()
    if sign * here > 0:
        return
    row, column = (y + 0.5) / MASK_STRIDE - 0.5, (x + 0.5) / MASK_STRIDE - 0.5
    down = torch.arange(rows, device=plane.device) - row
    across = torch.arange(columns, device=plane.device) - column
    squares = down[:, None].square() + across[None].square()
    # The place itself gets the opposite of what it had.
    plane += sign * 2 * abs(here) * (-squares / (2 * REACH**2)).exp()
    # At a border the block is the one that still fits: a smaller one would be filled as a hole.
    top = min(max(_nearest(row) - 1, 0), max(rows - 3, 0))
    left = min(max(_nearest(column) - 1, 0), max(columns - 3, 0))
    block = plane[top : top + 3, left : left + 3]
    block.copy_(sign * (sign * block).clamp(min=FEWEST))


def _nearest(place: float) -> int:
    """Return the nearest whole number; halfway the lower one, whatever a place was rounded to."""
    return math.floor(place + 0.5 - SAME)

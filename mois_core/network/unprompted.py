"""Where a click begins: with what the network marks there by itself, without any prompt.

Two layers of attention on a map of one place per 16 pixels know what is a lesion and what a click
is near to, but hardly how far a large lesion goes on. What is connected with the click can be told
exactly, if the network was taught to mark every lesion (`mois_core/training/places_loss.py`).
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from mois_core.network.holes import EIGHT_CONNECTED
from mois_core.network.prompt_encoder import POSITIVE

UNMARKED_LOGIT = -8.0
"""Logit of other lesions than the clicked one."""
PIXEL = 4
"""Model pixels per pixel of the low-resolution mask."""


def with_marked(
    before: Tensor | None,
    marked: Tensor,
    origin: tuple[int, int],
    points: Tensor,
    labels: Tensor,
) -> Tensor | None:
    """Return masks (B, 1, low rows, low columns) with what is marked at the positive points.

    ``before`` are the masks that are corrected, so that only the last point is new; without them
    all points are, and if none is positive there is no mask. ``marked`` (1 or B, 1, low rows, low
    columns) are logits of any lesion on slices or on crops that begin at the row and column
    ``origin``; ``points`` (B, n, (x, y)) are in model pixels of whole slices.
    """
    if before is not None:
        points, labels = points[:, -1:], labels[:, -1:]
    places = ((points + 0.5 - points.new_tensor(origin[::-1])) / PIXEL).floor().long().tolist()
    positive = [
        [place for place, label in zip(*one, strict=True) if label == POSITIVE]
        for one in zip(places, labels.tolist(), strict=True)
    ]
    if before is None:
        if not any(positive):
            return None
        before = marked.masked_fill(marked > 0, UNMARKED_LOGIT)
    planes = (marked[:, 0] > 0).cpu().numpy()
    planes = np.broadcast_to(planes, (len(positive), *planes.shape[1:]))
    parts = np.stack([_connected(*one) for one in zip(planes, positive, strict=True)])
    found = torch.from_numpy(parts)[:, None].to(marked.device)
    return torch.where(found, torch.maximum(before, marked), before)


def _connected(plane: np.ndarray, places: list[tuple[int, int]]) -> np.ndarray:
    """Return the parts of a mask [rows, columns] that are at or next to places (column, row)."""
    names, _ = ndimage.label(plane, structure=EIGHT_CONNECTED)
    return np.isin(names, [name for place in places if (name := _name_at(names, *place))])


def _name_at(names: np.ndarray, column: int, row: int) -> int:
    """Return the name of the part at a place, or of most of what is next to it, or 0."""
    row, column = (int(np.clip(p, 0, n - 1)) for p, n in zip((row, column), names.shape, strict=True))
    around = names[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
    counts = np.bincount(around.ravel())
    counts[0] = 0
    return int(names[row, column] or counts.argmax())

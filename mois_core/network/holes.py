"""Filling of small holes in a mask, the same way on every device."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

FILLED_LOGIT = 0.1
LARGEST_HOLE = 8
"""Pixels of the low-resolution mask; the published models were shown with such holes filled."""

EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)


def fill_small_holes(logits: Tensor, largest: int = LARGEST_HOLE) -> Tensor:
    """Fill background components of at most ``largest`` pixels in logits [..., rows, columns].

    The labelling runs on the CPU, where a low-resolution mask takes a millisecond; the published
    code has it as a CUDA kernel only, so that results depend on the machine.
    """
    background = (logits <= 0).reshape(-1, *logits.shape[-2:]).cpu().numpy()  # (N, rows, columns)
    holes = np.zeros_like(background)
    for plane, hole in zip(background, holes, strict=True):
        components, count = ndimage.label(plane, structure=EIGHT_CONNECTED)
        areas = np.bincount(components.ravel(), minlength=count + 1)
        areas[0] = largest + 1
        hole[...] = areas[components] <= largest
    found = torch.from_numpy(holes).to(logits.device).view(logits.shape)
    return torch.where(found, FILLED_LOGIT, logits)

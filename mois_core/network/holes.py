"""Small holes in a mask are filled, the same way on every device."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

FILLED_LOGIT = 0.1
LARGEST_HOLE = 8
"""Positions of the low-resolution map; the published models were shown with holes filled so."""

EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)


def fill_small_holes(logits: Tensor, largest: int = LARGEST_HOLE) -> Tensor:
    """Logits [..., rows, columns] with background pieces of at most ``largest`` pixels filled.

    The labelling runs on the CPU, where a low-resolution mask takes a millisecond; the published
    code has it as a CUDA kernel only, so that results depend on the machine.
    """
    background = (logits <= 0).reshape(-1, *logits.shape[-2:]).cpu().numpy()
    holes = np.zeros_like(background)
    for plane, hole in zip(background, holes, strict=True):
        labels, count = ndimage.label(plane, structure=EIGHT_CONNECTED)
        areas = np.bincount(labels.ravel(), minlength=count + 1)
        areas[0] = largest + 1
        hole[...] = areas[labels] <= largest
    found = torch.from_numpy(holes).to(logits.device).view(logits.shape)
    return torch.where(found, FILLED_LOGIT, logits)

"""What lesions look like to the network: the mean of the encoder's coarse map inside each.

So any network can compare looks, without weights of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mois_core.progress import CancelToken
from mois_core.session.embeddings import HOST, Embeddings
from mois_core.session.masks import Mask, Plane

SMALLEST_DEVIATION = 1e-6
"""Channels that are the same everywhere tell nothing, whatever their rounding errors."""


class Looks(NamedTuple):
    """The looks of some masks, and of the slices around them."""

    inside: Tensor
    """(masks, width)."""
    mean: Tensor
    """(width), over all places of the slices."""
    deviation: Tensor
    """(width), likewise."""


@torch.no_grad()
def looks_of(
    masks: Sequence[Mask],
    embeddings: Embeddings,
    around: Collection[int] = (),
    cancel: CancelToken | None = None,
) -> Looks:
    """Return the looks of masks, none of which is empty, and of the slices ``around`` them.

    Each slice is asked for once, since those that memory does not hold are encoded again.
    """
    places, total, squares = 0, torch.zeros(()), torch.zeros(())
    sums, pixels = [0.0] * len(masks), [0] * len(masks)
    visited = sorted({*around, *(n for mask in masks for n in mask.planes)})
    # Not in the order that encodes least: sums depend on theirs.
    with embeddings.visiting(visited):
        for slice_index in visited:
            if cancel:
                cancel.check()
            coarse = embeddings.features(slice_index).coarse[0].to(HOST, torch.float64)  # (C, H, W)
            if slice_index in around:
                places += coarse[0].numel()
                total = total + coarse.sum(dim=(1, 2))
                squares = squares + coarse.square().sum(dim=(1, 2))
            for index, mask in enumerate(masks):
                plane = mask.planes.get(slice_index)
                if plane is not None:
                    inside = _pixels_per_place(plane, mask.shape, coarse.shape[1:])  # (H, W)
                    sums[index] = sums[index] + coarse.flatten(1) @ inside.flatten()
                    pixels[index] += int(plane.pixels.sum())
    mean = total / max(places, 1)
    deviation = (squares / max(places, 1) - mean.square()).clamp(min=0).sqrt()
    inside = torch.stack([own / count for own, count in zip(sums, pixels, strict=True)])
    return Looks(inside, mean, deviation)


def standardised(looks: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Return looks as vectors of length 1 that say how they differ from the mean."""
    return F.normalize((looks - mean) / deviation.clamp(min=SMALLEST_DEVIATION), dim=1)


def _pixels_per_place(plane: Plane, shape: Sequence[int], size: Sequence[int]) -> Tensor:
    """Return how many pixels of a slice's mask lie in each place of a map of the slice."""
    rows, columns = np.nonzero(plane.pixels)
    row = (rows + plane.row) * size[0] // shape[0]
    column = (columns + plane.column) * size[1] // shape[1]
    counts = np.bincount(row * size[1] + column, minlength=size[0] * size[1])
    return torch.from_numpy(counts.reshape(size)).double()

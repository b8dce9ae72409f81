"""Rejections teach: what looks more like a rejected finding than like a wanted lesion is left out.

The looks that are compared are the encoder's: the mean of its coarse map inside a lesion, each
channel measured against the whole scan. So any network can do it, without weights of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mois_core.progress import CancelToken
from mois_core.session.embeddings import HOST, Embeddings
from mois_core.session.lesion import Lesion, Status
from mois_core.session.masks import Mask

MARGIN = 0.04
"""A finding is left out if its cosine with the nearest rejected one is this much above that with
the nearest wanted lesion. Below, right findings went as well (docs/departures.md)."""

ALIKE = 0.9
"""A rejected finding whose cosine with a wanted lesion is above this teaches nothing: it was
rejected for its place or its outline, not for its look."""

SMALLEST_DEVIATION = 1e-6
"""Channels that are the same all over the scan tell nothing, whatever their rounding errors."""


def without_rejected_looks(
    masks: Sequence[Mask],
    lesions: Iterable[Lesion],
    embeddings: Embeddings,
    searched: Sequence[int],
    cancel: CancelToken | None = None,
) -> list[Mask]:
    """Return the masks of new findings without those that look like what was rejected.

    Lesions that the user prompted or accepted are wanted. One that was prompted and then rejected
    teaches nothing, since it may be meant to be outlined again; nor does a rejected finding that
    looks like a wanted lesion. ``searched`` are the slices that the looks are measured against.
    """
    known = [lesion for lesion in lesions if lesion.mask]
    rejected = [le.mask for le in known if le.status is Status.REJECTED and not le.has_prompts]
    wanted = [le.mask for le in known if le.status in (Status.PROMPTED, Status.ACCEPTED)]
    if not masks or not rejected or not wanted:
        return list(masks)
    looks = looks_of([*masks, *wanted, *rejected], embeddings, searched, cancel)  # (n, C)
    own, of_wanted, of_rejected = looks.split([len(masks), len(wanted), len(rejected)])
    of_rejected = of_rejected[(of_rejected @ of_wanted.T).amax(dim=1) <= ALIKE]
    if not len(of_rejected):
        return list(masks)
    likeness = (own @ of_rejected.T).amax(dim=1) - (own @ of_wanted.T).amax(dim=1)  # (masks,)
    is_kept = (likeness <= MARGIN).tolist()
    return [mask for mask, kept in zip(masks, is_kept, strict=True) if kept]


@torch.no_grad()
def looks_of(
    masks: Sequence[Mask],
    embeddings: Embeddings,
    searched: Sequence[int],
    cancel: CancelToken | None = None,
) -> Tensor:
    """Return what each mask looks like as a vector of length 1, (masks, width).

    Each slice is asked for once, since those that memory does not hold are encoded again.
    """
    places, total, squares = 0, 0.0, 0.0
    sums, weights = [0.0] * len(masks), [0.0] * len(masks)
    visited = sorted({*searched, *(n for mask in masks for n in mask.planes)})
    # Not in the order that encodes least: sums depend on theirs.
    with embeddings.visiting(visited):
        for slice_index in visited:
            if cancel:
                cancel.check()
            coarse = embeddings.features(slice_index).coarse[0].to(HOST, torch.float64)  # (C, H, W)
            if slice_index in searched:
                places += coarse[0].numel()
                total = total + coarse.sum(dim=(1, 2))
                squares = squares + coarse.square().sum(dim=(1, 2))
            for index, mask in enumerate(masks):
                if slice_index in mask.planes:
                    inside = _shrunk(mask.image(slice_index), coarse.shape[1:])  # (H, W)
                    sums[index] = sums[index] + (coarse * inside).sum(dim=(1, 2))
                    weights[index] += float(inside.sum())
    mean = total / places  # (C,)
    deviation = (squares / places - mean.square()).clamp(min=0).sqrt()
    inside = torch.stack([own / weight for own, weight in zip(sums, weights, strict=True)])
    return F.normalize((inside - mean) / deviation.clamp(min=SMALLEST_DEVIATION), dim=1)


def _shrunk(image: np.ndarray, size: Sequence[int]) -> Tensor:
    """Return which part of each position of a map a mask [rows, columns] covers."""
    pixels = torch.from_numpy(image)[None, None].double()
    return F.interpolate(pixels, tuple(size), mode="area")[0, 0]

"""Which places of a scan's crops are compared by how they look, and what they show.

All of it follows from the labels, so it is found out on the host, ahead of the step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mois_core.network.config import STRIDE
from mois_core.training.sampling import ScanSample

MOSTLY = 0.25
"""A place is of an appearance if this part of its pixels is."""
_MOST_HEALTHY = 1024
"""Of more healthy places than this every second, third and so on is asked: what is compared grows
with their square."""


@dataclass(frozen=True, eq=False)
class ComparedPlaces:
    """The n places of one scan that are compared; a class is being healthy, or an appearance."""

    index: Tensor
    """[n]: which of all places of all crops."""
    crop: Tensor
    """[n]: the crop of each."""
    shown: Tensor
    """[n, classes]: 1 at the class that the place is of."""
    weights: Tensor
    """[n, classes]: how much the answer at the place counts, at its class. Every class that can be
    answered from other crops counts the same, and all together 1."""

    def pinned(self) -> ComparedPlaces:
        """Return the same in memory that a GPU can read by itself."""
        tensors = (self.index, self.crop, self.shown, self.weights)
        return ComparedPlaces(*(tensor.pin_memory() for tensor in tensors))


def compared_places(sample: ScanSample) -> ComparedPlaces | None:
    """Choose the places of one scan to compare; None if only one class can be answered."""
    by_crop = _class_of_places(sample)  # (crops, rows, columns)
    size, of_place = by_crop[0].numel(), by_crop.flatten()
    every = -(-len(of_place) // _MOST_HEALTHY)
    is_nth = torch.arange(len(of_place)) % every == 0
    index = ((of_place > 0) | ((of_place == 0) & is_nth)).nonzero()[:, 0]  # (n,)
    of_place, crop = of_place[index], index // size
    shown = torch.stack([of_place == one for one in of_place.unique()], dim=1)  # (n, classes)
    there = F.one_hot(crop, len(by_crop)).float().T @ shown.float()  # (crops, classes)
    # What a single crop shows has no other crop to ask.
    counted = shown & (there[crop] < there.sum(dim=0))
    counts = counted.sum(dim=0)
    if (counts > 0).sum() < 2:
        return None
    weights = counted / counts.clamp(min=1) / (counts > 0).sum()
    return ComparedPlaces(index, crop, shown.float(), weights)


def _class_of_places(sample: ScanSample) -> Tensor:
    """For each place 0 for healthy, 1 + the appearance that most of its pixels are of, or -1 if it
    shows a little of a lesion only; [crops, rows, columns]."""
    is_lesion, appearances = sample.labels > 0, sample.appearance_of_pixels()
    lesion = F.avg_pool2d(is_lesion.float()[:, None], STRIDE)[:, 0]
    by_appearance = [
        F.avg_pool2d((is_lesion & (appearances == n)).float()[:, None], STRIDE)[:, 0]
        for n in range(int(sample.appearances.max()) + 1)
    ]
    most, which = torch.stack(by_appearance).max(dim=0)
    return torch.where(lesion == 0, 0, torch.where(most >= MOSTLY, which + 1, -1))

"""From a reader's label map to the lesions that are clicked and counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from mois_core.session.components import TOUCHING

FACES = ndimage.generate_binary_structure(3, 1)
"""Voxels that share a face only: what the published filter and its second labelling go by."""

PUBLISHED_LESIONS = 20

LesionSource = Literal["components", "labels"]
Order = Literal["largest", "published"]


@dataclass(frozen=True, eq=False)
class TrueLesion:
    """One lesion of the truth, kept as small as it is."""

    window: tuple[slice, slice, slice]
    mask: np.ndarray
    """Within the window."""

    @property
    def voxels(self) -> int:
        return int(np.count_nonzero(self.mask))

    def paint(self, shape: tuple[int, ...]) -> np.ndarray:
        """The lesion in an array of the whole scan."""
        whole = np.zeros(shape, dtype=bool)
        whole[self.window] = self.mask
        return whole


def numbered(labels: np.ndarray, source: LesionSource = "components") -> np.ndarray:
    """Every lesion with a number of its own.

    The paper takes connected components of the mask of all lesions; a label map that has lesions
    apart already can be taken at its word instead, where lesions touch.
    """
    if source == "labels":
        return labels
    return ndimage.label(labels > 0, structure=TOUCHING)[0]


def true_lesions(numbers: np.ndarray) -> list[TrueLesion]:
    """The lesions of an array of numbers, in the order of these."""
    found = enumerate(ndimage.find_objects(numbers), start=1)
    return [
        TrueLesion(window, numbers[window] == value)
        for value, window in found
        if window is not None
    ]


def targets(
    lesions: Sequence[TrueLesion], count: int, shape: tuple[int, ...], order: Order = "largest"
) -> list[TrueLesion]:
    """The lesions that are clicked, in turn.

    The paper takes the largest ones. Its published code keeps the largest, takes them apart again
    where they are joined by corners only, and visits as many in the order in which they lie in
    the file, whatever their size.
    """
    largest = sorted(lesions, key=lambda lesion: -lesion.voxels)[:count]
    if order == "largest":
        return largest
    kept = np.zeros(shape, dtype=bool)
    for lesion in largest:
        kept[lesion.window] |= lesion.mask
    return true_lesions(ndimage.label(kept, structure=FACES)[0])[:count]

"""True lesions out of a reader's label map, and those of them that are clicked on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from mois_core.geometry import Box
from mois_core.session.components import TOUCHING

FACES = ndimage.generate_binary_structure(3, 1)
"""Neighbours that share a face: what the published filter and its second labelling go by."""

PUBLISHED_LESIONS = 20
"""Lesions of a scan that the paper clicks on."""

LesionSource = Literal["components", "labels"]
Order = Literal["largest", "published"]


@dataclass(frozen=True, eq=False)
class TrueLesion:
    """A lesion of the truth, kept in its bounding box."""

    box: Box
    mask: np.ndarray
    """The lesion's voxels within the box."""

    @property
    def voxels(self) -> int:
        """Number of voxels."""
        return int(np.count_nonzero(self.mask))

    def paint(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return the lesion as a mask of the whole scan."""
        whole = np.zeros(shape, dtype=bool)
        whole[self.box] = self.mask
        return whole


def label_lesions(labels: np.ndarray, source: LesionSource = "components") -> np.ndarray:
    """Return an array in which every lesion has a label value of its own.

    The paper takes connected components of the mask of all lesions; a label map that has lesions
    apart already can be taken at its word instead, where lesions touch.
    """
    if source == "labels":
        return labels
    return ndimage.label(labels > 0, structure=TOUCHING)[0]


def true_lesions(labels: np.ndarray) -> list[TrueLesion]:
    """Return the lesions of an array of label values, in the order of these."""
    boxes = enumerate(ndimage.find_objects(labels), start=1)
    return [TrueLesion(box, labels[box] == value) for value, box in boxes if box is not None]


def lesions_to_click(
    lesions: Sequence[TrueLesion], count: int, shape: tuple[int, ...], order: Order = "largest"
) -> list[TrueLesion]:
    """Return the lesions that are clicked on, in turn.

    The paper takes the largest ones. Its published code keeps the largest, takes them apart again
    where they are joined by corners only, and visits as many in the order in which they lie in
    the file, whatever their size.
    """
    largest = sorted(lesions, key=lambda lesion: -lesion.voxels)[:count]
    if order == "largest":
        return largest
    kept = np.zeros(shape, dtype=bool)
    for lesion in largest:
        kept[lesion.box] |= lesion.mask
    return true_lesions(ndimage.label(kept, structure=FACES)[0])[:count]

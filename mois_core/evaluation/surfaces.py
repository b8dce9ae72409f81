"""Distance between outlines: average symmetric surface distance, normalised surface Dice.

The surface of a mask is made of its voxels that have a neighbour across a face outside the mask,
the edge of the scan counting as outside. Distances are those between voxel centres in mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, nan

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from mois_core.evaluation.truth import FACES


@dataclass(frozen=True)
class SurfaceScores:
    """Distance between two surfaces, and the share of them within a tolerance.

    Two empty masks agree perfectly. If only one is empty there is no distance to speak of, and no
    part of the surface agrees.
    """

    assd_mm: float
    nsd: float


def surface_scores(
    result: np.ndarray, truth: np.ndarray, spacing: Sequence[float], tolerance_mm: float
) -> SurfaceScores:
    """Compare the surfaces of two masks; ``spacing`` is in mm along the axes of the arrays."""
    ours, theirs = surface_voxels(result), surface_voxels(truth)
    if not len(ours) and not len(theirs):
        return SurfaceScores(0.0, 1.0)
    if not len(ours) or not len(theirs):
        return SurfaceScores(nan, 0.0)
    mm = np.asarray(spacing, dtype=np.float64)
    apart = np.concatenate(
        [
            cKDTree(theirs * mm).query(ours * mm, distance_upper_bound=inf)[0],
            cKDTree(ours * mm).query(theirs * mm, distance_upper_bound=inf)[0],
        ]
    )
    return SurfaceScores(float(apart.mean()), float((apart <= tolerance_mm).mean()))


def surface_voxels(mask: np.ndarray) -> np.ndarray:
    """Return the indices [n, 3] of the voxels on a mask's surface."""
    boxes = ndimage.find_objects(mask.astype(np.uint8))
    if not boxes:
        return np.zeros((0, mask.ndim), dtype=np.int64)
    inside = np.asarray(mask[boxes[0]], dtype=bool)
    edge = inside & ~ndimage.binary_erosion(inside, structure=FACES)
    return np.argwhere(edge) + [part.start for part in boxes[0]]

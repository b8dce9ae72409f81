"""The 48 orders in which the same voxels can be stored."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np

from mois_core.geometry import Volume

STORAGE_ORDERS = [
    (order, flips) for order in permutations(range(3)) for flips in product((False, True), repeat=3)
]


def stored_as(volume: Volume, order, flips) -> Volume:
    """Return the same voxels in the same places, with i, j and k permuted and reversed."""
    affine = volume.ijk_to_ras.copy()
    for axis in range(3):
        if flips[axis]:
            affine[:3, 3] += (volume.array.shape[2 - axis] - 1) * affine[:3, axis]
            affine[:3, axis] *= -1
    affine[:3, :3] = affine[:3, list(order)]
    array = np.flip(volume.array, [2 - axis for axis in range(3) if flips[axis]])
    return Volume(array.transpose([2 - order[2 - n] for n in range(3)]), affine)

"""Surfaces of lesions in a scan's own RAS, each computed once for each mask. Runs on a worker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from MOISSAM2SegmentLib.scene.surfaces import Colour, contour, in_one

if TYPE_CHECKING:
    from mois_core.geometry import SliceStack
    from mois_core.session.lesion import Lesion
    from mois_core.session.masks import Mask


class LesionSurfaces:
    """Maker of lesions' surfaces; those whose masks did not change are used again."""

    def __init__(self, stack: SliceStack) -> None:
        self._stack = stack
        self._known: dict[int, tuple[Mask, Any]] = {}

    def of(self, lesions: Iterable[Lesion]) -> dict[int, Any]:
        """Return the surface of each lesion by its id; of none without voxels."""
        known = self._known
        self._known = {
            lesion.id: known[lesion.id]
            if lesion.id in known and known[lesion.id][0] is lesion.mask
            else (lesion.mask, self._contour(lesion.mask))
            for lesion in lesions
            if lesion.mask
        }
        return {lesion_id: surface for lesion_id, (_, surface) in self._known.items()}

    def _contour(self, mask: Mask) -> Any:
        first, voxels = voxels_of(mask)
        # VTK's axes are in the order of columns, rows and slices.
        to_ras = self._stack.to_ras[:, [2, 1, 0, 3]].copy()
        to_ras[:3, 3] += self._stack.to_ras[:3, :3] @ first
        return contour(voxels, to_ras)


def voxels_of(mask: Mask) -> tuple[np.ndarray, np.ndarray]:
    """Return the first slice, row and column of a mask that is not empty, and its box's voxels."""
    first, last = box_of(mask)
    voxels = np.zeros(last - first + 1, dtype=bool)
    for slice_index, plane in mask:
        rows, columns = plane.box
        start = first[1:]
        inside = (
            slice(rows.start - start[0], rows.stop - start[0]),
            slice(columns.start - start[1], columns.stop - start[1]),
        )
        voxels[slice_index - first[0]][inside] = plane.pixels
    return first, voxels


def box_of(mask: Mask) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the last slice, row and column of a mask that is not empty."""
    planes = list(mask)
    first = [(n, plane.row, plane.column) for n, plane in planes]
    last = [(n, plane.box[0].stop - 1, plane.box[1].stop - 1) for n, plane in planes]
    return np.min(first, axis=0), np.max(last, axis=0)


def coloured(surfaces: Mapping[int, Any], colours: Mapping[int, Colour]) -> Any:
    """Return all surfaces as one, each in its lesion's colour."""
    return in_one([(surface, colours[n]) for n, surface in surfaces.items() if n in colours])

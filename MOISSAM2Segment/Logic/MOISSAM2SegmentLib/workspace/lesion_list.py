"""Rows of the panel's lesion table, and the place at which a lesion is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mois_core.results.colours import Colour, lesion_colour
from MOISSAM2SegmentLib.scene.segment_tags import default_name

if TYPE_CHECKING:
    from mois_core.geometry import SliceStack
    from mois_core.session.lesion import Lesion
    from mois_core.session.masks import Mask
    from mois_core.session.state import State


class LesionEntry(NamedTuple):
    """One lesion as a row of the panel's table."""

    lesion_id: int
    name: str
    status: str
    volume_cm3: float
    slices: int
    clicks: int
    colour: Colour
    confidence: float | None = None
    """How confident the search was of it, from 0 to 1; None if no search found it."""
    height_mm: float = 0.0
    """How far up it lies in the patient."""


class LesionList:
    """Maker of the table's rows; lesions that did not change are not measured again."""

    def __init__(self, stack: SliceStack) -> None:
        self.stack = stack
        self._sizes: dict[int, tuple[Mask, int, int, float]] = {}

    def entries(self, state: State, colours: Mapping[int, Colour]) -> list[LesionEntry]:
        """Return the rows of all lesions in the order of their ids, rejected ones too."""
        return [self._entry(lesion, colours) for lesion in state.lesions.values()]

    def _entry(self, lesion: Lesion, colours: Mapping[int, Colour]) -> LesionEntry:
        known = self._sizes.get(lesion.id)
        if known is None or known[0] is not lesion.mask:
            mask = lesion.mask
            known = (mask, mask.voxels, len(mask.slices), self._height_of(mask))
            self._sizes[lesion.id] = known
        return LesionEntry(
            lesion_id=lesion.id,
            name=lesion.name or default_name(lesion.id),
            status=lesion.status.value,
            volume_cm3=known[1] * self.stack.volume.voxel_volume_cm3,
            slices=known[2],
            clicks=len(lesion.clicks),
            colour=colours.get(lesion.id) or lesion_colour(lesion.id),
            confidence=lesion.confidence,
            height_mm=known[3],
        )

    def _height_of(self, mask: Mask) -> float:
        if not mask:
            return 0.0
        slice_index = mask.largest_slice
        plane = mask.planes[slice_index]
        rows, columns = plane.pixels.shape
        middle = (slice_index, plane.row + (rows - 1) / 2, plane.column + (columns - 1) / 2)
        return float(self.stack.to_ras[2, :3] @ middle + self.stack.to_ras[2, 3])

    def middle(self, lesion: Lesion) -> np.ndarray | None:
        """Return a place inside a lesion, in the scan's own RAS; None if its mask is empty.

        It lies on the slice on which the lesion is largest, near the centroid, which itself need
        not lie inside.
        """
        from mois_core.session.components import centre_inside

        planes = list(lesion.mask)
        if not planes:
            return None
        slice_index, plane = max(planes, key=lambda item: int(item[1].pixels.sum()))
        row, column = centre_inside(plane.pixels)
        return self.stack.point_to_ras(slice_index, plane.column + column, plane.row + row)

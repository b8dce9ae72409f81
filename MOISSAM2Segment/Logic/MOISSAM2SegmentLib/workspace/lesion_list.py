"""What the panel's table shows of each lesion, and where to look to see it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mois_core.results.colours import Colour, lesion_colour
from MOISSAM2SegmentLib.scene.lesion_segments import default_name

if TYPE_CHECKING:
    from mois_core.geometry import SliceStack
    from mois_core.session.lesion import Lesion
    from mois_core.session.state import State


class Entry(NamedTuple):
    """A row of the table."""

    number: int
    name: str
    status: str
    volume_cm3: float
    slices: int
    clicks: int
    colour: Colour


class LesionList:
    """Makes the table of a state; what did not change is not measured again."""

    def __init__(self, stack: SliceStack) -> None:
        self.stack = stack
        self._sizes: dict[int, tuple[object, int, int]] = {}

    def entries(self, state: State, colours: Mapping[int, Colour]) -> list[Entry]:
        """All lesions in the order of their numbers, rejected ones too."""
        return [self._entry(lesion, colours) for lesion in state.lesions.values()]

    def _entry(self, lesion: Lesion, colours: Mapping[int, Colour]) -> Entry:
        known = self._sizes.get(lesion.id)
        if known is None or known[0] is not lesion.mask:
            known = (lesion.mask, lesion.mask.voxels, len(lesion.mask.slices))
            self._sizes[lesion.id] = known
        return Entry(
            number=lesion.id,
            name=lesion.name or default_name(lesion.id),
            status=lesion.status.value,
            volume_cm3=known[1] * self.stack.volume.voxel_volume_cm3,
            slices=known[2],
            clicks=len(lesion.clicks),
            colour=colours.get(lesion.id) or lesion_colour(lesion.id),
        )

    def middle(self, lesion: Lesion) -> np.ndarray | None:
        """A place inside a lesion, on the slice on which it is largest, in the scan's own RAS.

        Not the centroid, which need not lie inside.
        """
        planes = list(lesion.mask)
        if not planes:
            return None
        number, plane = max(planes, key=lambda item: int(item[1].pixels.sum()))
        inside = np.argwhere(plane.pixels)
        nearest = inside[np.square(inside - inside.mean(axis=0)).sum(axis=1).argmin()]
        row, column = nearest + (plane.row, plane.column)
        return self.stack.point_to_ras(number, column, row)

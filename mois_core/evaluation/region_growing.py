"""Region growing from clicks: what is about as bright as the place clicked on, and joined to it.

The rule is that of semi-automated tumour measurement: a lesion is what is brighter than a part
of the brightness at the click. It needs no training, and a click cannot tell a lesion from a
bright organ beside it; the reach stops it from running through the whole body.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from mois_core.errors import BadInput
from mois_core.evaluation.truth import FACES
from mois_core.geometry import SliceStack, Volume
from mois_core.session import Point

_AROUND = 1
"""Pixels each way whose median stands for the brightness at a click: one pixel is mostly noise."""


class GrownRegions:
    """Regions of one scan, each grown from its own clicks."""

    def __init__(self, volume: Volume, fraction: float, reach_mm: float) -> None:
        if not 0 < fraction < 1:
            raise BadInput(f"the fraction of brightness must lie between 0 and 1, not {fraction:g}")
        if reach_mm <= 0:
            raise BadInput(f"the reach must be positive, not {reach_mm:g} mm")
        self.stack = SliceStack(volume)
        self.spacing = np.array([self.stack.slice_spacing, *self.stack.pixel_spacing])
        self.fraction = fraction
        self.reach_mm = reach_mm
        self.clicks: dict[int, list[tuple[tuple[int, int, int], bool]]] = {}
        self.grown: dict[int, np.ndarray] = {}

    def click(self, ras: Point, positive: bool, lesion: int | None) -> int:
        """Add a click and grow the region again."""
        if not self.stack.contains(np.asarray(ras)):
            raise BadInput("the point lies outside the scan")
        number, x, y = (int(np.floor(v + 0.5)) for v in self.stack.point_from_ras(np.asarray(ras)))
        owner = max(self.clicks, default=0) + 1 if lesion is None else lesion
        self.clicks.setdefault(owner, []).append(((number, y, x), positive))
        self.grown[owner] = self._grow(self.clicks[owner])
        return owner

    def mask(self, number: int) -> np.ndarray:
        """One region in the scan's own order."""
        return self.stack.to_volume(self.grown[number])

    def labels(self) -> np.ndarray:
        """All regions by number; where two overlap, the later one has the voxel."""
        labels = np.zeros(self.stack.array.shape, dtype=np.uint16)
        for number, region in self.grown.items():
            labels[region] = number
        return self.stack.to_volume(labels)

    def _grow(self, clicks: list[tuple[tuple[int, int, int], bool]]) -> np.ndarray:
        region = np.zeros(self.stack.array.shape, dtype=bool)
        inside = np.array([place for place, positive in clicks if positive])
        outside = np.array([place for place, positive in clicks if not positive])
        for place in inside:
            window = self._window(place)
            start = place - [part.start for part in window]
            near = _distance(window, place, self.spacing) <= self.reach_mm
            bright = self.stack.array[window] >= self.fraction * self._brightness(place)
            components, _ = ndimage.label(bright & near, structure=FACES)
            own = components[tuple(start)]
            region[window] |= (components == own) & (own > 0)
        if len(inside) and len(outside):
            self._cut(region, inside, outside)
        return region

    def _cut(self, region: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> None:
        """Leave to a negative click whatever lies nearer to it than to any positive one."""
        places = np.argwhere(region)

        def nearest(clicks: np.ndarray) -> np.ndarray:
            apart = [np.linalg.norm((places - one) * self.spacing, axis=1) for one in clicks]
            return np.min(apart, axis=0)

        gone = places[nearest(outside) < nearest(inside)]
        region[tuple(gone.T)] = False

    def _brightness(self, place: np.ndarray) -> float:
        number, row, column = place
        rows, columns = (slice(max(v - _AROUND, 0), v + _AROUND + 1) for v in (row, column))
        return float(np.median(self.stack.array[number, rows, columns]))

    def _window(self, place: np.ndarray) -> tuple[slice, slice, slice]:
        reach = np.ceil(self.reach_mm / self.spacing).astype(int)
        first = np.maximum(place - reach, 0)
        last = np.minimum(place + reach + 1, self.stack.array.shape)
        a, b, c = (slice(int(f), int(n)) for f, n in zip(first, last, strict=True))
        return a, b, c


def _distance(
    window: tuple[slice, slice, slice], place: np.ndarray, spacing: np.ndarray
) -> np.ndarray:
    grid = np.ogrid[window]
    parts = [((g - p) * mm) ** 2 for g, p, mm in zip(grid, place, spacing, strict=True)]
    return np.sqrt(parts[0] + parts[1] + parts[2])

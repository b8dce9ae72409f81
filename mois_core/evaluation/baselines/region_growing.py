"""Region growing from clicks: voxels about as bright as the one clicked on, and joined to it.

The rule is that of semi-automated tumour measurement: a lesion is what is brighter than a part
of the brightness at the click. It needs no training, and a click cannot tell a lesion from a
bright organ beside it; the reach stops it from running through the whole body.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from mois_core.errors import BadInput
from mois_core.evaluation.segmenters import Segmenter
from mois_core.evaluation.truth import FACES
from mois_core.geometry import Box, SliceStack, Volume
from mois_core.session import Point

_AROUND = 1
"""Pixels each way whose median is taken as the brightness at a click: one is mostly noise."""


class RegionGrowing(Segmenter):
    """Threshold and region growing, as clinics measure lesions today.

    The fraction did best of 0.6 to 0.9 on four phantoms of the training range, with one click on
    each of the eight largest lesions.
    """

    def __init__(self, fraction: float = 0.8, reach_mm: float = 60.0) -> None:
        self.fraction = fraction
        self.reach_mm = reach_mm

    def open(self, volume: Volume) -> None:
        self.regions = GrownRegions(volume, self.fraction, self.reach_mm)

    def click(self, ras: Point, positive: bool = True, lesion_id: int | None = None) -> int:
        return self.regions.click(ras, positive, lesion_id)

    def result(self) -> np.ndarray:
        return self.regions.labels()

    def lesion(self, lesion_id: int) -> np.ndarray:
        return self.regions.mask(lesion_id)


class GrownRegions:
    """Regions of one scan, each grown from its own clicks."""

    def __init__(self, volume: Volume, fraction: float, reach_mm: float) -> None:
        if not 0 < fraction < 1:
            raise BadInput(f"the fraction of brightness must lie between 0 and 1, not {fraction:g}")
        if not 0 < reach_mm < math.inf:
            raise BadInput(f"the reach must be positive, not {reach_mm:g} mm")
        self.stack = SliceStack(volume)
        self.spacing = np.array([self.stack.slice_spacing, *self.stack.pixel_spacing])
        self.fraction = fraction
        self.reach_mm = reach_mm
        self.clicks: dict[int, list[tuple[tuple[int, int, int], bool]]] = {}
        self.grown: dict[int, np.ndarray] = {}

    def click(self, ras: Point, positive: bool, lesion_id: int | None) -> int:
        """Add a click and grow its region again; return the region's lesion id."""
        if not self.stack.contains(np.asarray(ras)):
            raise BadInput("the point lies outside the scan")
        index = self.stack.point_from_ras(np.asarray(ras))
        slice_index, x, y = (int(np.floor(v + 0.5)) for v in index)
        owner = max(self.clicks, default=0) + 1 if lesion_id is None else lesion_id
        self.clicks.setdefault(owner, []).append(((slice_index, y, x), positive))
        self.grown[owner] = self._grow(self.clicks[owner])
        return owner

    def mask(self, lesion_id: int) -> np.ndarray:
        """Return one region as a mask in the scan's own order."""
        return self.stack.to_volume(self.grown[lesion_id])

    def labels(self) -> np.ndarray:
        """Return all regions as label values; where two overlap, the later one has the voxel."""
        labels = np.zeros(self.stack.array.shape, dtype=np.uint16)
        for lesion_id, region in self.grown.items():
            labels[region] = lesion_id
        return self.stack.to_volume(labels)

    def _grow(self, clicks: list[tuple[tuple[int, int, int], bool]]) -> np.ndarray:
        region = np.zeros(self.stack.array.shape, dtype=bool)
        inside = np.array([voxel for voxel, positive in clicks if positive])
        outside = np.array([voxel for voxel, positive in clicks if not positive])
        for voxel in inside:
            box = self._box_in_reach(voxel)
            start = voxel - [part.start for part in box]
            near = _distance(box, voxel, self.spacing) <= self.reach_mm
            bright = self.stack.array[box] >= self.fraction * self._brightness(voxel)
            components, _ = ndimage.label(bright & near, structure=FACES)
            own = components[tuple(start)]
            region[box] |= (components == own) & (own > 0)
        if len(inside) and len(outside):
            self._cut(region, inside, outside)
        return region

    def _cut(self, region: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> None:
        """Take from the region what lies nearer to a negative click than to any positive one."""
        voxels = np.argwhere(region)

        def nearest(clicks: np.ndarray) -> np.ndarray:
            apart = [np.linalg.norm((voxels - one) * self.spacing, axis=1) for one in clicks]
            return np.min(apart, axis=0)

        gone = voxels[nearest(outside) < nearest(inside)]
        region[tuple(gone.T)] = False

    def _brightness(self, voxel: np.ndarray) -> float:
        slice_index, row, column = voxel
        rows, columns = (slice(max(v - _AROUND, 0), v + _AROUND + 1) for v in (row, column))
        return float(np.median(self.stack.array[slice_index, rows, columns]))

    def _box_in_reach(self, voxel: np.ndarray) -> Box:
        reach = np.ceil(self.reach_mm / self.spacing).astype(int)
        first = np.maximum(voxel - reach, 0)
        last = np.minimum(voxel + reach + 1, self.stack.array.shape)
        a, b, c = (slice(int(f), int(n)) for f, n in zip(first, last, strict=True))
        return a, b, c


def _distance(box: Box, voxel: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Return how far the voxels of a box lie from a voxel, in mm."""
    grid = np.ogrid[box]
    parts = [((g - v) * mm) ** 2 for g, v, mm in zip(grid, voxel, spacing, strict=True)]
    return np.sqrt(parts[0] + parts[1] + parts[2])

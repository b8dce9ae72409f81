"""Where the body ends and the air around it begins, to tell a click that landed in air.

No one threshold does it: air can be 0 or noise, and lesions and lungs can be nearly as dark. The
air is looked for at the left and right side of the slices. It is even: 0, or noise and nothing
else, and there is much of it. Where a scan has no such thing, nothing counts as air; nor does what
is as dark as air but does not reach the sides, such as lungs, whole or cut by the end of a
station. In doubt a place counts as body.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from mois_core.geometry import SliceStack, Volume

BLOCK_MM = 5.0
"""The image is averaged over blocks of about this size; it evens out noise, and is fast."""
_LEAST_VOXELS = 3
"""A block has at least so many in a slice's rows and columns, or noise would stay."""
MARGIN_MM = 13.0
"""What is nearer to the body than this counts as body: skin with its fat suppressed is dark."""
_MARGIN_BLOCKS = 1.5
_LEAST_SIDE_BLOCKS = 120
"""With fewer blocks at its sides, a scan shows too little to tell."""
_LEAST_AIR = 0.4
"""Part of the sides that is air at least; a station's trunk and arms can reach the rest."""
_DENSE_PART = 0.1
"""Part of the blocks at the sides whose closest values tell how bright air is."""
_LOW_PART = 0.02
_ABOVE_AIR = 4
"""Body is brighter than air by so many times the spread of air's darker half."""
_NOISE_ONLY = 4
"""How much wider than that of independent noise the spread of blocks of air can be: neighbouring
voxels of an interpolated scan share their noise."""
_SAMPLED_BLOCKS = 100
_SMALLEST_PART_CM3 = 2.0
"""Smaller bright spots in the air are artefacts."""


@dataclass(frozen=True, eq=False)
class Body:
    """Which blocks of a scan belong to the body."""

    stack: SliceStack
    """1 in the body and 0 in the air around it, on blocks of the scan's voxels."""
    bright: np.ndarray
    """The same blocks [slice, row, column] without what is dark: air that the body encloses, as
    between arm and trunk, but also lungs."""

    @cached_property
    def _places_mm(self) -> np.ndarray:
        return np.argwhere(self.stack.array) * self._sizes_mm

    @property
    def _sizes_mm(self) -> np.ndarray:
        return np.array([self.stack.slice_spacing, *self.stack.pixel_spacing])

    def mm_outside(self, ras: np.ndarray) -> float:
        """Return how far a point lies outside the body; 0 if it is in it or near it."""
        grid = self.stack
        position, x, y = (int(np.floor(float(part) + 0.5)) for part in grid.point_from_ras(ras))
        index = np.array((position, y, x))
        if (index >= 0).all() and (index < grid.array.shape).all() and grid.array[tuple(index)]:
            return 0.0
        away = self._places_mm - index * self._sizes_mm
        distance = float(np.sqrt(np.square(away).sum(axis=1).min()))
        margin = max(MARGIN_MM, _MARGIN_BLOCKS * max(grid.pixel_spacing))
        return distance if distance > margin else 0.0


def find_body(stack: SliceStack) -> Body | None:
    """Return where the body of a scan is; None if the scan shows no air for certain."""
    volume = stack.volume
    blocks = _block_shape(stack)
    coarse = SliceStack(_averaged(volume, blocks), stack.axis)
    means = coarse.array
    sides = np.zeros(means.shape, dtype=bool)
    sides[:, :, [0, -1]] = True
    values = np.sort(means[sides])
    if len(values) < _LEAST_SIDE_BLOCKS:
        return None
    level = _densest(values)
    spread = (level - np.quantile(values, _LOW_PART)) / 2
    is_air = sides & (np.abs(means - level) <= 2 * spread)
    noise = _noise(volume, blocks, coarse.to_volume(is_air))
    if spread > _NOISE_ONLY * noise / np.sqrt(np.prod(blocks)):
        return None
    bright = means > level + _ABOVE_AIR * spread
    if bright[sides].mean() > 1 - _LEAST_AIR:
        return None
    bright = _without_spots(bright, coarse.volume.voxel_volume_cm3)
    body = _without_holes(bright)
    if body.all() or not body.any():
        return None
    blocks_of_body = Volume(coarse.to_volume(body.astype(np.uint8)), coarse.volume.ijk_to_ras)
    return Body(SliceStack(blocks_of_body, stack.axis), bright)


def _block_shape(stack: SliceStack) -> tuple[int, int, int]:
    """Return the voxels of a block along the axes of the volume's array."""
    sizes = np.array([stack.slice_spacing, *stack.pixel_spacing])
    wanted = np.maximum(np.round(BLOCK_MM / sizes).astype(int), [1, _LEAST_VOXELS, _LEAST_VOXELS])
    wanted = np.minimum(wanted, stack.array.shape)
    # A view of zeros with the stack's strides tells the order of the axes without a second table.
    order = stack.crop_to_volume(np.zeros(wanted, dtype=bool)).shape
    return order[0], order[1], order[2]


def _averaged(volume: Volume, blocks: tuple[int, int, int]) -> Volume:
    """Return the means of blocks of voxels; the last block along an axis takes what is left."""
    array = volume.array
    starts = [
        np.arange(max(size // step, 1)) * step
        for size, step in zip(array.shape, blocks, strict=True)
    ]
    counts = [
        np.diff([*start, size]).astype(np.float32)
        for start, size in zip(starts, array.shape, strict=True)
    ]
    means = np.empty([len(start) for start in starts], dtype=np.float32)
    for n, (start, count) in enumerate(zip(starts[0], counts[0], strict=True)):
        total = array[start : start + int(count)].sum(axis=0, dtype=np.float32)
        total = np.add.reduceat(np.add.reduceat(total, starts[1], axis=0), starts[2], axis=1)
        means[n] = total / (count * counts[1][:, None] * counts[2])
    to_voxels = np.diag([*blocks[::-1], 1.0])
    to_voxels[:3, 3] = (np.array(blocks[::-1]) - 1) / 2
    return Volume(means, volume.ijk_to_ras @ to_voxels)


def _densest(values: np.ndarray) -> float:
    """Return the middle of the shortest interval that holds a part of the sorted values."""
    count = max(int(_DENSE_PART * len(values)), 2)
    widths = values[count - 1 :] - values[: len(values) - count + 1]
    first = int(np.argmin(widths))
    return float(np.median(values[first : first + count]))


def _noise(volume: Volume, blocks: tuple[int, int, int], chosen: np.ndarray) -> float:
    """Return the standard deviation of voxels within some of the chosen blocks."""
    places = np.argwhere(chosen)
    step = max(len(places) // _SAMPLED_BLOCKS, 1)
    inside = [
        volume.array[tuple(slice(n * b, n * b + b) for n, b in zip(place, blocks, strict=True))]
        for place in places[::step]
    ]
    return float(np.median([np.std(part, dtype=np.float64) for part in inside]))


def _without_spots(bright: np.ndarray, block_cm3: float) -> np.ndarray:
    labels, count = ndimage.label(bright, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1) * block_cm3
    is_kept = sizes >= _SMALLEST_PART_CM3
    is_kept[0] = False
    return is_kept[labels]


def _without_holes(body: np.ndarray) -> np.ndarray:
    """Return the body with what it encloses on a slice, or cuts off from both sides."""
    in_plane = np.zeros((3, 3, 3), dtype=bool)
    in_plane[1] = ndimage.generate_binary_structure(2, 1)
    labels, count = ndimage.label(~body, structure=in_plane)
    is_air = np.zeros(count + 1, dtype=bool)
    is_air[labels[:, :, [0, -1]]] = True
    is_air[0] = False
    return ~is_air[labels]

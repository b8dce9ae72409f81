"""Scans on which it is known voxel for voxel where the lesions are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mois_core.geometry import Volume

SIDE = 32
"""Rows and columns of the scans, one for each pixel of the stub network's masks."""

CORONAL = np.array([[-0.62, 0, 0, 0], [0, 0, 7.8, 0], [0, -0.62, 0, 0], [0, 0, 0, 1]])
"""IJK to RAS of a volume that is stored as its coronal slices are seen: k is the slice, j the row,
i the column."""

BACKGROUND, LESION, OTHER = 20, 180, 110
"""Brightness of the body, of the lesions meant, and of what looks different."""


@dataclass(frozen=True)
class Block:
    """A box-shaped lesion: its slices, rows and columns, the last ones not included."""

    slices: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]
    brightness: int = LESION

    @property
    def where(self) -> tuple[slice, slice, slice]:
        return tuple(slice(*extent) for extent in (self.slices, self.rows, self.columns))

    @property
    def voxels(self) -> int:
        return int(
            np.prod([last - first for first, last in (self.slices, self.rows, self.columns)])
        )

    @property
    def middle(self) -> tuple[int, int, int]:
        """Slice, row and column of a voxel in the middle."""
        return tuple((first + last) // 2 for first, last in (self.slices, self.rows, self.columns))


FIRST = Block((3, 8), (6, 13), (5, 12))
SECOND = Block((4, 7), (20, 27), (4, 10))
THIRD = Block((9, 11), (8, 12), (22, 27))
OTHER_KIND = Block((3, 9), (20, 27), (20, 27), OTHER)
TINY = Block((1, 2), (16, 18), (16, 18))
SCENE = (FIRST, SECOND, THIRD, OTHER_KIND, TINY)


def scan_of(*blocks: Block, slices: int = 12, rows: int = SIDE, columns: int = SIDE) -> np.ndarray:
    """Return a scan [slices, rows, columns] whose brightness stays as it is when normalised.

    A dark and a bright row at the top are what the percentiles are taken from.
    """
    scan = np.full((slices, rows, columns), BACKGROUND, dtype=np.int16)
    for block in blocks:
        scan[block.where] = block.brightness
    scan[:, 0], scan[:, 1] = 255, 1
    return scan


def volume_of(stack: np.ndarray) -> Volume:
    """Return a volume that is seen as exactly these slices."""
    return Volume(stack, CORONAL)


def painted(block: Block, slices: int = 12) -> np.ndarray:
    """Return a block as a mask [slices, rows, columns]."""
    stack = np.zeros((slices, SIDE, SIDE), dtype=bool)
    stack[block.where] = True
    return stack

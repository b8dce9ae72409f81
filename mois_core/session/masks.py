"""Masks kept as small as their lesions: one cropped plane per slice.

Hundreds of lesions in a whole-body scan, and every earlier version of them for undo, would not
fit into memory as full volumes. Masks are values: changing one makes another.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np


@dataclass(frozen=True, eq=False)
class Plane:
    """The part of one slice that a mask lies in."""

    row: int
    column: int
    pixels: np.ndarray

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns of the slice that the pixels belong to."""
        rows, columns = self.pixels.shape
        return slice(self.row, self.row + rows), slice(self.column, self.column + columns)

    @classmethod
    def crop(cls, mask: np.ndarray) -> Plane | None:
        """Return the smallest plane that holds a slice's mask; None if the mask is empty."""
        rows = np.flatnonzero(mask.any(axis=1))
        if not len(rows):
            return None
        columns = np.flatnonzero(mask.any(axis=0))
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        pixels = mask[box].astype(bool)
        pixels.flags.writeable = False
        return cls(int(rows[0]), int(columns[0]), pixels)

    def shared(self, other: Plane) -> int:
        """Return how many pixels both planes of one slice cover."""
        top, left = max(self.row, other.row), max(self.column, other.column)
        one = self.pixels[top - self.row :, left - self.column :]
        two = other.pixels[top - other.row :, left - other.column :]
        rows, columns = (min(sizes) for sizes in zip(one.shape, two.shape, strict=True))
        return int(np.count_nonzero(one[:rows, :columns] & two[:rows, :columns]))


def _no_planes() -> Mapping[int, Plane]:
    return MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Mask:
    """A mask on a stack of slices of the given shape (rows, columns)."""

    shape: tuple[int, int]
    planes: Mapping[int, Plane] = field(default_factory=_no_planes)

    @classmethod
    def from_stack(cls, stack: np.ndarray, first_slice: int = 0) -> Mask:
        """Return the mask in an array [slices, rows, columns]."""
        planes = {first_slice + n: Plane.crop(image) for n, image in enumerate(stack)}
        return cls(stack.shape[1:], _kept(planes))

    def with_slice(self, slice_index: int, image: np.ndarray | None) -> Mask:
        """Return the mask with one slice replaced (None empties it)."""
        plane = None if image is None else Plane.crop(image)
        return Mask(self.shape, _kept({**self.planes, slice_index: plane}))

    def without(self, other: np.ndarray) -> Mask:
        """Return the part of the mask outside a boolean array [slices, rows, columns]."""
        return Mask(
            self.shape,
            _kept({n: Plane.crop(self.image(n) & ~other[n]) for n in self.planes}),
        )

    def minus(self, other: Mask) -> Mask:
        """Return the part of the mask that is not in another one."""
        planes = dict(self.planes)
        for slice_index in self.planes.keys() & other.planes.keys():
            left = self.image(slice_index) & ~other.image(slice_index)
            planes[slice_index] = Plane.crop(left)
        return Mask(self.shape, _kept(planes))

    def off_slices(self, slice_indices: Container[int]) -> Mask:
        """Return the part of the mask that is not on some slices."""
        return Mask(
            self.shape, _kept({n: p for n, p in self.planes.items() if n not in slice_indices})
        )

    def union(self, other: Mask) -> Mask:
        """Return everything that is in either mask."""
        planes = dict(self.planes)
        for slice_index in other.planes:
            either = self.image(slice_index) | other.image(slice_index)
            planes[slice_index] = Plane.crop(either)
        return Mask(self.shape, _kept(planes))

    def image(self, slice_index: int) -> np.ndarray:
        """Return one slice at full size."""
        image = np.zeros(self.shape, dtype=bool)
        plane = self.planes.get(slice_index)
        if plane is not None:
            image[plane.box] = plane.pixels
        return image

    def paint(self, stack: np.ndarray, value: object) -> None:
        """Write a value into an array [slices, rows, columns] wherever the mask is."""
        for slice_index, plane in self.planes.items():
            stack[slice_index][plane.box][plane.pixels] = value

    def read(self, stack: np.ndarray) -> np.ndarray:
        """Return the values of an array [slices, rows, columns] under the mask."""
        parts = [stack[n][p.box][p.pixels] for n, p in sorted(self.planes.items())]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=stack.dtype)

    def same_as(self, other: Mask) -> bool:
        """Return whether both cover exactly the same voxels."""
        return self.planes.keys() == other.planes.keys() and all(
            (plane.row, plane.column) == (twin.row, twin.column)
            and np.array_equal(plane.pixels, twin.pixels)
            for plane, twin in ((plane, other.planes[n]) for n, plane in self.planes.items())
        )

    @property
    def voxels(self) -> int:
        """The mask's size in voxels."""
        return sum(int(plane.pixels.sum()) for plane in self.planes.values())

    @property
    def slices(self) -> tuple[int, ...]:
        """The slices that the mask lies on, in order."""
        return tuple(sorted(self.planes))

    @property
    def largest_slice(self) -> int:
        """The slice with the most voxels, the first of equal ones; the mask must not be empty."""
        return max(self.planes, key=lambda n: (int(self.planes[n].pixels.sum()), -n))

    def __bool__(self) -> bool:
        return bool(self.planes)

    def __iter__(self) -> Iterator[tuple[int, Plane]]:
        return iter(sorted(self.planes.items()))


def overlap(first: Mask, second: Mask) -> int:
    """Return how many voxels both masks cover."""
    both = first.planes.keys() & second.planes.keys()
    return sum(first.planes[n].shared(second.planes[n]) for n in both)


def _kept(planes: Mapping[int, Plane | None]) -> Mapping[int, Plane]:
    return MappingProxyType({n: planes[n] for n in sorted(planes) if planes[n] is not None})

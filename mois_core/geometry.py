"""A volume in patient coordinates, and the stack of slices seen through it.

Scans arrive with their voxels in any order: sagittal first, upside down, oblique. The network
wants upright coronal slices, and the user clicks in patient coordinates (RAS, millimetres). All
of the turning around happens here, and every step has its exact inverse beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations, product

import numpy as np

from mois_core.errors import BadInput

# Where slices, rows and columns grow to. Coronal is what the network was trained on. All three
# follow the radiological convention: rows run downwards as the reader sees them, the patient's
# right (or front, in sagittal slices) is on the left, and slices come towards the reader.
VIEWS = {"coronal": "AIL", "sagittal": "LIP", "axial": "IPL"}
OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "S": "I", "I": "S"}
_RAS_DIRECTION = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
_VIEW_ACROSS_RAS_AXIS = ("sagittal", "coronal", "axial")

# Voxels this much longer in one direction than in both others mean that slices were acquired
# across that direction; below it a scan counts as nearly isotropic.
PLAINLY_COARSER = 1.5

# Two grids are the same if no corner of them is further apart than this part of a voxel. NIfTI
# keeps positions in single precision, so equality to the last digit would be too much to ask.
_SAME_GRID_VOXELS = 0.05

_SMALLEST_DETERMINANT = 1e-4

Box = tuple[slice, slice, slice]
"""Bounding box of a part of a 3-D array: start and stop along each axis, without a step."""


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels indexed [k, j, i], as SimpleITK and Slicer hand them out, and where they lie.

    `ijk_to_ras` maps (i, j, k, 1) to millimetres: patient's right, anterior, superior.
    """

    array: np.ndarray
    ijk_to_ras: np.ndarray

    def __post_init__(self) -> None:
        if self.array.ndim != 3:
            raise BadInput(
                f"The image has {self.array.ndim} dimensions {self.array.shape}; "
                "choose one 3-D volume of it."
            )
        if self.array.size == 0:
            raise BadInput(f"The image has no voxels (shape {self.array.shape}).")
        affine = np.array(self.ijk_to_ras, dtype=np.float64)
        if affine.shape != (4, 4) or not np.array_equal(affine[3:], [[0, 0, 0, 1]]):
            raise BadInput("The image's position is not given as a 4 x 4 affine matrix.")
        if not np.isfinite(affine).all():
            raise BadInput("The image's position contains numbers that are not finite.")
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        if not lengths.all():
            raise BadInput("The image has a voxel spacing of 0 mm.")
        if abs(np.linalg.det(affine[:3, :3] / lengths)) < _SMALLEST_DETERMINANT:
            raise BadInput("The image's axes lie in one plane, so its voxels have no volume.")
        affine.flags.writeable = False
        object.__setattr__(self, "ijk_to_ras", affine)

    @cached_property
    def digest(self) -> str:
        """A checksum of the voxels, wherever they lie, and in whatever order and number format
        they are stored."""
        # Adding zero makes one of 0.0 and -0.0, which are the same to whole numbers.
        upright = np.ascontiguousarray(SliceStack(self).array, dtype=np.float32) + np.float32(0)
        return hashlib.sha256(upright.data).hexdigest()

    @cached_property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along i, j and k."""
        i, j, k = np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0).tolist()
        return i, j, k

    @cached_property
    def voxel_volume_cm3(self) -> float:
        """Volume of one voxel in cm3."""
        return float(abs(np.linalg.det(self.ijk_to_ras[:3, :3]))) / 1000

    @cached_property
    def ras_to_ijk(self) -> np.ndarray:
        """4 x 4 matrix from RAS millimetres to (i, j, k, 1)."""
        return np.linalg.inv(self.ijk_to_ras)


def same_grid(volume: Volume, other: Volume) -> bool:
    """Return whether the voxels of both volumes lie in the same places, so that masks fit both."""
    if volume.array.shape != other.array.shape:
        return False
    return _lie_together(volume.array.shape[::-1], volume.ras_to_ijk, other.ijk_to_ras)


def _lie_together(sizes: Sequence[int], from_ras: np.ndarray, to_ras: np.ndarray) -> bool:
    """Return whether voxels that one matrix puts to places are those that another finds there.

    The eight outermost voxels are compared: between them nothing can be further apart.
    """
    corners = np.array([(*corner, 1) for corner in product(*((0, size - 1) for size in sizes))])
    apart = corners @ (from_ras @ to_ras - np.eye(4)).T
    return bool(np.abs(apart).max() <= _SAME_GRID_VOXELS)


def turned_like(volume: Volume, grid: Volume) -> Volume | None:
    """Return a volume with axes turned round such that its voxels are in the order of a grid's.

    None if they do not lie where the grid's do. Programs store the same slices either way round.
    """
    along = np.diagonal(grid.ras_to_ijk @ volume.ijk_to_ras)[:3]
    turn = np.eye(4)
    for axis in np.flatnonzero(along < 0):
        turn[axis, axis] = -1
        turn[axis, 3] = volume.array.shape[2 - axis] - 1
    array = np.flip(volume.array, [2 - axis for axis in np.flatnonzero(along < 0).tolist()])
    turned = Volume(array, volume.ijk_to_ras @ turn)
    return turned if same_grid(turned, grid) else None


def _closest_axes(ijk_to_ras: np.ndarray) -> tuple[int, int, int]:
    """Return the volume axes (0 for i, 1 for j, 2 for k) that run closest to R-L, A-P and S-I.

    The best match is the permutation with the largest product of cosines, which is never zero
    for an invertible matrix: each volume axis gets an anatomical one, and a sign. At 45 degrees
    two matches are equally good; then the directions themselves decide, not the order in which
    the axes are stored, so that the same anatomy gives the same stack however it is stored.
    """
    directions = ijk_to_ras[:3, :3] / np.linalg.norm(ijk_to_ras[:3, :3], axis=0)

    def rank(order: tuple[int, int, int]) -> list[float]:
        cosines = np.array([directions[ras, axis] for ras, axis in enumerate(order)])
        turned_positive = directions[:, order] * np.sign(cosines)
        return [round(abs(cosines.prod()), 6), *np.round(turned_positive.T, 6).ravel().tolist()]

    return max(permutations(range(3)), key=rank)


@dataclass(frozen=True, eq=False)
class SliceStack:
    """The slices of a volume, upright, as views of its own memory.

    In the coronal stack the slice index grows anteriorly, rows run from superior to inferior and
    columns from the patient's right to the left. In the sagittal stack slices grow to the left
    and columns run from anterior to posterior; in the axial one slices grow inferiorly, rows run
    from anterior to posterior and columns from right to left. An oblique volume is not resampled:
    its own axes closest to the anatomical ones are taken.
    """

    volume: Volume
    axis: str = "coronal"

    def __post_init__(self) -> None:
        if self.axis not in VIEWS:
            raise BadInput(f"There are no {self.axis!r} slices; choose one of {', '.join(VIEWS)}.")

    @cached_property
    def _layout(self) -> list[tuple[int, bool]]:
        """The volume axis (0 for i) of slices, rows and columns, and whether it is reversed."""
        closest = _closest_axes(self.volume.ijk_to_ras)
        layout = []
        for letter in VIEWS[self.axis]:
            ras, sign = _RAS_DIRECTION[letter]
            axis = closest[ras]
            layout.append((axis, bool(self.volume.ijk_to_ras[ras, axis] * sign < 0)))
        return layout

    @cached_property
    def _array_axes(self) -> tuple[int, ...]:
        """The axis of the volume's array along which slices, rows and columns run."""
        return tuple(2 - axis for axis, _ in self._layout)

    @cached_property
    def _reversed_axes(self) -> tuple[int, ...]:
        """The axes of the stack that run against the volume's array."""
        return tuple(n for n, (_, is_reversed) in enumerate(self._layout) if is_reversed)

    @cached_property
    def to_ras(self) -> np.ndarray:
        """4 x 4 matrix from (slice, row, column, 1) to RAS millimetres."""
        to_ijk = np.zeros((4, 4))
        to_ijk[3, 3] = 1
        for n, (axis, is_reversed) in enumerate(self._layout):
            to_ijk[axis, n] = -1 if is_reversed else 1
            to_ijk[axis, 3] = self.array.shape[n] - 1 if is_reversed else 0
        return self.volume.ijk_to_ras @ to_ijk

    @cached_property
    def _from_ras(self) -> np.ndarray:
        return np.linalg.inv(self.to_ras)

    @cached_property
    def array(self) -> np.ndarray:
        """The volume's voxels as [slice, row, column]; a view of its memory."""
        return self.from_volume(self.volume.array)

    @property
    def count(self) -> int:
        """Number of slices."""
        return self.array.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of one slice."""
        return self.array.shape[1], self.array.shape[2]

    @property
    def slice_spacing(self) -> float:
        """Millimetres from one slice to the next."""
        return self.volume.spacing[self._layout[0][0]]

    @property
    def pixel_spacing(self) -> tuple[float, float]:
        """Millimetres from one row to the next, and from one column to the next."""
        return self.volume.spacing[self._layout[1][0]], self.volume.spacing[self._layout[2][0]]

    def lies_at(self, to_ras: np.ndarray) -> bool:
        """Return whether this `to_ras` is the stack's own, but for rounding."""
        return _lie_together(self.array.shape, self._from_ras, to_ras)

    def image(self, slice_index: int) -> np.ndarray:
        """Return one slice as [row, column], a view of the volume's memory."""
        return self.array[slice_index]

    def from_volume(self, array: np.ndarray) -> np.ndarray:
        """Return an array in the volume's order [k, j, i] as [slice, row, column], a view of it."""
        if array.shape != self.volume.array.shape:
            raise ValueError(f"shape {array.shape} is not the volume's {self.volume.array.shape}")
        return np.flip(array.transpose(self._array_axes), self._reversed_axes)

    def to_volume(self, stack_array: np.ndarray) -> np.ndarray:
        """Return an array [slice, row, column] in the volume's order [k, j, i], a view of it."""
        if stack_array.shape != self.array.shape:
            raise ValueError(f"shape {stack_array.shape} is not the stack's {self.array.shape}")
        return self.crop_to_volume(stack_array)

    def crop_to_volume(self, crop: np.ndarray) -> np.ndarray:
        """Return a crop of the stack, of any size, turned into the volume's order; a view of it.

        It belongs at `box_to_volume` of the box that it was cropped from.
        """
        unflipped = np.flip(crop, self._reversed_axes)
        return unflipped.transpose(tuple(np.argsort(self._array_axes)))

    def box_to_volume(self, box: Box) -> Box:
        """Return the box of the volume's array that holds the same voxels as a box of the stack."""
        parts = dict.fromkeys(range(3), slice(0))
        for axis, (part, size) in enumerate(zip(box, self.array.shape, strict=True)):
            if not 0 <= part.start <= part.stop <= size:
                raise ValueError(f"box {box} does not lie in the stack's {self.array.shape}")
            start, stop = part.start, part.stop
            if axis in self._reversed_axes:
                start, stop = size - stop, size - start
            parts[self._array_axes[axis]] = slice(start, stop)
        return parts[0], parts[1], parts[2]

    def point_from_ras(self, ras: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return slice, x (column) and y (row) of RAS points [..., 3].

        Voxel centres are whole numbers.
        """
        index = np.asarray(ras, dtype=np.float64) @ self._from_ras[:3, :3].T + self._from_ras[:3, 3]
        return index[..., 0], index[..., 2], index[..., 1]

    def point_to_ras(self, slice_index: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the RAS points [..., 3] at a slice, a column x and a row y."""
        index = np.stack(np.broadcast_arrays(slice_index, y, x), axis=-1).astype(np.float64)
        return index @ self.to_ras[:3, :3].T + self.to_ras[:3, 3]

    def contains(self, ras: np.ndarray) -> np.ndarray:
        """Return whether RAS points [..., 3] lie in a voxel, so that rounding stays inside."""
        slice_index, x, y = self.point_from_ras(ras)
        slices, rows, columns = self.array.shape
        inside = (slice_index >= -0.5) & (slice_index < slices - 0.5)
        return inside & (x >= -0.5) & (x < columns - 0.5) & (y >= -0.5) & (y < rows - 0.5)

    def acquisition_warning(self) -> str | None:
        """Return one line if the scan was plainly acquired across another axis, or None."""
        acquired = acquired_axis(self.volume)
        if acquired is None or acquired == self.axis:
            return None
        return (
            f"The scan was acquired in {acquired} slices but is worked on in {self.axis} ones "
            f"({self.shape[0]} x {self.shape[1]} voxels of {self.pixel_spacing[0]:.2g} x "
            f"{self.pixel_spacing[1]:.2g} mm); outlines may be poorer."
        )


def acquired_axis(volume: Volume) -> str | None:
    """Return the view in which a scan was plainly acquired, or None if it is nearly isotropic.

    Slices lie across the one direction with plainly longer voxels. A lone slice says it by
    itself, whatever thickness its file claims.
    """
    across = [axis for axis in range(3) if volume.array.shape[2 - axis] == 1]
    if len(across) != 1:
        middle, longest = sorted(volume.spacing)[1:]
        if longest < PLAINLY_COARSER * middle:
            return None
        across = [volume.spacing.index(longest)]
    return _VIEW_ACROSS_RAS_AXIS[_closest_axes(volume.ijk_to_ras).index(across[0])]

"""Regions of interest as masks on a scan's grid, which limit a search.

What is needed of the nodes is copied on the main thread; the masks are computed on the worker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import vtk

from MOISSAM2SegmentLib.scene.transforms import (
    linear_between,
    matrix_to_numpy,
    transform_between,
    view_of,
)

LATTICE_MM = 10.0
"""A warp is followed at points this far apart, and taken as linear in between: asking it for every
voxel of a whole body would take minutes, and warps of patients are smooth."""


@dataclass(frozen=True, eq=False)
class Region:
    """A box in any orientation, as seen from the voxels of one scan."""

    shape: tuple[int, int, int]
    spacing: tuple[float, ...]
    half_size: np.ndarray
    to_box: np.ndarray
    """From the world, or from the voxels (i, j, k) if there is no warp, to the box's own axes."""
    is_turned_out: bool = False
    """Whether the region is what lies outside the box, as its node says."""
    warp: Any = None
    """From the scan's own coordinates to the world, where that is not linear."""
    ijk_to_ras: np.ndarray | None = None

    def mask(self) -> np.ndarray:
        """Return the voxels whose centres lie in the region, in the volume's order [k, j, i]."""
        inside = np.ones(self.shape, dtype=bool)
        for axis in range(3):
            inside &= np.abs(self._along(axis)) <= self.half_size[axis]
        return inside != self.is_turned_out

    def _along(self, axis: int) -> np.ndarray:
        """Return every voxel's coordinate along one of the box's axes, from its middle."""
        if self.warp is not None:
            return self._warped[axis]
        size_k, size_j, size_i = self.shape
        a, b, c, d = self.to_box[axis]
        k, j, i = np.ogrid[:size_k, :size_j, :size_i]
        return (c * k + d).astype(np.float32) + (b * j).astype(np.float32) + a * i.astype("f4")

    @property
    def _warped(self) -> list[np.ndarray]:
        cached = self.__dict__.get("_cache")
        if cached is None:
            cached = _on_lattice(self.shape, self.spacing, self._box_coordinates)
            object.__setattr__(self, "_cache", cached)
        return cached

    def _box_coordinates(self, ijk: np.ndarray) -> np.ndarray:
        assert self.ijk_to_ras is not None
        ras = ijk @ self.ijk_to_ras[:3, :3].T + self.ijk_to_ras[:3, 3]
        world = np.array([self.warp.TransformPoint(point) for point in ras.tolist()])
        return world @ self.to_box[:3, :3].T + self.to_box[:3, 3]


def region_of(roi_node: Any, volume_node: Any) -> Region:
    """Return the region that a vtkMRMLMarkupsROINode marks on a scan; both may have transforms."""
    object_to_world = vtk.vtkMatrix4x4()
    object_to_world.DeepCopy(roi_node.GetObjectToWorldMatrix())
    # The matrix may carry the scale of a transform; the size is given before it.
    world_to_box = np.linalg.inv(matrix_to_numpy(object_to_world))
    half_size = np.array(roi_node.GetSize()) / 2
    turned_out = bool(roi_node.GetInsideOut())
    volume = view_of(volume_node)
    scan, shape, spacing = volume.ijk_to_ras, volume.array.shape, volume.spacing
    parent = volume_node.GetParentTransformNode()
    to_world = linear_between(parent, None)
    if to_world is not None:
        return Region(shape, spacing, half_size, world_to_box @ to_world @ scan, turned_out)
    warp = vtk.vtkGeneralTransform()
    warp.DeepCopy(transform_between(parent, None))
    return Region(shape, spacing, half_size, world_to_box, turned_out, warp, scan)


def union(regions: Sequence[Region]) -> np.ndarray | None:
    """Return the voxels that lie in any of several regions; None if there are no regions."""
    masks = [region.mask() for region in regions]
    return np.logical_or.reduce(masks) if masks else None


def _on_lattice(
    shape: tuple[int, int, int],
    spacing: Sequence[float],
    function: Callable[[np.ndarray], np.ndarray],
) -> list[np.ndarray]:
    """Interpolate a function of (i, j, k) at every voxel from its values on a coarse lattice."""
    from scipy.ndimage import map_coordinates

    axes = []
    for count, step in zip(shape, reversed(spacing), strict=True):
        points = max(2, int(np.ceil((count - 1) * step / LATTICE_MM)) + 1)
        axes.append(np.linspace(0, count - 1, points))
    k, j, i = np.meshgrid(*axes, indexing="ij")
    planes = [np.stack([i[n], j[n], k[n]], axis=-1).reshape(-1, 3) for n in range(len(axes[0]))]
    values = np.stack([function(plane) for plane in planes])
    values = values.reshape(*k.shape, 3)
    place = [
        np.arange(count) * (len(axis) - 1) / max(count - 1, 1)
        for count, axis in zip(shape, axes, strict=True)
    ]
    return [_interpolated(values[..., axis], place, map_coordinates) for axis in range(3)]


def _interpolated(values: np.ndarray, place: list[np.ndarray], read: Callable) -> np.ndarray:
    result = np.empty([len(along) for along in place], dtype=np.float32)
    j, i = np.meshgrid(place[1], place[2], indexing="ij")
    for n, k in enumerate(place[0]):
        result[n] = read(values, [np.full(j.shape, k), j, i], order=1, mode="nearest")
    return result

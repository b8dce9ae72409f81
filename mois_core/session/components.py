"""From one mask of everything to lesions: connected components, their holes and deepest points."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from mois_core.session.masks import Mask, Plane

TOUCHING = np.ones((3, 3, 3), dtype=bool)
"""Voxels that share a corner belong together: thick slices move a lesion sideways between two."""


@dataclass(frozen=True)
class Component:
    """One connected component of a mask."""

    mask: Mask
    voxels: int


def connected_components(stack: np.ndarray, smallest: int = 1) -> list[Component]:
    """Return the connected components of an array [slices, rows, columns], largest first."""
    labels, count = ndimage.label(stack, structure=TOUCHING)
    sizes = np.bincount(labels[stack > 0], minlength=count + 1)
    components = []
    for label, where in enumerate(ndimage.find_objects(labels), start=1):
        if sizes[label] < smallest:
            continue
        planes = {}
        for slice_index in range(where[0].start, where[0].stop):
            plane = Plane.crop(labels[slice_index][where[1:]] == label)
            if plane is not None:
                row, column = where[1].start + plane.row, where[2].start + plane.column
                planes[slice_index] = Plane(row, column, plane.pixels)
        components.append(Component(Mask(stack.shape[1:], planes), int(sizes[label])))
    return largest_first(components)


def grown(stack: np.ndarray) -> np.ndarray:
    """Return a mask with every voxel that touches it, ten times faster than scipy's dilation."""
    for axis in range(stack.ndim):
        before, stack = np.moveaxis(stack, axis, 0), stack.copy()
        now = np.moveaxis(stack, axis, 0)
        now[1:] |= before[:-1]
        now[:-1] |= before[1:]
    return stack


def largest_first(components: Iterable[Component]) -> list[Component]:
    """Return components by their size; those of the same size keep their order."""
    return sorted(components, key=lambda component: -component.voxels)


def touching_parts(image: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Return the connected components of a mask, in 2-D or 3-D, that contain any of the seeds."""
    labels, _ = ndimage.label(image, structure=np.ones((3,) * image.ndim, dtype=bool))
    return (labels > 0) & np.isin(labels, np.unique(labels[seeds & image]))


def fill_holes(mask: Mask) -> Mask:
    """Fill every hole of a mask that is closed within its slice."""
    planes = {
        n: Plane(plane.row, plane.column, ndimage.binary_fill_holes(plane.pixels))
        for n, plane in mask
    }
    return Mask(mask.shape, planes)


def centre_inside(component: np.ndarray, spacing: Sequence[float] | float = 1.0) -> tuple[int, ...]:
    """Return the place inside a component that is nearest in mm to its geometric centre.

    The centre itself can lie outside, in the hollow of a bent component.
    """
    places = np.argwhere(component)
    from_centre = (places - places.mean(axis=0)) * np.asarray(spacing)
    return tuple(places[int((from_centre**2).sum(axis=1).argmin())].tolist())


def deepest_point(mask: Mask, spacing: tuple[float, float]) -> tuple[int, float, float]:
    """Return slice, x and y of the point furthest from the mask's border, on its largest slice.

    The plane is padded, so a mask at the edge of the scan does not count as going on outside.
    """
    slice_index = mask.largest_slice
    plane = mask.planes[slice_index]
    depth = ndimage.distance_transform_edt(np.pad(plane.pixels, 1), sampling=spacing)[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return slice_index, float(plane.column + column), float(plane.row + row)

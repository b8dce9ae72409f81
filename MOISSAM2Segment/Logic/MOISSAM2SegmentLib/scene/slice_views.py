"""Slice views of one scan: which slice they show, the whole scan in them, and one lesion of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from mois_core.geometry import SliceStack, Volume, acquired_axis
from MOISSAM2SegmentLib.scene.scan_layout import VIEW_OF_AXIS
from MOISSAM2SegmentLib.scene.transforms import (
    from_world,
    ijk_to_ras,
    linear_between,
    matrix_to_numpy,
    to_world,
    view_of,
)

_VIEWS = "vtkMRMLSliceNode"
LEAST_SIDE_MM = 160.0
"""Least height and width of what a view shows around a lesion: in a view of 450 pixels a lesion of
1 cm then is 28 pixels long, and the surroundings tell where in the body it is."""
ROOM = 2.5
"""A lesion takes the reciprocal of this of a view's shorter side."""
_SAME_MM = 1e-3


class Spread(NamedTuple):
    """Points of the world that have to be seen together, and a voxel between them."""

    middle: np.ndarray
    points: np.ndarray


def slice_views(scene: Any) -> Iterator[Any]:
    """Go through the slice views of a scene."""
    for index in range(scene.GetNumberOfNodesByClass(_VIEWS)):
        yield scene.GetNthNodeByClass(index, _VIEWS)


def visible_slice(scene: Any, volume_node: Any, axis: str = "coronal") -> int:
    """Return the index of the slice shown by the view that looks along the axis most.

    The middle slice if no view shows the scan.
    """
    stack = SliceStack(view_of(volume_node), axis)
    across = stack.to_ras[:3, 0] / np.linalg.norm(stack.to_ras[:3, 0])
    best, slice_index = 0.0, stack.count // 2
    for view in slice_views(scene):
        to_ras = matrix_to_numpy(view.GetSliceToRAS())
        alike = abs(float(to_ras[:3, 2] @ across))
        seen = round(float(stack.point_from_ras(from_world(volume_node, to_ras[:3, 3]))[0][0]))
        if alike > best and 0 <= seen < stack.count:
            best, slice_index = alike, seen
    return slice_index


# ---- a scan as it lies in the world ----------------------------------------------------------


def large_axis(volume_node: Any) -> str:
    """Return the view in which a scan was acquired, as it lies in the world.

    A scan of nearly isotropic voxels is worked on in coronal slices.
    """
    volume = view_of(volume_node)
    to_world_matrix = linear_between(volume_node.GetParentTransformNode(), None)
    if to_world_matrix is not None:
        volume = Volume(volume.array, to_world_matrix @ volume.ijk_to_ras)
    return acquired_axis(volume) or "coronal"


def spread_of_scan(volume_node: Any) -> Spread:
    """Return the corners of a scan, and the voxel in its middle."""
    dimensions = np.array(volume_node.GetImageData().GetDimensions())
    ends = [(-0.5, count - 0.5) for count in dimensions]
    corners = np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1).T
    ijk = np.vstack([dimensions // 2, corners])
    matrix = ijk_to_ras(volume_node)
    middle, *points = to_world(volume_node, ijk @ matrix[:3, :3].T + matrix[:3, 3])
    return Spread(middle, np.array(points))


# ---- turning and zooming views ---------------------------------------------------------------


def turn_to_scan(scene: Any, volume_node: Any) -> None:
    """Turn each of the three slice views to its own plane of the scan.

    Oblique slices are shown as they were acquired; a warped scan has no planes to be turned to.
    """
    is_straight = linear_between(volume_node.GetParentTransformNode(), None) is not None
    axis_of_view = {tag: axis for axis, tag in VIEW_OF_AXIS.items()}
    for view in slice_views(scene):
        axis = axis_of_view.get(view.GetLayoutName())
        if axis is not None:
            view.SetOrientation(axis.capitalize())
            if is_straight:
                view.RotateToVolumePlane(volume_node)


def centre(view: Any, place: np.ndarray) -> None:
    """Show a place of the world in the middle of a view."""
    view.JumpSliceByCentering(*np.asarray(place, dtype=float).tolist())


def show_scan(view: Any, scan: Spread, keep_slice: bool) -> None:
    """Show a whole scan in a view: its middle slice, or the one that is shown."""
    to_ras = matrix_to_numpy(view.GetSliceToRAS())
    normal = to_ras[:3, 2]
    place = (scan.points.min(axis=0) + scan.points.max(axis=0)) / 2
    on_slice = to_ras[:3, 3] if keep_slice else scan.middle
    place = place + normal * (normal @ (on_slice - place))
    across, down = _size_in(view, scan.points)
    width, height, _ = view.GetDimensions()
    _zoom(view, max(across / max(width, 1), down / max(height, 1)))
    centre(view, place)


def show_lesion(view: Any, lesion: Spread) -> None:
    """Show a lesion in the middle of a view, large enough to be judged.

    A reader who has zoomed closer keeps that zoom, as long as it shows the whole lesion.
    """
    width, height, _ = view.GetDimensions()
    longest = max(_size_in(view, lesion.points))
    shorter_side = max(min(width, height), 1)
    present = min(view.GetFieldOfView()[:2])
    wanted = max(LEAST_SIDE_MM, ROOM * longest)
    if not longest < present <= wanted:
        _zoom(view, wanted / shorter_side)
    centre(view, lesion.middle)


def _size_in(view: Any, points: np.ndarray) -> tuple[float, float]:
    """Return how wide and how high points lie apart in the plane of a view."""
    directions = matrix_to_numpy(view.GetSliceToRAS())[:3, :2]
    width, height = np.ptp(points @ directions, axis=0).tolist()
    return width, height


def _zoom(view: Any, mm_per_pixel: float) -> None:
    width, height, _ = view.GetDimensions()
    depth = view.GetFieldOfView()[2]
    view.SetFieldOfView(mm_per_pixel * max(width, 1), mm_per_pixel * max(height, 1), depth)


class FittedViews:
    """The views that show a whole scan, which stay fitted to it while their size changes.

    A new layout gives its views their size later, and Slicer then keeps the height that a view
    shows and cuts its width. A view that the reader has zoomed or moved is left alone.
    """

    def __init__(self, scan: Spread) -> None:
        self._scan = scan
        self._fits: dict[str, tuple] = {}

    def fit(self, scene: Any, keep_slice: bool) -> None:
        """Show the whole scan in all views."""
        for view in slice_views(scene):
            self._fit(view, keep_slice)

    def refit(self, scene: Any) -> None:
        """Show the whole scan in the views whose size has changed since."""
        for view in slice_views(scene):
            known = self._fits.get(view.GetID())
            if known is None or view.GetDimensions() == known[0]:
                continue
            if np.allclose(_placement(view), known[1], atol=_SAME_MM):
                self._fit(view, keep_slice=True)
            else:
                del self._fits[view.GetID()]

    def _fit(self, view: Any, keep_slice: bool) -> None:
        show_scan(view, self._scan, keep_slice)
        self._fits[view.GetID()] = (view.GetDimensions(), _placement(view))


def _placement(view: Any) -> np.ndarray:
    """Return what zooming, moving and turning a view changes, and a new size does not."""
    to_ras = matrix_to_numpy(view.GetSliceToRAS())
    in_plane = to_ras[:3, :2].T @ to_ras[:3, 3]
    return np.array([view.GetFieldOfView()[1], *view.GetXYZOrigin()[:2], *in_plane])

"""A box that was drawn in a slice view, as a rectangle on one slice of the scan."""

from __future__ import annotations

from typing import Any

import numpy as np

from mois_core.errors import BadInput
from mois_core.geometry import SliceStack
from MOISSAM2SegmentLib.messages import tr as _
from MOISSAM2SegmentLib.scene.transforms import from_world

EDGE = 1e-3
"""How far inside the scan's edge, in pixels, a box ends that was drawn beyond it."""

ACROSS_SLICES = _(
    "A box lies on one slice of the scan. Draw it in the view that shows these slices whole; in "
    "the other views click or scribble instead."
)
OUTSIDE = _("The box lies outside the scan.")


def on_slice(volume_node: Any, stack: SliceStack, places: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return two opposite corners, in the scan's own millimetres, of the rectangle on a slice.

    It is the smallest one around the places in the world [n, 3], cut at the scan's edge. Raises
    `BadInput` if they are not on one slice, or all outside the scan.
    """
    slices, x, y = stack.point_from_ras(from_world(volume_node, places))
    indices = np.unique(np.floor(slices + 0.5).astype(int))
    if len(indices) > 1 or min(np.ptp(x), np.ptp(y)) < 1:
        raise BadInput(ACROSS_SLICES)
    rows, columns = stack.shape
    limits = ((x, columns), (y, rows))
    ends = [np.clip([part.min(), part.max()], EDGE - 0.5, n - 0.5 - EDGE) for part, n in limits]
    is_outside = any(part.max() <= -0.5 or part.min() >= n - 0.5 for part, n in limits)
    if is_outside or not 0 <= indices[0] < stack.count:
        raise BadInput(OUTSIDE)
    (x0, x1), (y0, y1) = ends
    index = int(indices[0])
    return stack.point_to_ras(index, x0, y0), stack.point_to_ras(index, x1, y1)

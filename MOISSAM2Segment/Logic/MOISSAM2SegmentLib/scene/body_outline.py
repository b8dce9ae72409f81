"""The body on a scan: its surface for the 3-D view, and the grey values to be shown.

Everything here runs on a worker and touches no node.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from MOISSAM2SegmentLib.scene.surfaces import contour

if TYPE_CHECKING:
    from mois_core.geometry import Volume
    from mois_core.session.body import Body

SHOWN_PERCENTILES = (1.0, 99.0)
"""Grey values of the body from black to white. The brightest lesions and fluids are white."""
_SMOOTHING_BLOCKS = 0.7


@dataclass(frozen=True, eq=False)
class BodyOutline:
    """What is shown of the body on a scan."""

    grey_window: tuple[float, float]
    """The grey values that are to be black and white."""
    surface: Any
    """Its surface as vtkPolyData, in the scan's own RAS."""


def outline_body(volume: Volume, body: Body | None) -> BodyOutline | None:
    """Return the body's outline; None if it could not be told from air for certain."""
    if body is None:
        return None
    blocks = body.stack.volume
    mask = blocks.array > 0
    voxels = _voxels_of_blocks(volume, blocks)[mask]
    low, high = np.percentile(voxels, SHOWN_PERCENTILES).tolist()
    if not low < high:
        return None
    return BodyOutline((low, high), contour(mask, blocks.ijk_to_ras, _SMOOTHING_BLOCKS))


def _voxels_of_blocks(volume: Volume, blocks: Volume) -> np.ndarray:
    """Return the voxel in the middle of each block: enough of them, as there are many blocks."""
    to_voxels = volume.ras_to_ijk @ blocks.ijk_to_ras
    middles = [
        np.floor(np.arange(count) * to_voxels[axis, axis] + to_voxels[axis, 3] + 0.5).astype(int)
        for axis, count in enumerate(reversed(blocks.array.shape))
    ]
    inside = [
        np.minimum(middle, count - 1)
        for middle, count in zip(reversed(middles), volume.array.shape, strict=True)
    ]
    return volume.array[np.ix_(*inside)]

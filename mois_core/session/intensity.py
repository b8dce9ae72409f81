"""Bring the intensities of any scanner to the range the network was trained on.

The two percentiles are taken over voxels above 0: air around the body is exactly 0 in the scans
of the publication, fills most of the volume, and would otherwise decide the scale. Where values
mean the same in all scans, as Hounsfield units do, a window of them takes the percentiles' place.
"""

from __future__ import annotations

import numpy as np

from mois_core.errors import BadInput

PERCENTILES = (0.5, 99.5)
BRIGHTEST = np.float32(255)


def normalise(array: np.ndarray, grey_window: tuple[float, float] | None = None) -> np.ndarray:
    """Scale voxels to 0..255 as float32, not rounded.

    With a ``grey_window`` its first value becomes 0 and its second 255. Without one the two
    percentiles do, and whatever is 0 or below stays 0: the lower percentile is of voxels above 0,
    so it is above 0 itself. An image without contrast is refused: nothing could be told apart.
    """
    if np.issubdtype(array.dtype, np.inexact):
        broken = array.size - int(np.count_nonzero(np.isfinite(array)))
        if broken:
            raise BadInput(
                f"{broken} of the image's {array.size} voxels are not finite numbers (NaN or "
                "infinite); replace them and try again."
            )
    low, high = _percentiles(array) if grey_window is None else _inside(grey_window, array)
    scaled = array.astype(np.float32)
    np.clip(scaled, low, high, out=scaled)
    scaled -= low
    scaled /= high - low
    scaled *= BRIGHTEST
    return scaled


def _percentiles(array: np.ndarray) -> np.ndarray:
    above_zero = array[array > 0]
    if above_zero.size == 0:
        raise BadInput("The image is empty: no voxel is above 0.")
    window = np.percentile(above_zero, PERCENTILES, overwrite_input=True).astype(np.float32)
    low, high = window
    if not low < high:
        raise BadInput(
            f"The image has no contrast: nearly all voxels above 0 have the value {low:g}."
        )
    return window


def _inside(grey_window: tuple[float, float], array: np.ndarray) -> np.ndarray:
    """Return the window; refuse a scan of which nothing is in it, such as one in other units."""
    low, high = grey_window
    darkest, brightest = float(array.min()), float(array.max())
    if not (darkest < high and brightest > low):
        raise BadInput(
            f"The image has no contrast: its values, {darkest:g} to {brightest:g}, lie outside the "
            f"grey window {low:g} to {high:g}; is it in the units that the window is meant for?"
        )
    return np.array(grey_window, dtype=np.float32)

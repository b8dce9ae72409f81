"""Bring the intensities of any scanner to the range the network was trained on.

The two percentiles are taken over voxels above 0: air around the body is exactly 0 in the scans
of the publication, fills most of the volume, and would otherwise decide the scale.
"""

from __future__ import annotations

import numpy as np

from mois_core.errors import BadInput

PERCENTILES = (0.5, 99.5)
BRIGHTEST = np.float32(255)


def normalise(array: np.ndarray) -> np.ndarray:
    """Scale voxels to 0..255 as float32, not rounded; whatever is 0 or below stays 0.

    The lower percentile is of voxels above 0, so it is above 0 itself and clipping puts every
    voxel at or below 0 to exactly 0. An image without contrast between the two percentiles is
    refused: nothing could be told apart in it.
    """
    if np.issubdtype(array.dtype, np.inexact):
        broken = array.size - int(np.count_nonzero(np.isfinite(array)))
        if broken:
            raise BadInput(
                f"{broken} of the image's {array.size} voxels are not finite numbers (NaN or "
                "infinite); replace them and try again."
            )
    above_zero = array[array > 0]
    if above_zero.size == 0:
        raise BadInput("The image is empty: no voxel is above 0.")
    low, high = np.percentile(above_zero, PERCENTILES, overwrite_input=True).astype(np.float32)
    del above_zero
    if not low < high:
        raise BadInput(
            f"The image has no contrast: nearly all voxels above 0 have the value {low:g}."
        )
    scaled = array.astype(np.float32)
    np.clip(scaled, low, high, out=scaled)
    scaled -= low
    scaled /= high - low
    scaled *= BRIGHTEST
    return scaled

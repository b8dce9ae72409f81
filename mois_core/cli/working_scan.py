"""The scan that the network works on, and the way back to the scan that was read.

They are the same unless thin slices are to be averaged. Everything that enters or leaves as an
image lies on the grid of the scan that was read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mois_core.errors import BadInput
from mois_core.geometry import SliceStack, Volume, same_grid
from mois_core.io import read_labels
from mois_core.io.resample import ThickSlices, thicken
from mois_core.session.lesion import Click, Lesion
from mois_core.session.masks import Mask, Plane


def working_scan(stack: SliceStack, is_thickened: bool) -> ThickSlices:
    """Return the scan averaged to thick slices, or as it is."""
    return thicken(stack) if is_thickened else ThickSlices(stack.volume, stack, None, "")


def read_labels_on(volume: Volume, path: Path, what: str) -> np.ndarray:
    """Read a label map in the order of a scan's array; one on another grid is refused.

    A segmentation that Slicer cropped to what it holds lies on the scan's grid too.
    """
    labels = read_labels(path, volume)
    if not same_grid(labels, volume):
        raise BadInput(
            f"{path} does not lie on the same voxels as {what} "
            f"({_size(labels)} against {_size(volume)} voxels, or another position); resample it"
        )
    return labels.array


def _size(volume: Volume) -> str:
    return " x ".join(str(n) for n in volume.array.shape[::-1])


def lesions_on_scan(scan: ThickSlices, lesions: Sequence[Lesion]) -> list[Lesion]:
    """Return lesions with masks and clicks moved to the slices that were read."""
    if scan.slab_of_slice is None:
        return list(lesions)
    thick = SliceStack(scan.volume, scan.original.axis)
    return [
        replace(
            lesion,
            mask=_mask_on_scan(scan.slab_of_slice, lesion.mask),
            clicks=tuple(_click_on_scan(scan.original, thick, click) for click in lesion.clicks),
        )
        for lesion in lesions
    ]


def _mask_on_scan(slab_of_slice: np.ndarray, mask: Mask) -> Mask:
    planes: dict[int, Plane] = {
        slice_index: mask.planes[slab]
        for slice_index, slab in enumerate(slab_of_slice.tolist())
        if slab in mask.planes
    }
    return Mask(mask.shape, planes)


def _click_on_scan(original: SliceStack, thick: SliceStack, click: Click) -> Click:
    position = float(original.point_from_ras(thick.point_to_ras(click.slice, click.x, click.y))[0])
    return replace(click, slice=int(np.clip(round(position), 0, original.count - 1)))

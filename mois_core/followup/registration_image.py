"""A scan as registration sees it: coarse, evenly bright, and without the air around the body."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import SimpleITK

from mois_core.geometry import SliceStack, Volume
from mois_core.io.images import LPS_TO_RAS
from mois_core.session.body import find_body

COARSE_MM = 4.0
"""Voxels are averaged in the plane, and thin slices too, to about this size."""
_BRIGHTEST_PART = 0.99
_SHOWN_PART = 0.02
"""Where no body is told from air, what is brighter than this part of the brightest counts."""


@dataclass(frozen=True, eq=False)
class RegistrationImage:
    """A coarse image in ITK's own coordinates, and where the body is in it."""

    image: SimpleITK.Image
    body: SimpleITK.Image
    """1 in the body, 0 elsewhere, on the voxels of the image."""

    @cached_property
    def body_array(self) -> np.ndarray:
        """The body as a boolean array."""
        return SimpleITK.GetArrayFromImage(self.body) > 0

    @cached_property
    def array(self) -> np.ndarray:
        """The image's voxels."""
        return SimpleITK.GetArrayFromImage(self.image)


def registration_image(volume: Volume) -> RegistrationImage:
    """Return a scan as registration sees it; its brightest voxels in the body are 1, air is 0."""
    stack = SliceStack(volume)
    coarse = SliceStack(_averaged(stack))
    body = _body_on(coarse, stack)
    values = coarse.array.astype(np.float32)
    low = float(np.median(values[~body])) if not body.all() else float(values.min())
    high = float(np.quantile(values[body], _BRIGHTEST_PART))
    values = np.clip((values - low) / max(high - low, 1e-6), 0, 1)
    # The square root evens out what is a lesion, a bladder or a coil's shading.
    values = np.where(body, np.sqrt(values), 0).astype(np.float32)
    return RegistrationImage(
        itk_image(values, coarse.to_ras), itk_image(body.astype(np.uint8), coarse.to_ras)
    )


def itk_image(array: np.ndarray, to_ras: np.ndarray) -> SimpleITK.Image:
    """Return an array [n, m, l] as an image; the matrix takes (n, m, l, 1) to RAS millimetres."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array))
    lps = LPS_TO_RAS @ to_ras[:, [2, 1, 0, 3]]
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    return image


def _averaged(stack: SliceStack) -> Volume:
    """Return the means of blocks of voxels, ordered [slice, row, column]; what is left over at the
    ends of the axes is left out."""
    sizes = np.array([stack.slice_spacing, *stack.pixel_spacing])
    blocks = np.clip(np.round(COARSE_MM / sizes).astype(int), 1, stack.array.shape)
    counts = np.array(stack.array.shape) // blocks
    means = np.empty(counts, dtype=np.float32)
    rows, columns = counts[1] * blocks[1], counts[2] * blocks[2]
    for n in range(counts[0]):
        slab = stack.array[n * blocks[0] : (n + 1) * blocks[0], :rows, :columns]
        slab = slab.astype(np.float32).mean(axis=0)
        means[n] = slab.reshape(counts[1], blocks[1], counts[2], blocks[2]).mean(axis=(1, 3))
    to_fine = np.diag([*blocks, 1.0])
    to_fine[:3, 3] = (blocks - 1) / 2
    to_ras = stack.to_ras @ to_fine
    return Volume(means, to_ras[:, [2, 1, 0, 3]])


def _body_on(coarse: SliceStack, fine: SliceStack) -> np.ndarray:
    """Return the body on coarse voxels; of a scan without certain air, what is not dark."""
    body = find_body(fine)
    if body is None:
        top = float(np.quantile(coarse.array, _BRIGHTEST_PART))
        bright = coarse.array > _SHOWN_PART * top
        return bright if bright.any() else np.ones(coarse.array.shape, dtype=bool)
    blocks = itk_image(np.ascontiguousarray(body.stack.array), body.stack.to_ras)
    grid = itk_image(np.zeros(coarse.array.shape, dtype=np.uint8), coarse.to_ras)
    nearest = SimpleITK.Resample(
        blocks, grid, SimpleITK.Transform(3, SimpleITK.sitkIdentity), SimpleITK.sitkNearestNeighbor
    )
    return SimpleITK.GetArrayFromImage(nearest) > 0

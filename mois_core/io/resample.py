"""Average thin slices to thick ones, for scans that were acquired nearly isotropically.

The network was trained on coronal slices 7.8 mm apart. In a scan of 1 mm slices its memory would
reach a few millimetres instead of a few centimetres. Averaging slabs of thin slices gives it the
distances, and the partial volume, that it knows. Clicks need no conversion, they are in RAS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mois_core.geometry import SliceStack, Volume

TRAINING_SLICE_SPACING_MM = 7.8
"""Distance between the published model's training slices (0.62 x 0.62 x 7.8 mm voxels)."""

_ALREADY_THICK = 0.9
_SLICES_ROUNDED_AWAY = 0.01


@dataclass(frozen=True, eq=False)
class ThickSlices:
    """A volume of thick slices, and the way back to the grid of the scan it was made from."""

    volume: Volume
    original: SliceStack
    slab_of_slice: np.ndarray | None
    """For each slice of the scan, the slab that holds its centre; None if nothing was changed."""
    note: str
    """One line that tells the user what was done."""

    def to_original(self, labels: np.ndarray) -> np.ndarray:
        """Return an array of the thick volume on the scan's grid, both in [k, j, i] order."""
        if labels.shape != self.volume.array.shape:
            raise ValueError(f"shape {labels.shape} is not the volume's {self.volume.array.shape}")
        if self.slab_of_slice is None:
            return labels
        return self.original.to_volume(labels[self.slab_of_slice])

    def from_original(self, labels: np.ndarray) -> np.ndarray:
        """Return a mask or label array on the scan's grid as one of the thick volume.

        A slab has what any of its slices has, and the highest label where they differ.
        """
        if labels.shape != self.original.volume.array.shape:
            raise ValueError(
                f"shape {labels.shape} is not the scan's {self.original.volume.array.shape}"
            )
        if self.slab_of_slice is None:
            return labels
        slices = self.original.from_volume(labels)
        thick = np.zeros(self.volume.array.shape, dtype=labels.dtype)
        for slice_index, slab in enumerate(self.slab_of_slice):
            np.maximum(thick[slab], slices[slice_index], out=thick[slab])
        return thick


def thicken(stack: SliceStack) -> ThickSlices:
    """Average the slices of a stack in slabs as thick as the slices of training.

    Slices that are thick already are left as they are.

    The slabs are centred on the scan and cover all of it; the outermost ones average only the
    part that lies inside. Slices that straddle a border count in both slabs by their share. The
    thick volume's array is [slice, row, column] of the same stack.
    """
    # Five digits are the same from whatever file the scan comes, and so are the averaged voxels.
    step = TRAINING_SLICE_SPACING_MM / float(f"{stack.slice_spacing:.5g}")
    if stack.count == 1 or step * _ALREADY_THICK <= 1:
        note = f"Slices are kept as acquired, {stack.slice_spacing:.3g} mm apart."
        return ThickSlices(stack.volume, stack, None, note)

    slabs = max(1, int(np.ceil((stack.count - _SLICES_ROUNDED_AWAY) / step)))
    first_border = (stack.count - slabs * step) / 2
    borders = first_border + step * np.arange(slabs + 1)
    thick = np.empty((slabs, *stack.shape), dtype=np.float32)
    for slab in range(slabs):
        thick[slab] = _average(stack.array, borders[slab], borders[slab + 1])

    # Slice n reaches from n to n + 1 here, in the affine from n - 0.5 to n + 0.5.
    from_slab = np.diag([step, 1.0, 1.0, 1.0])
    from_slab[0, 3] = first_border + step / 2 - 0.5
    column_row_slab_to_ras = (stack.to_ras @ from_slab)[:, [2, 1, 0, 3]]
    centres = np.arange(stack.count) + 0.5
    slab_of_slice = np.clip(np.floor((centres - first_border) / step), 0, slabs - 1).astype(int)
    note = (
        f"{stack.count} slices {stack.slice_spacing:.3g} mm apart were averaged to "
        f"{slabs} slices {TRAINING_SLICE_SPACING_MM:.3g} mm apart."
    )
    return ThickSlices(Volume(thick, column_row_slab_to_ras), stack, slab_of_slice, note)


def _average(slices: np.ndarray, start: float, end: float) -> np.ndarray:
    """Return the mean of what lies between two positions, slice n reaching from n to n + 1."""
    start, end = max(start, 0.0), min(end, float(len(slices)))
    total = np.zeros(slices.shape[1:], dtype=np.float32)
    for n in range(int(np.floor(start)), int(np.ceil(end))):
        total += slices[n].astype(np.float32) * np.float32(min(end, n + 1) - max(start, n))
    return total / np.float32(end - start)

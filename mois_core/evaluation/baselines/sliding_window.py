"""A network moved over a scan window by window, as MONAI's inferer does it, but not twice in vain.

A click changes what a network sees in a few windows only. The answers of the others are kept, so an
interaction costs a few windows and not the whole scan. The sums are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from torch import Tensor

from mois_core.geometry import Box

Size3 = tuple[int, int, int]

OVERLAP = 0.25
"""Part of a window that the next one shares; what the published evaluations use."""

_SMALLEST_WEIGHT = 1e-3
"""MONAI's lower limit for the weight of a window's corner."""


class SlidingWindow:
    """Windows over a scan, each weighted by a Gaussian around its middle, and their answers."""

    def __init__(self, shape: Size3, window: Size3) -> None:
        self.shape = shape
        self.window = window
        padded = tuple(max(n, w) for n, w in zip(shape, window, strict=True))
        # MONAI pads half of what is missing before the image.
        self.before = tuple((p - n) // 2 for p, n in zip(padded, shape, strict=True))
        steps = [
            w if w == n else max(int(w * (1 - OVERLAP)), 1)
            for n, w in zip(padded, window, strict=True)
        ]
        # In MONAI's own order of windows, so that sums are rounded alike.
        self.windows: list[Box] = dense_patch_slices(padded, window, steps)
        weights = compute_importance_map(window, mode="gaussian", sigma_scale=0.125)
        smallest = max(float(weights[weights != 0].min()), _SMALLEST_WEIGHT)
        self.weights = weights.clamp(min=smallest)
        self.sum = torch.zeros(padded)
        self.total = torch.zeros(padded)
        for box in self.windows:
            self.total[box] += self.weights
        self._answers: dict[int, tuple[Hashable, Tensor]] = {}
        self.computed = 0
        """How many windows the network has answered so far."""

    def box_in_scan(self, index: int) -> Box:
        """Return where a window lies in the scan; it may reach out of it."""
        a, b, c = (
            slice(part.start - shift, part.stop - shift)
            for part, shift in zip(self.windows[index], self.before, strict=True)
        )
        return a, b, c

    def update(
        self, seen: Callable[[Box], Hashable], answer: Callable[[Box], Tensor]
    ) -> np.ndarray:
        """Return the weighted mean of all windows' answers, [slices, rows, columns].

        ``seen`` tells what a window shows besides the image; ``answer`` is asked only where that
        has changed.
        """
        for index, box in enumerate(self.windows):
            place = self.box_in_scan(index)
            now = seen(place)
            before = self._answers.get(index)
            if before is not None and before[0] == now:
                continue
            new = answer(place).float().cpu()
            old = before[1] if before is not None else 0.0
            self.sum[box] += self.weights * (new - old)
            self._answers[index] = (now, new)
            self.computed += 1
        inside = tuple(
            slice(first, first + n) for first, n in zip(self.before, self.shape, strict=True)
        )
        return (self.sum[inside] / self.total[inside]).numpy()


def crop(array: Tensor, box: Sequence[slice]) -> Tensor:
    """Return a box of a 3-D tensor, with zeros where it reaches out of it."""
    whole = torch.zeros([part.stop - part.start for part in box], dtype=array.dtype)
    there, here = [], []
    for part, size in zip(box, array.shape, strict=True):
        first, last = max(part.start, 0), min(part.stop, size)
        there.append(slice(first, last))
        here.append(slice(first - part.start, last - part.start))
    whole[tuple(here)] = array[tuple(there)]
    return whole

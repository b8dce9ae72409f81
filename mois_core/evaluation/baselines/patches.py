"""Patches of training scans: where they lie, what is to be marked in them, how they vary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mois_core.evaluation.baselines.patch_network import NetworkSize, shrunk, working_size
from mois_core.evaluation.baselines.sliding_window import crop
from mois_core.training.training_case import TrainingCase

AROUND_WHAT_IS_MEANT, AROUND_ANOTHER = 0.5, 0.25
"""Shares of patches around a lesion that is to be marked, and around one of another appearance, if
the scan has any; the others lie anywhere in the body. Without the second share a network would
learn that what lies in the middle is meant, clicks or not."""
_ZOOM = (1.0, 1.25)
_DEGREES = 5.0
_GAMMA = (0.7, 1.5)
_GAMMA_SHARE = 0.3
"""These four are those of DINs, and the same for all: none of the networks learns from more."""
_JITTER = 0.3
"""How far from the middle of a patch, as a part of its side, its lesion may lie."""


@dataclass(frozen=True, eq=False)
class PatchScan:
    """A training scan on a network's grid, in bytes, so that hundreds fit into memory."""

    images: np.ndarray
    """uint8 [slices, rows, columns]."""
    labels: np.ndarray
    """uint8 lesion ids."""
    appearances: np.ndarray
    """uint8, the appearance of the lesion with each id."""

    @classmethod
    def of(cls, case: TrainingCase, shrink: float) -> PatchScan:
        """Bring a case to the working grid; images as for a scan, labels to the nearest pixel."""
        size = working_size(case.images.shape[1:], shrink)
        labels = torch.from_numpy(case.labels)[:, None].float()
        labels = F.interpolate(labels, size, mode="nearest-exact")[:, 0]
        images = np.rint(shrunk(case.images, shrink)).astype(np.uint8)
        return cls(images, labels.numpy().astype(np.uint8), case.appearances)

    @cached_property
    def lesions(self) -> dict[int, np.ndarray]:
        """Voxels of each lesion by its id."""
        places = np.argwhere(self.labels)
        values = self.labels[tuple(places.T)]
        return {int(one): places[values == one].astype(np.int16) for one in np.unique(values)}

    @cached_property
    def body(self) -> np.ndarray:
        """Flat indices of some voxels of the body."""
        inside = np.flatnonzero(self.images)
        return inside[:: max(len(inside) // 20_000, 1)].astype(np.int32)

    @cached_property
    def moments(self) -> tuple[float, float]:
        """Mean and deviation of the brightness of the body."""
        inside = self.images[self.images > 0].astype(np.float32)
        return (float(inside.mean()), float(inside.std()) + 1e-8) if len(inside) else (0.0, 1.0)

    def standardised_crop(self, box: Sequence[slice]) -> Tensor:
        """Return a box of the scan as `standardised` would give it of the whole scan."""
        mean, deviation = self.moments
        brightness = crop(torch.from_numpy(self.images), box).float()
        return torch.where(brightness > 0, (brightness - mean) / deviation, 0.0)


@dataclass(frozen=True, eq=False)
class Patch:
    """What a network learns from in one place."""

    image: Tensor
    """Standardised brightness [slices, rows, columns]."""
    target: np.ndarray
    """Where the lesions are that shall be marked."""


def draw_patch(
    rng: np.random.Generator, scan: PatchScan, size: NetworkSize, one_appearance: bool
) -> Patch:
    """Draw a patch. Of one appearance, that of a lesion drawn, all lesions are to be marked.

    Without ``one_appearance`` it is all lesions of the scan: what is meant is not shown by clicks.
    """
    known = list(scan.lesions)
    lesion_id = int(rng.choice(known)) if known else 0
    alike = [one for one in known if scan.appearances[one] == scan.appearances[lesion_id]]
    middle = _middle(rng, scan, alike, [one for one in known if one not in alike], size)
    wide = _wide(size)
    box = []
    for at, n, whole in zip(middle.tolist(), wide, scan.images.shape, strict=True):
        # A patch reaches out of the scan only where it is larger.
        first = min(max(round(at - n / 2), 0), whole - n) if n < whole else (whole - n) // 2
        box.append(slice(first, first + n))
    image = scan.standardised_crop(box)
    labels = crop(torch.from_numpy(scan.labels), box)
    if one_appearance and lesion_id:
        meant = scan.appearances == scan.appearances[lesion_id]
        meant[0] = False
        target = torch.from_numpy(meant)[labels.long()]
    else:
        target = labels > 0
    return _varied(rng, image, target, size)


def _middle(
    rng: np.random.Generator,
    scan: PatchScan,
    meant: Sequence[int],
    others: Sequence[int],
    size: NetworkSize,
) -> np.ndarray:
    """Draw where a patch lies."""
    share = rng.random()
    if meant and share < AROUND_WHAT_IS_MEANT + AROUND_ANOTHER:
        around = meant if share < AROUND_WHAT_IS_MEANT or not others else others
        voxels = scan.lesions[int(rng.choice(around))]
        jitter = rng.uniform(-_JITTER, _JITTER, 3) * size.patch
        return voxels[int(rng.integers(len(voxels)))] + jitter
    if len(scan.body):
        return np.array(np.unravel_index(int(rng.choice(scan.body)), scan.images.shape))
    return np.array(scan.images.shape) / 2


def _wide(size: NetworkSize) -> tuple[int, int, int]:
    """Return how much of a scan a patch can show once it is turned and zoomed."""
    slices, rows, columns = size.patch
    turn = math.radians(_DEGREES)
    return (
        slices,
        math.ceil(_ZOOM[1] * (rows * math.cos(turn) + columns * math.sin(turn))),
        math.ceil(_ZOOM[1] * (columns * math.cos(turn) + rows * math.sin(turn))),
    )


def _varied(rng: np.random.Generator, image: Tensor, target: Tensor, size: NetworkSize) -> Patch:
    """Turn, zoom and flip a patch, and vary its contrast; slices stay slices."""
    _, rows, columns = size.patch
    zoom = rng.uniform(*_ZOOM, 2)
    angle = math.radians(rng.uniform(-_DEGREES, _DEGREES))
    down = (torch.arange(rows) - (rows - 1) / 2) * zoom[0]
    across = (torch.arange(columns) - (columns - 1) / 2) * zoom[1]
    y, x = torch.meshgrid(down, across, indexing="ij")
    y, x = y * math.cos(angle) - x * math.sin(angle), y * math.sin(angle) + x * math.cos(angle)
    wide_rows, wide_columns = image.shape[1:]
    grid = torch.stack([2 * x / (wide_columns - 1), 2 * y / (wide_rows - 1)], dim=-1).float()
    grid = grid.expand(len(image), -1, -1, -1)
    moved = F.grid_sample(image[:, None], grid, "bilinear", align_corners=True)[:, 0]
    marked = F.grid_sample(target[:, None].float(), grid, "nearest", align_corners=True)[:, 0]
    flipped = [axis for axis in range(3) if rng.random() < 0.5]
    moved, marked = moved.flip(flipped), marked.flip(flipped)
    if rng.random() < _GAMMA_SHARE:
        moved = _with_gamma(moved, float(rng.uniform(*_GAMMA)))
    return Patch(moved, marked.numpy() > 0.5)


def _with_gamma(image: Tensor, gamma: float) -> Tensor:
    """Bend the brightness of the body, and give it its mean and deviation back; air stays 0."""
    body = image != 0
    inside = image[body]
    if len(inside) < 2 or inside.max() <= inside.min():
        return image
    low, high = inside.min(), inside.max()
    bent = ((inside - low) / (high - low)) ** gamma
    bent = (bent - bent.mean()) / (bent.std() + 1e-8) * inside.std() + inside.mean()
    changed = image.clone()
    changed[body] = bent
    return changed

"""What one step learns from: slices, or crops of slices, of a few scans.

Of each scan come some consecutive slices, through which lesions are propagated, and some single
ones from elsewhere, which give exemplars to search the others with. Everything is drawn from a
generator that the step's index seeds, so a step is the same whenever and wherever it is run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mois_core.network.config import STRIDE, Size
from mois_core.network.model import SliceFeatures
from mois_core.session.preprocess import FULL_BRIGHTNESS
from mois_core.training.config import SamplingConfig
from mois_core.training.resized_case import LesionOnSlice, ResizedCase

_JITTER = 0.3
"""How far from the middle of a crop, as a part of its side, its lesion may lie."""

_AIR = FULL_BRIGHTNESS // 16
"""What is darker than this is outside the body."""

_APPEARANCES_SEARCHED = 2
"""Appearances that the crops of a scan are searched for, each with exemplars of its own."""

FEWEST_PIXELS = 12
"""A lesion that shows fewer model pixels than this is not clicked."""


@dataclass(frozen=True, eq=False)
class ScanSample:
    """The crops of one scan: the consecutive ones first."""

    images: Tensor
    """[crops, 1, rows, columns], brightness 0 to 1."""
    labels: Tensor
    """uint8 lesion ids [crops, rows, columns]."""
    slice_indices: tuple[int, ...]
    """The slice that each crop is of."""
    appearances: np.ndarray
    """uint8, the appearance of the lesion with each id."""
    searched: tuple[int, ...]
    """The appearances to search for."""
    features: SliceFeatures | None = None
    """Of the crops, if they are kept."""

    def pinned(self) -> ScanSample:
        """Return the same crops in memory that a GPU can read by itself."""
        return replace(
            self,
            images=self.images.pin_memory(),
            labels=self.labels.pin_memory(),
            features=self.features and self.features.mapped(Tensor.pin_memory),
        )

    def appearance_of_pixels(self) -> Tensor:
        """Return the appearance of the lesion at each pixel, [crops, rows, columns].

        Where there is no lesion it means nothing.
        """
        return torch.from_numpy(self.appearances.astype(np.int64))[self.labels.long()]


def sample_scan(rng: np.random.Generator, scan: ResizedCase, how: SamplingConfig) -> ScanSample:
    """Draw the crops of one scan around lesions of two of its appearances."""
    whole = scan.images.shape[1:]
    size = how.crop_size or whole
    seen = [lesion for lesion in scan.lesions_on_slices if lesion.pixels >= FEWEST_PIXELS]
    present = sorted({lesion.appearance for lesion in seen})
    drawn = rng.permutation(present)[:_APPEARANCES_SEARCHED]
    searched = tuple(int(appearance) for appearance in drawn)
    by_appearance = [
        [lesion for lesion in seen if lesion.appearance == appearance] for appearance in searched
    ]
    first = _pick(rng, by_appearance[0], how.by_size)
    length = min(how.consecutive, scan.count)
    start = int(np.clip(first.slice_index - rng.integers(length), 0, scan.count - length))
    single = [
        _anywhere(rng, scan)
        if rng.random() < how.anywhere
        else _pick(rng, by_appearance[n % len(by_appearance)], how.by_size)
        for n in range(how.elsewhere)
    ]
    # Features are cut at whole places.
    grid = STRIDE if scan.features else 1
    corners = [_corner(rng, first, size, whole, grid)] * length
    corners += [_corner(rng, lesion, size, whole, grid) for lesion in single]
    slice_indices = (*range(start, start + length), *(lesion.slice_index for lesion in single))
    crops = [
        np.s_[slice_index, row : row + size[0], column : column + size[1]]
        for slice_index, (row, column) in zip(slice_indices, corners, strict=True)
    ]
    mirrored = slice(None, None, -1) if rng.random() < how.flip else slice(None)
    images = np.stack([scan.images[crop][:, mirrored] for crop in crops])
    labels = np.stack([scan.labels[crop][:, mirrored] for crop in crops])
    brightness = _varied(rng, images, how.brightness)
    warped = _warped(rng, brightness, torch.from_numpy(labels), how)
    features = scan.features and _cut(scan.features, slice_indices, corners, size)
    return ScanSample(*warped, slice_indices, scan.appearances, searched, features)


def _cut(
    features: SliceFeatures, slice_indices: Sequence[int], corners: Sequence[Size], size: Size
) -> SliceFeatures:
    """Cut crops from the features of whole slices."""
    maps = []
    for kept in (features.coarse, features.middle, features.fine):
        pixels = STRIDE * features.coarse.shape[-1] // kept.shape[-1]
        rows, columns = (side // pixels for side in size)
        starts = [(row // pixels, column // pixels) for row, column in corners]
        crops = [
            kept[n, :, row : row + rows, column : column + columns]
            for n, (row, column) in zip(slice_indices, starts, strict=True)
        ]
        maps.append(torch.stack(crops))
    return SliceFeatures(*maps)


def _pick(
    rng: np.random.Generator, lesions: Sequence[LesionOnSlice], by_size: float
) -> LesionOnSlice:
    """Pick a lesion first and then one of its slices: long lesions are not drawn more often.

    The share ``by_size`` is drawn by the pixels they show instead.
    """
    if by_size and rng.random() < by_size:
        pixels = np.array([lesion.pixels for lesion in lesions], dtype=float)
        return lesions[int(rng.choice(len(lesions), p=pixels / pixels.sum()))]
    lesion_id = rng.choice(sorted({lesion.lesion_id for lesion in lesions}))
    own = [lesion for lesion in lesions if lesion.lesion_id == lesion_id]
    return own[int(rng.integers(len(own)))]


def _anywhere(rng: np.random.Generator, scan: ResizedCase) -> LesionOnSlice:
    """Pick a place in the body, as if it were a lesion of no size."""
    slice_index = int(rng.integers(scan.count))
    image = scan.images[slice_index]
    inside = np.flatnonzero(image > _AIR)
    place = int(rng.choice(inside)) if len(inside) else int(rng.integers(image.size))
    row, column = divmod(place, image.shape[-1])
    return LesionOnSlice(slice_index, 0, 0, row, column, 0)


def _corner(
    rng: np.random.Generator, lesion: LesionOnSlice, size: Size, whole: Size, grid: int
) -> Size:
    """Draw the top left of a crop with the lesion somewhere around its middle, as multiples of
    ``grid``, which also divides both sizes."""
    if tuple(size) == tuple(whole):
        return 0, 0
    size, whole = np.array(size), np.array(whole)
    shift = rng.uniform(-_JITTER, _JITTER, size=2) * size
    middle = np.array([lesion.row, lesion.column]) + shift - size / 2
    row, column = np.clip(np.rint(middle / grid) * grid, 0, whole - size).astype(int)
    return int(row), int(column)


def _varied(rng: np.random.Generator, images: np.ndarray, strength: float) -> Tensor:
    """Vary brightness as it differs between scanners for the same tissue, all slices alike."""
    brightness = torch.from_numpy(images).float()[:, None] / FULL_BRIGHTNESS
    gain, shift, gamma = rng.uniform(-1, 1, size=3) * strength
    changed = brightness.pow(float(1 + 0.17 * gamma)) * float(1 + 0.1 * gain)
    return (changed + float(0.02 * shift)).clamp(0, 1)


def _warped(
    rng: np.random.Generator, images: Tensor, labels: Tensor, how: SamplingConfig
) -> tuple[Tensor, Tensor]:
    """Turn, shear and scale all crops of a scan alike; labels go to the nearest pixel."""
    if not (how.degrees or how.shear or how.scale):
        return images, labels
    turn, shear, scale = rng.uniform(-1, 1, size=3)
    turn = math.radians(how.degrees * turn)
    slant = math.tan(math.radians(how.shear * shear))
    factor = 1 + how.scale * scale
    rows = [
        [math.cos(turn), math.cos(turn) * slant - math.sin(turn), 0.0],
        [math.sin(turn), math.sin(turn) * slant + math.cos(turn), 0.0],
    ]
    matrix = torch.tensor(rows) / factor
    grid = F.affine_grid(matrix.expand(len(images), -1, -1), images.shape, align_corners=False)
    warped = F.grid_sample(images, grid, mode="bilinear", align_corners=False)
    moved = F.grid_sample(labels[:, None].float(), grid, mode="nearest", align_corners=False)
    return warped.clamp(0, 1), moved[:, 0].round().to(labels.dtype)

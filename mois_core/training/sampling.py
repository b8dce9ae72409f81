"""What one step learns from: slices, or crops of slices, of a few scans.

Of each scan come some consecutive slices, on which lesions are followed, and some single ones
from elsewhere, which give exemplars to search the others with. Everything is drawn from a
generator that the step's number seeds, so a step is the same whenever and wherever it is run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mois_core.session.preprocess import FULL_BRIGHTNESS
from mois_core.training.resized_case import ResizedCase, Sight

_JITTER = 0.3
"""How far from the middle of a crop, as a part of its side, its lesion may lie."""

_AIR = FULL_BRIGHTNESS // 16
"""What is darker than this is outside the body."""

FEWEST_PIXELS = 12
"""A lesion that shows fewer model pixels than this is not clicked."""


@dataclass(frozen=True)
class Sampling:
    """How many slices of how many scans, and how much of each."""

    scans: int = 4
    """Scans per step, over all processes."""
    consecutive: int = 4
    """Slices that lesions are followed through."""
    elsewhere: int = 3
    """Further slices of each scan."""
    anywhere: float = 0.0
    """Share of those whose crop is of any place in the body, with or without lesions: crops
    around lesions do not show every healthy tissue."""
    size: int | None = None
    """Side of the crops in model pixels; None for whole slices."""
    degrees: float = 0.0
    """Slices are turned by up to this much either way, all of a scan alike."""
    shear: float = 0.0
    """And sheared by up to this many degrees."""
    scale: float = 0.0
    """And made larger or smaller by up to this part."""
    flip: float = 0.5
    """How often left and right are exchanged."""
    brightness: float = 1.0
    """How strongly brightness and contrast vary; 0 leaves them as they are."""


@dataclass(frozen=True, eq=False)
class ScanSample:
    """The crops of one scan: the consecutive ones first."""

    images: Tensor
    """[crops, 1, size, size], brightness 0 to 1."""
    labels: Tensor
    """uint8 [crops, size, size]."""
    slices: tuple[int, ...]
    kinds: np.ndarray
    asked: tuple[int, ...]
    """The kinds of lesions to ask for."""


def sample_scan(rng: np.random.Generator, stack: ResizedCase, how: Sampling) -> ScanSample:
    """Draw the crops of one scan around lesions of two of its kinds."""
    size = how.size or stack.images.shape[-1]
    seen = [sight for sight in stack.sights if sight.pixels >= FEWEST_PIXELS]
    kinds = sorted({sight.kind for sight in seen})
    asked = tuple(int(kind) for kind in rng.permutation(kinds)[:2])
    by_kind = [[sight for sight in seen if sight.kind == kind] for kind in asked]
    first = _pick(rng, by_kind[0])
    length = min(how.consecutive, stack.count)
    start = int(np.clip(first.slice - rng.integers(length), 0, stack.count - length))
    places = [(number, first) for number in range(start, start + length)]
    for number in range(how.elsewhere):
        if rng.random() < how.anywhere:
            sight = _anywhere(rng, stack)
        else:
            sight = _pick(rng, by_kind[number % len(by_kind)])
        places.append((sight.slice, sight))
    corner = _corner(rng, first, size, stack.images.shape[-1])
    corners = [corner] * length + [
        _corner(rng, sight, size, stack.images.shape[-1]) for _, sight in places[length:]
    ]
    cuts = [
        (number, slice(row, row + size), slice(column, column + size))
        for (number, _), (row, column) in zip(places, corners, strict=True)
    ]
    mirrored = slice(None, None, -1) if rng.random() < how.flip else slice(None)
    images = np.stack([stack.images[cut][:, mirrored] for cut in cuts])
    labels = np.stack([stack.labels[cut][:, mirrored] for cut in cuts])
    brightness, numbers = _warped(
        rng, _varied(rng, images, how.brightness), torch.from_numpy(labels), how
    )
    return ScanSample(
        brightness,
        numbers,
        tuple(number for number, _ in places),
        stack.kinds,
        asked,
    )


def _pick(rng: np.random.Generator, sights: Sequence[Sight]) -> Sight:
    """A lesion first and then one of its slices: long lesions are not drawn more often."""
    lesion = rng.choice(sorted({sight.lesion for sight in sights}))
    own = [sight for sight in sights if sight.lesion == lesion]
    return own[int(rng.integers(len(own)))]


def _anywhere(rng: np.random.Generator, stack: ResizedCase) -> Sight:
    """A place in the body, as if it were a lesion of no size."""
    number = int(rng.integers(stack.count))
    inside = np.flatnonzero(stack.images[number] > _AIR)
    place = int(rng.choice(inside)) if len(inside) else int(rng.integers(stack.images[number].size))
    row, column = divmod(place, stack.images.shape[-1])
    return Sight(number, 0, 0, row, column, 0)


def _corner(rng: np.random.Generator, sight: Sight, size: int, whole: int) -> tuple[int, int]:
    """Top left of a crop with the lesion somewhere around its middle."""
    if size == whole:
        return 0, 0
    shift = rng.uniform(-_JITTER, _JITTER, size=2) * size
    middle = np.array([sight.row, sight.column]) + shift - size / 2
    row, column = np.clip(np.rint(middle), 0, whole - size).astype(int)
    return int(row), int(column)


def _varied(rng: np.random.Generator, images: np.ndarray, strength: float) -> Tensor:
    """Brightness of the same tissue differs between scanners: one change for all slices."""
    brightness = torch.from_numpy(images).float()[:, None] / FULL_BRIGHTNESS
    gain, shift, gamma = rng.uniform(-1, 1, size=3) * strength
    changed = brightness.pow(float(1 + 0.17 * gamma)) * float(1 + 0.1 * gain)
    return (changed + float(0.02 * shift)).clamp(0, 1)


def _warped(
    rng: np.random.Generator, images: Tensor, labels: Tensor, how: Sampling
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
    numbers = F.grid_sample(labels[:, None].float(), grid, mode="nearest", align_corners=False)
    return warped.clamp(0, 1), numbers[:, 0].round().to(labels.dtype)

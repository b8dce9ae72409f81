"""Clicks of a simulated reader, by the rules of the paper, of its code, and of training.

All arrays are stacks of slices, and voxels are indices into them: [slice, row, column].
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from mois_core.errors import BadInput
from mois_core.geometry import Box
from mois_core.session.components import TOUCHING, centre_inside, deepest_point
from mois_core.session.masks import Mask

Rule = Literal["centre", "deepest", "published"]
RULES: tuple[Rule, ...] = ("centre", "deepest", "published")

PUBLISHED_PATCH = (16, 512, 512)
"""Slices, rows and columns of the patches that the published code looks for an error in."""
PUBLISHED_SEED = 42
"""The published code starts its random numbers anew with this before every single click."""
_SMOOTHING = np.float32(1e-5)


@dataclass(frozen=True)
class VoxelClick:
    """A click on a voxel of the stack: inside a lesion or, if not positive, outside of it."""

    voxel: tuple[int, int, int]
    """Slice, row and column."""
    positive: bool


def next_clicks(
    result: np.ndarray,
    truth: np.ndarray,
    spacing: tuple[float, float, float],
    rule: Rule = "centre",
) -> list[VoxelClick]:
    """Return the clicks of one interaction, none if nothing is wrong.

    ``spacing`` is in mm from slice to slice, row to row, column to column.
    """
    box = _box_around(result | truth)
    if box is None:
        return []
    if rule == "published":
        return _as_published(result, truth)
    offset = tuple(part.start for part in box)
    click = _at_largest_error(result[box], truth[box], spacing, rule)
    if click is None:
        return []
    voxel = tuple(int(a + b) for a, b in zip(click.voxel, offset, strict=True))
    return [VoxelClick(voxel, click.positive)]


def _at_largest_error(
    result: np.ndarray, truth: np.ndarray, spacing: Sequence[float], rule: Rule
) -> VoxelClick | None:
    """Return a click in the largest connected component that is missing or too much."""
    best: tuple[int, bool, np.ndarray] | None = None
    for positive, wrong in ((True, truth & ~result), (False, result & ~truth)):
        components, count = ndimage.label(wrong, structure=TOUCHING)
        if not count:
            continue
        sizes = np.bincount(components.ravel())[1:]
        largest = int(sizes.argmax())
        if best is None or sizes[largest] > best[0]:
            best = int(sizes[largest]), positive, components == largest + 1
    if best is None:
        return None
    _, positive, component = best
    choose = deepest_voxel if rule == "deepest" else centre_inside
    return VoxelClick(choose(component, spacing), positive)


def deepest_voxel(component: np.ndarray, spacing: Sequence[float]) -> tuple[int, int, int]:
    """Return the voxel furthest from the border on the slice that the component is largest on."""
    slice_index, x, y = deepest_point(Mask.from_stack(component), (spacing[1], spacing[2]))
    return slice_index, int(y), int(x)


def _box_around(mask: np.ndarray) -> Box | None:
    if not mask.any():
        return None
    return ndimage.find_objects(mask.astype(np.uint8))[0]


# ---- the published code ----------------------------------------------------------------------


def _as_published(result: np.ndarray, truth: np.ndarray) -> list[VoxelClick]:
    """Return up to two clicks: anywhere in what is missing, and anywhere in what is too much.

    Each is looked for in one patch only. Which patch it is does not depend on the result, since
    the published code compares the truth with an empty one; a patch without the error in question
    gives no click.
    """
    patches = _patches(truth.shape)
    lesion = np.array([np.count_nonzero(truth[patch]) for patch in patches], dtype=np.float32)
    size = np.array([truth[patch].size for patch in patches], dtype=np.float32)
    body = size - lesion
    worst_for_body = int((1 - (2 * body + _SMOOTHING) / (size + body + _SMOOTHING)).argmax())
    worst_for_lesion = int((1 - _SMOOTHING / (lesion + _SMOOTHING)).argmax())
    clicks = []
    for positive, patch_index, wrong in (
        (True, worst_for_body, truth & ~result),
        (False, worst_for_lesion, result & ~truth),
    ):
        patch = patches[patch_index]
        errors = np.argwhere(wrong[patch])
        if len(errors):
            draw = np.random.RandomState(PUBLISHED_SEED).randint(len(errors))
            voxel = tuple(int(a) + part.start for a, part in zip(errors[draw], patch, strict=True))
            clicks.append(VoxelClick(voxel, positive))
    return clicks


def _patches(shape: Sequence[int]) -> list[Box]:
    """Return the patches of a scan; the last one in each direction is as large as what is left."""
    cuts = [
        [slice(at, min(at + side, length)) for at in range(0, length, side)]
        for length, side in zip(shape, PUBLISHED_PATCH, strict=True)
    ]
    return [(a, b, c) for a in cuts[0] for b in cuts[1] for c in cuts[2]]


# ---- a reader who makes mistakes -------------------------------------------------------------


@dataclass(frozen=True)
class Mistakes:
    """How far and how often a person's clicks go wrong."""

    jitter_mm: float = 2.0
    """Standard deviation in each direction of the slice. About three pixels, a hand's tremor."""
    late: float = 0.1
    """Share of clicks that answer what was on the screen one interaction earlier."""
    wrong: float = 0.05
    """Share of clicks that say the opposite of what is true where they land."""

    def __post_init__(self) -> None:
        if not 0 <= self.jitter_mm < math.inf:
            raise BadInput(f"clicks are displaced by 0 mm or more, not {self.jitter_mm:g}")
        if not (0 <= self.late <= 1 and 0 <= self.wrong <= 1):
            raise BadInput("the shares of late and of wrong clicks lie between 0 and 1")


class Reader:
    """A reader who makes mistakes; the same seed and scan give the same ones."""

    def __init__(self, mistakes: Mistakes, seed: int, scan: str) -> None:
        self.mistakes = mistakes
        self._seed = (seed, zlib.crc32(scan.encode()))
        self.begin(0, 0)

    def begin(self, lesion: int, interaction: int) -> None:
        """Draw what follows for this interaction alone, so that no earlier click shifts it.

        Segmenters differ in how many clicks a lesion takes, and get the same mistakes all the same.
        """
        self.random = np.random.default_rng([*self._seed, lesion, interaction])

    def is_late(self) -> bool:
        """Draw whether the next click answers an earlier result."""
        return bool(self.random.random() < self.mistakes.late)

    def perform(
        self, meant: VoxelClick, shape: Sequence[int], spacing: Sequence[float]
    ) -> VoxelClick:
        """Return what comes of a click: displaced in its slice, now and then of the wrong kind."""
        slice_index, *in_slice = meant.voxel
        row, column = (
            int(np.clip(round(at + self.random.normal(0, self.mistakes.jitter_mm) / mm), 0, n - 1))
            for at, n, mm in zip(in_slice, shape[1:], spacing[1:], strict=True)
        )
        is_wrong = bool(self.random.random() < self.mistakes.wrong)
        return VoxelClick((slice_index, row, column), meant.positive != is_wrong)

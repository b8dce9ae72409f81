"""In which part of the body lesions lie, as far as the outline of a whole-body scan tells.

The body is looked at from the front. What can be told from its outline: the neck, the shoulders,
where the legs part, and the gaps between arms and trunk. Two borders are inside the trunk and
cannot be seen there: the bases of the lungs and the iliac crests are taken to lie at the same
parts of the way from the legs to the shoulders in everybody. Around every border is a strip that
belongs to no region, and a lesion that lies in no region for the most part is said to be unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy import ndimage

from mois_core.geometry import SliceStack, Volume
from mois_core.session.body import find_body
from mois_core.session.lesion import Lesion
from mois_core.session.masks import Mask


class BodyRegion(StrEnum):
    """A part of the body; left and right are the patient's."""

    HEAD_AND_NECK = "head and neck"
    THORAX = "thorax"
    ABDOMEN = "abdomen"
    PELVIS = "pelvis"
    TRUNK = "trunk"
    """More of the trunk than one of its parts, or too near to the border of two."""
    RIGHT_UPPER_LIMB = "right upper limb"
    LEFT_UPPER_LIMB = "left upper limb"
    UPPER_LIMB = "upper limb"
    RIGHT_LOWER_LIMB = "right lower limb"
    LEFT_LOWER_LIMB = "left lower limb"
    LOWER_LIMB = "lower limb"
    UNKNOWN = "unknown"


IMAGED = {
    **dict.fromkeys(
        ("HEAD", "HEADNECK", "NECK", "BRAIN", "SKULL", "FACE", "CSPINE"), BodyRegion.HEAD_AND_NECK
    ),
    **dict.fromkeys(("CHEST", "TSPINE"), BodyRegion.THORAX),
    **dict.fromkeys(("ABDOMEN", "LSPINE"), BodyRegion.ABDOMEN),
    **dict.fromkeys(("PELVIS", "SSPINE"), BodyRegion.PELVIS),
    **dict.fromkeys(("CHESTABDOMEN", "CHESTABDPELVIS", "ABDOMENPELVIS"), BodyRegion.TRUNK),
    **dict.fromkeys(
        ("ARM", "SHOULDER", "HUMERUS", "ELBOW", "FOREARM", "WRIST", "HAND"), BodyRegion.UPPER_LIMB
    ),
    **dict.fromkeys(
        ("LEG", "THIGH", "FEMUR", "KNEE", "CALF", "ANKLE", "FOOT"), BodyRegion.LOWER_LIMB
    ),
}
"""What a scan shows by DICOM's terms for Body Part Examined, of those that are in one region."""
_SIDES = {"R": "right", "L": "left"}

_TRUNK = (BodyRegion.THORAX, BodyRegion.ABDOMEN, BodyRegion.PELVIS, BodyRegion.TRUNK)
_ORDER = tuple(BodyRegion)
_NUMBER = {region: n for n, region in enumerate(_ORDER)}

LUNG_BASES, ILIAC_CRESTS = 0.61, 0.36
"""Parts of the way from where the legs part up to the shoulders."""
STRIP, SEEN_STRIP = 0.045, 0.02
"""Of the same way: how far from a border on either side a place belongs to no region; less where
the border is seen."""
THIGHS = 0.07
"""The same for the pelvis: where thighs are close, the legs part higher up than they seem to."""
_LEAST_STRIP = 1.5
"""In blocks: what is seen cannot be seen more sharply."""
LEAST_SHARE = 2 / 3
"""Of a lesion, that lies in the region that is told."""

_NECK_BETWEEN = (0.15, 0.42)
"""Parts of the way from the top of the head to where the legs part, in which the neck is narrowest;
children have larger heads."""
_HEAD = (0.42, 0.65)
"""Head and neck in lengths of the trunk; children have larger heads. With thighs that touch, the
trunk looks longer than it is."""
_LARGEST_BLOCK_MM = 11.0
"""In larger blocks the gaps between arms, trunk and legs do not show."""
_NECK_WIDTH = 0.6
"""Of the shoulders' width, that the neck is at most."""
_LEGS_BETWEEN = (0.35, 0.85)
"""Parts of the height that is shown, from the top, in which the legs part; feet may be cut off."""
_LEGS_SHOWN = 0.12
"""Of that height, below where the legs part, on most of which they have to be apart."""
_MOSTLY = 0.7
_GAP = 0.5
"""Of what is on both sides, that is left of the tissue where two parts of the body meet."""
_ARM_FROM, _ARM_TO = 0.17, 0.48
"""How far from the middle an arm's inner side is looked for, in parts of the trunk's length."""
_HAND = 0.3
"""How far below where the legs part a hand reaches, in parts of the trunk's length."""
_ARM_ROWS = 0.3
"""Of the rows between shoulder and legs, in which a gap beside the trunk has to be seen."""
_TRUNK_WIDTH = 0.21
"""Half of the trunk's width in parts of its length; further out lies an arm, if one is there."""
_LEAST_TISSUE = 0.1
"""Of the thickest place of the body; what is less is noise."""


@dataclass(frozen=True, eq=False)
class BodyRegions:
    """The regions of a scan's body, seen from the front."""

    grid: SliceStack
    """Blocks of voxels."""
    map: np.ndarray
    """The position of the region in `BodyRegion`, for each row and column of blocks."""

    def of(self, stack: SliceStack, mask: Mask) -> BodyRegion:
        """Return the region that most of a lesion lies in."""
        counts = np.zeros(len(_ORDER), dtype=np.int64)
        rows, columns = self.map.shape
        for slice_index, plane in mask:
            at_rows, at_columns = np.nonzero(plane.pixels)
            ras = stack.point_to_ras(slice_index, at_columns + plane.column, at_rows + plane.row)
            _, x, y = self.grid.point_from_ras(ras)
            y = np.clip(np.round(y).astype(int), 0, rows - 1)
            x = np.clip(np.round(x).astype(int), 0, columns - 1)
            counts += np.bincount(self.map[y, x], minlength=len(_ORDER))
        needed = LEAST_SHARE * counts.sum()
        for n in np.flatnonzero((counts >= needed) & (counts > 0)):
            return _ORDER[n]
        if 0 < needed <= sum(counts[_NUMBER[region]] for region in _TRUNK):
            return BodyRegion.TRUNK
        return BodyRegion.UNKNOWN


@dataclass(frozen=True)
class _Landmarks:
    """Rows of blocks at which the body's regions end."""

    shoulders: int
    legs: int

    @property
    def trunk(self) -> int:
        return self.legs - self.shoulders


def find_regions(volume: Volume) -> BodyRegions | None:
    """Return the regions of a whole-body scan; None if neck or legs are not plain to see."""
    body = find_body(SliceStack(volume))
    if body is None:
        return None
    grid = body.stack
    tissue = body.bright.sum(axis=0, dtype=np.float64)
    row_mm, column_mm = grid.pixel_spacing
    if max(row_mm, column_mm) > _LARGEST_BLOCK_MM:
        return None
    landmarks = _landmarks(tissue)
    if landmarks is None:
        return None
    return BodyRegions(grid, _map(tissue, landmarks, row_mm / column_mm))


def _landmarks(tissue: np.ndarray) -> _Landmarks | None:
    """Return where shoulders and legs are."""
    there = np.flatnonzero(tissue.max(axis=1) > _LEAST_TISSUE * tissue.max())
    if not there.size:
        return None
    top, height = there[0], there[-1] - there[0] + 1
    legs = _legs(tissue, top, height)
    if legs is None:
        return None
    widths = np.array([_width(row, _middle(tissue, n)) for n, row in enumerate(tissue[:legs])])
    first, last = (top + round(part * (legs - top)) for part in _NECK_BETWEEN)
    neck = first + int(np.argmin(widths[first:last])) if last > first else first
    if not first < neck < last - 1:
        return None
    below = widths[neck : neck + (legs - top) // 4]
    if widths[neck] > _NECK_WIDTH * below.max():
        return None
    shoulders = neck + int(np.argmax(below >= (widths[neck] + below.max()) / 2))
    if not _HEAD[0] <= (shoulders - top) / (legs - shoulders) <= _HEAD[1]:
        return None
    return _Landmarks(shoulders, legs)


def _middle(tissue: np.ndarray, row: int, reach: int = 3) -> int:
    """Return the column in the middle of the body at a row."""
    profile = tissue[max(row - reach, 0) : row + reach + 1].sum(axis=0)
    return int(round(np.average(np.arange(len(profile)), weights=profile))) if profile.any() else 0


def _width(row: np.ndarray, middle: int) -> int:
    """Return how many blocks side by side the body is wide around its middle."""
    is_air = row <= _LEAST_TISSUE * row.max()
    if is_air[middle]:
        return 0
    left = np.flatnonzero(is_air[:middle])
    right = np.flatnonzero(is_air[middle:])
    return (middle + right[0] if right.size else len(row)) - (left[-1] + 1 if left.size else 0)


def _legs(tissue: np.ndarray, top: int, height: int) -> int | None:
    """Return the row at which the legs part."""
    bottom = top + height
    apart = np.array([_is_apart(tissue, n) for n in range(bottom)])
    first, last = (top + round(part * height) for part in _LEGS_BETWEEN)
    shown = round(_LEGS_SHOWN * height)
    for row in range(first, min(last, bottom - shown)):
        if apart[row] and apart[row : row + shown].mean() >= _MOSTLY:
            return row
    return None


def _is_apart(tissue: np.ndarray, row: int) -> bool:
    """Return whether there is a gap, or little tissue, between two thick parts at the middle."""
    profile, middle = tissue[row], _middle(tissue, row)
    if not 0 < middle < len(profile):
        return False
    right, left = int(np.argmax(profile[:middle])), middle + int(np.argmax(profile[middle:]))
    sides = min(profile[right], profile[left])
    return bool(sides > 0 and profile[right : left + 1].min() < _GAP * sides)


def _inner_side_of_arm(
    tissue: np.ndarray, landmarks: _Landmarks, middles: np.ndarray, sign: int, step: float
) -> np.ndarray | None:
    """Return how far from the middle, in columns, an arm begins at each row of trunk and hand.

    ``sign`` is the side, ``step`` the height of a block in widths. None where no gap between arm
    and trunk is plain to see.
    """
    length = landmarks.trunk * step
    first, last = round(_ARM_FROM * length), round(_ARM_TO * length)
    rows = np.arange(landmarks.shoulders, landmarks.shoulders + len(middles))
    found = np.full(len(rows), np.nan)
    for n, (row, middle) in enumerate(zip(rows, middles, strict=True)):
        profile = tissue[row, middle:] if sign > 0 else tissue[row, middle::-1]
        inner = np.maximum.accumulate(profile)
        outer = np.maximum.accumulate(profile[::-1])[::-1]
        sides = np.minimum(inner, outer)
        is_gap = (profile < _GAP * sides) & (sides > _LEAST_TISSUE * tissue.max())
        is_gap[:first] = False
        is_gap[last:] = False
        if is_gap.any():
            least = profile[is_gap].min()
            found[n] = np.flatnonzero(is_gap & (profile == least)).mean()
    seen = np.flatnonzero(np.isfinite(found))
    if np.isfinite(found[: landmarks.trunk]).sum() < _ARM_ROWS * landmarks.trunk:
        return None
    smooth = ndimage.median_filter(found[seen], size=5, mode="nearest")
    return np.interp(np.arange(len(rows)), seen, smooth)


def _map(tissue: np.ndarray, landmarks: _Landmarks, step: float) -> np.ndarray:
    """Return the position of each block's region in `BodyRegion`, seen from the front."""
    shoulders, legs, trunk = landmarks.shoulders, landmarks.legs, landmarks.trunk
    strip = max(SEEN_STRIP * trunk, _LEAST_STRIP)
    up = (legs - np.arange(len(tissue))) / trunk
    regions = np.full(tissue.shape, _NUMBER[BodyRegion.UNKNOWN], dtype=np.int64)
    seen = strip / trunk
    for region, low, high in (
        (BodyRegion.HEAD_AND_NECK, 1 + seen, np.inf),
        (BodyRegion.TRUNK, THIGHS, 1 - seen),
        (BodyRegion.THORAX, LUNG_BASES + STRIP, 1 - seen),
        (BodyRegion.ABDOMEN, ILIAC_CRESTS + STRIP, LUNG_BASES - STRIP),
        (BodyRegion.PELVIS, THIGHS, ILIAC_CRESTS - STRIP),
    ):
        regions[(up > low) & (up < high)] = _NUMBER[region]
    middles = np.array([_middle(tissue, n) for n in range(len(tissue))])
    from_middle = np.arange(tissue.shape[1]) - middles[:, None]
    # Beside the head there can be arms that are raised.
    is_beside = np.abs(from_middle) > _TRUNK_WIDTH * trunk * step
    regions[is_beside & (up > 1)[:, None]] = _NUMBER[BodyRegion.UNKNOWN]
    is_leg = (up < -seen)[:, None]
    regions[is_leg & (from_middle <= 0)] = _NUMBER[BodyRegion.RIGHT_LOWER_LIMB]
    regions[is_leg & (from_middle > 0)] = _NUMBER[BodyRegion.LEFT_LOWER_LIMB]
    rows = slice(shoulders, min(legs + round(_HAND * trunk), len(tissue)))
    own = regions[rows]
    for sign, arm in ((-1, BodyRegion.RIGHT_UPPER_LIMB), (1, BodyRegion.LEFT_UPPER_LIMB)):
        away = from_middle[rows] * sign
        inner = _inner_side_of_arm(tissue, landmarks, middles[rows], sign, step)
        if inner is None:
            own[is_beside[rows] & (away > 0)] = _NUMBER[BodyRegion.UNKNOWN]
        else:
            own[away > inner[:, None] - strip * step] = _NUMBER[BodyRegion.UNKNOWN]
            own[away > inner[:, None] + strip * step] = _NUMBER[arm]
    return regions


def lesion_regions(
    stack: SliceStack, lesions: Sequence[Lesion], imaged: BodyRegion = BodyRegion.UNKNOWN
) -> dict[int, BodyRegion]:
    """Return the region of each lesion, by its id; ``imaged`` if the scan does not show the body
    as a whole."""
    regions = find_regions(stack.volume) if lesions else None
    if regions is None:
        return {lesion.id: imaged for lesion in lesions}
    return {lesion.id: regions.of(stack, lesion.mask) for lesion in lesions}


def imaged_region(body_part: str, laterality: str) -> BodyRegion:
    """Return the region that a scan shows by Body Part Examined and Laterality of its headers."""
    region = IMAGED.get(body_part.strip().upper(), BodyRegion.UNKNOWN)
    side = _SIDES.get(laterality.strip().upper())
    is_limb = region in (BodyRegion.UPPER_LIMB, BodyRegion.LOWER_LIMB)
    return BodyRegion(f"{side} {region}") if side and is_limb else region

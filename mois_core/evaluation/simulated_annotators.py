"""People of different experience who draw every lesion by hand, simulated from the truth.

The paper's Figure 6 compares five people with the model. Nobody has drawn on phantoms, so their
errors are made up: lesions overlooked, other structures taken for lesions, outlines too wide, too
narrow or wavy, and lesions that end a slice too early or too late. How many errors is set such that
simulated people agree with each other about as the paper's did, by ``python -m tools.annotators``.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from mois_core.evaluation.metrics import CM3_IN_MM3
from mois_core.geometry import Box

_WAVES_MM = 6.0
"""How far along an outline its errors stay alike."""
_MARGIN_MM = 15.0
"""How far from the truth an outline may be drawn."""


@dataclass(frozen=True)
class Annotator:
    """How often and how far somebody's drawing goes wrong."""

    overlooked: float
    """Share of lesions of 1 cm3 that are overlooked; of larger ones in proportion to 2 / (1 + cm3),
    of smaller ones likewise more."""
    mistaken: float
    """Share of structures that are no target and are drawn all the same."""
    waves_mm: float
    """Standard deviation of an outline's place along the outline."""
    taste_mm: float
    """Standard deviation of how much wider or narrower a whole lesion is drawn."""
    ends: float
    """Share of a lesion's ends that are drawn a slice too early or too late."""


_EXPERT = Annotator(overlooked=0.2, mistaken=0.05, waves_mm=2.0, taste_mm=1.6, ends=0.4)
ANNOTATORS = {
    "Expert A": _EXPERT,
    "Expert B": _EXPERT,
    "Expert C": _EXPERT,
    "Resident": Annotator(overlooked=0.4, mistaken=0.1, waves_mm=2.8, taste_mm=2.4, ends=0.5),
    "Student": Annotator(overlooked=0.6, mistaken=0.3, waves_mm=3.8, taste_mm=3.5, ends=0.7),
}
"""Three experts of the same skill, each with errors of their own, as the paper's radiologists; its
resident and its student."""


def annotate(
    name: str, scan: str, lesions: np.ndarray, others: np.ndarray, spacing: Sequence[float]
) -> np.ndarray:
    """Return what a named annotator draws on a scan, the same in every run.

    ``lesions`` are numbered, and so are ``others``, which are no lesions but look like some;
    arrays are [slices, rows, columns], ``spacing`` is in mm along them.
    """
    skill = ANNOTATORS[name]
    random = np.random.default_rng(zlib.crc32(f"{name}\0{scan}".encode()))
    voxel_cm3 = float(np.prod(spacing)) / CM3_IN_MM3
    drawn = np.zeros(lesions.shape, dtype=bool)
    for box, mask in _each(lesions, spacing):
        volume = np.count_nonzero(mask) * voxel_cm3
        is_overlooked = random.random() < 2 * skill.overlooked / (1 + volume)
        outline = _outline(mask, skill, spacing, random)
        if not is_overlooked:
            drawn[box] |= outline
    for box, mask in _each(others, spacing):
        is_mistaken = random.random() < skill.mistaken
        outline = _outline(mask, skill, spacing, random)
        if is_mistaken:
            drawn[box] |= outline
    return drawn


def _each(labels: np.ndarray, spacing: Sequence[float]) -> Iterator[tuple[Box, np.ndarray]]:
    """Yield a box with a margin around each numbered structure, and its mask there."""
    margins = [1, *(int(_MARGIN_MM / mm) + 1 for mm in spacing[1:])]
    for value, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        wide = tuple(
            slice(max(part.start - margin, 0), min(part.stop + margin, size))
            for part, margin, size in zip(box, margins, labels.shape, strict=True)
        )
        yield wide, labels[wide] == value


def _outline(
    mask: np.ndarray, skill: Annotator, spacing: Sequence[float], random: np.random.Generator
) -> np.ndarray:
    """Return a structure as it is drawn, slice by slice."""
    in_slice = spacing[1:]
    inside = np.stack([_depth(plane, in_slice) for plane in mask])
    drawn_slices = np.flatnonzero(mask.any(axis=(1, 2)))
    first, last = int(drawn_slices[0]), int(drawn_slices[-1])
    for end, beyond in ((first, first - 1), (last, last + 1)):
        draw = random.random()
        if draw < skill.ends / 2 and first < last:
            inside[end] = -np.inf
        elif draw < skill.ends and 0 <= beyond < len(mask):
            # A slice further it is drawn half as wide.
            inside[beyond] = inside[end] - inside[end].max() / 2
    smooth = [0.5, *(_WAVES_MM / mm for mm in in_slice)]
    waves = ndimage.gaussian_filter(random.normal(size=mask.shape), smooth)
    waves *= skill.waves_mm / max(float(waves.std()), np.finfo(float).tiny)
    return inside + waves + random.normal(0, skill.taste_mm) > 0


def _depth(plane: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Return how far inside of a mask's outline each pixel lies in mm, negative outside of it."""
    if not plane.any():
        return np.full(plane.shape, -np.inf)
    inside = ndimage.distance_transform_edt(plane, sampling=spacing)
    outside = ndimage.distance_transform_edt(~plane, sampling=spacing)
    half = min(spacing) / 2
    return np.where(plane, inside - half, half - outside)

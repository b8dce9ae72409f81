"""How likely a finding is what was sought.

Where a network was taught to mark every lesion without a prompt, what a search marks can be held
against that: a finding is the whole lesion that it marks a part of. How sure it is follows from how
strongly the search marks it, from what the lesion looks like beside those that were clicked, from
its size, since specks are mostly wrong, and from how many lesions are known already: where most
are, few are left to find.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit
from torch import Tensor

from mois_core.progress import CancelToken
from mois_core.session.components import connected_components
from mois_core.session.embeddings import Embeddings
from mois_core.session.looks import looks_of, standardised
from mois_core.session.masks import Mask
from mois_core.session.search import Marked

Judgement = tuple[float, float, float, float, float]
"""`ExemplarConfig.judgement`."""

MEASURABLE_CM3 = 3.0
"""Of lesions from this size on, size tells nothing."""

FEWEST_COMPARED = 8
"""Looks of fewer lesions than this say nothing: of two, each is all that the other is not."""

USUAL_LIKENESS = 0.5
"""Likeness where it cannot be told: the mean of right findings (phantoms 90020 to 90025)."""


SPARE = 0.5
"""Lesions that may be left although a search marks none."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A lesion that a search marks a part of."""

    mask: Mask
    height: float
    """How strongly the search marks it, `Marked.confidence` before it is judged."""
    likeness: float
    """Mean cosine between its look and those of the wanted lesions, or `USUAL_LIKENESS`."""
    size: float
    """Powers of ten that its volume is below `MEASURABLE_CM3`: 0 or less."""
    known: float
    """Logarithm of the number of wanted lesions over that of lesions that seem to be left."""

    @property
    def evidence(self) -> tuple[float, float, float, float, float]:
        """What a judgement's factors belong to."""
        return self.height, self.likeness, self.size, self.known, 1.0


def confidence(evidence: np.ndarray | Sequence[float], judgement: Judgement) -> np.ndarray:
    """Return which share of findings with this evidence [..., 5] are right."""
    return expit(np.asarray(evidence) @ judgement)


def judged(
    marked: Marked,
    judgement: Judgement,
    wanted: Sequence[Mask],
    embeddings: Embeddings,
    smallest: int,
    voxel_cm3: float,
    cancel: CancelToken | None = None,
) -> Marked:
    """Return what a search marks as whole lesions, with the confidence in each.

    ``wanted`` are the lesions that the findings should look like; smaller components than
    ``smallest`` voxels are left out.
    """
    found, sure = np.zeros_like(marked.found), np.zeros_like(marked.confidence)
    for one in candidates(marked, wanted, embeddings, smallest, voxel_cm3, cancel):
        one.mask.paint(found, True)
        one.mask.paint(sure, confidence(one.evidence, judgement))
    return replace(marked, found=found, confidence=sure)


def candidates(
    marked: Marked,
    wanted: Sequence[Mask],
    embeddings: Embeddings,
    smallest: int,
    voxel_cm3: float,
    cancel: CancelToken | None = None,
) -> list[Candidate]:
    """Return all lesions that a search marks a part of.

    Looks are measured against those of everything that the network takes for a lesion: by how it
    differs from healthy tissue, every lesion is like every other.
    """
    components = connected_components(marked.found | marked.lesions, smallest)
    if not components:
        return []
    masks = [one.mask for one in components]
    likeness = [USUAL_LIKENESS] * len(masks)
    if wanted and len(masks) >= FEWEST_COMPARED:
        looks = looks_of([*masks, *wanted], embeddings, cancel=cancel).inside
        likeness = _likeness(looks[: len(masks)], looks[len(masks) :]).tolist()
    heights = [marked.confidence_in(mask) for mask in masks]
    volumes = np.array([one.voxels for one in components]) * voxel_cm3
    sizes = np.minimum(np.log10(volumes / MEASURABLE_CM3), 0)
    is_wanted = np.zeros_like(marked.found)
    for mask in wanted:
        mask.paint(is_wanted, True)
    each = zip(masks, heights, strict=True)
    left = sum(height for mask, height in each if not mask.read(is_wanted).any())
    known = float(np.log(max(len(wanted), 1) / (left + SPARE)))
    every = zip(masks, heights, likeness, sizes.tolist(), strict=True)
    return [Candidate(*one, known) for one in every if one[1] > 0]


def _likeness(looks: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean cosine of each look (masks, width) with the wanted ones, among all looks."""
    frame = looks.mean(dim=0), looks.std(dim=0, correction=0)
    return (standardised(looks, *frame) @ standardised(wanted, *frame).T).mean(dim=1)

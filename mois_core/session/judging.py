"""How likely a finding is what was sought.

Where a network was taught to mark every lesion without a prompt, what a search marks can be held
against that: a finding is the whole lesion that it marks a part of, as far as that is not known
yet. How sure it is follows from how strongly the search marks it, from what it looks like beside
the lesions that were clicked, from its size, since specks are mostly wrong, and from how many are
known already: where most are, few are left. It also has to be surer there, since a wrong finding
spoils more than a right one can add.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit, logit
from torch import Tensor

from mois_core.progress import CancelToken
from mois_core.session.components import connected_components, grown
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

RISE = 1.25
"""How much the log odds that a finding needs rise until all is known (phantoms 90060 to 90089, and
91100 on in the settings of the other test sets)."""


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
    touches: bool
    """Whether it is in contact with a known lesion: it may be more of that, or its border."""
    known: float
    """Logarithm of the number of wanted lesions over that of lesions that seem to be left."""

    @property
    def evidence(self) -> tuple[float, float, float, float, float]:
        """What a judgement's factors belong to."""
        return self.height, self.likeness, self.size, self.known, 1.0


def confidence(evidence: np.ndarray | Sequence[float], judgement: Judgement) -> np.ndarray:
    """Return which share of findings with this evidence [..., 5] are right."""
    return expit(np.asarray(evidence) @ judgement)


def needed(least: float, known: float, unknown: float) -> float:
    """Return the confidence that a finding needs, ``least`` where nothing is known.

    ``known`` are voxels of wanted lesions, ``unknown`` those that findings are likely to add to
    them. 0 stays 0.
    """
    return float(expit(logit(least) + RISE * known / max(known + unknown, 1)))


def judged(
    marked: Marked,
    judgement: Judgement,
    least: float,
    known: np.ndarray,
    wanted: Sequence[Mask],
    embeddings: Embeddings,
    smallest: int,
    voxel_cm3: float,
    cancel: CancelToken | None = None,
) -> Marked:
    """Return what a search marks as whole lesions, with the confidence in each.

    Findings below the confidence that is `needed` or of fewer than ``smallest`` voxels are left
    out. What the network marks of the ``known`` lesions stays; ``wanted`` are those that the
    findings should look like.
    """
    found, sure = (marked.found | marked.lesions) & known, np.zeros_like(marked.confidence)
    each = [
        (one, confidence(one.evidence, judgement))
        for one in candidates(marked, known, wanted, embeddings, smallest, voxel_cm3, cancel)
    ]
    unknown = sum(own * one.mask.voxels for one, own in each if not one.touches)
    least = needed(least, sum(mask.voxels for mask in wanted), unknown)
    for one, own in each:
        if own >= least:
            one.mask.paint(found, True)
            one.mask.paint(sure, own)
    return replace(marked, found=found, confidence=sure)


def candidates(
    marked: Marked,
    known: np.ndarray,
    wanted: Sequence[Mask],
    embeddings: Embeddings,
    smallest: int,
    voxel_cm3: float,
    cancel: CancelToken | None = None,
) -> list[Candidate]:
    """Return all lesions that a search marks a part of, without what is ``known`` of them.

    Looks are measured against those of everything that the network takes for a lesion: by how it
    differs from healthy tissue, every lesion is like every other.
    """
    components = connected_components((marked.found | marked.lesions) & ~known, smallest)
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
    near = grown(known)
    touches = [bool(mask.read(near).any()) for mask in masks]
    left = sum(height for height, beside in zip(heights, touches, strict=True) if not beside)
    share = float(np.log(max(len(wanted), 1) / (left + SPARE)))
    return [
        Candidate(mask, height, *rest, share)
        for mask, height, *rest in zip(
            masks, heights, likeness, sizes.tolist(), touches, strict=True
        )
        if height > 0
    ]


def _likeness(looks: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean cosine of each look (masks, width) with the wanted ones, among all looks."""
    frame = looks.mean(dim=0), looks.std(dim=0, correction=0)
    return (standardised(looks, *frame) @ standardised(wanted, *frame).T).mean(dim=1)

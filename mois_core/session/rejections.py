"""Rejections teach: what looks more like a rejected finding than like a wanted lesion is left out.

The looks that are compared are the encoder's, each channel measured against the whole scan.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mois_core.progress import CancelToken
from mois_core.session.embeddings import Embeddings
from mois_core.session.lesion import Lesion, Status
from mois_core.session.looks import looks_of, standardised
from mois_core.session.masks import Mask

MARGIN = 0.04
"""A finding is left out if its cosine with the nearest rejected one is this much above that with
the nearest wanted lesion. Below, right findings went as well (docs/departures.md)."""

ALIKE = 0.9
"""A rejected finding whose cosine with a wanted lesion is above this teaches nothing: it was
rejected for its place or its outline, not for its look."""


def wanted_masks(lesions: Iterable[Lesion]) -> list[Mask]:
    """Return the masks of the lesions that the user prompted or accepted."""
    wanted = (Status.PROMPTED, Status.ACCEPTED)
    return [lesion.mask for lesion in lesions if lesion.mask and lesion.status in wanted]


def without_rejected_looks(
    masks: Sequence[Mask],
    lesions: Iterable[Lesion],
    embeddings: Embeddings,
    searched: Sequence[int],
    cancel: CancelToken | None = None,
) -> list[Mask]:
    """Return the masks of new findings without those that look like what was rejected.

    Lesions that the user prompted or accepted are wanted. One that was prompted and then rejected
    teaches nothing, since it may be meant to be outlined again; nor does a rejected finding that
    looks like a wanted lesion. ``searched`` are the slices that the looks are measured against.
    """
    known = [lesion for lesion in lesions if lesion.mask]
    rejected = [le.mask for le in known if le.status is Status.REJECTED and not le.has_prompts]
    wanted = wanted_masks(known)
    if not masks or not rejected or not wanted:
        return list(masks)
    looks = standardised(*looks_of([*masks, *wanted, *rejected], embeddings, searched, cancel))
    own, of_wanted, of_rejected = looks.split([len(masks), len(wanted), len(rejected)])
    of_rejected = of_rejected[(of_rejected @ of_wanted.T).amax(dim=1) <= ALIKE]
    if not len(of_rejected):
        return list(masks)
    likeness = (own @ of_rejected.T).amax(dim=1) - (own @ of_wanted.T).amax(dim=1)  # (masks,)
    is_kept = (likeness <= MARGIN).tolist()
    return [mask for mask, kept in zip(masks, is_kept, strict=True) if kept]

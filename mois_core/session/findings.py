"""What a search marks becomes findings: lesions of their own, apart from those known already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mois_core.progress import CancelToken, Progress
from mois_core.session.components import connected_components, deepest_point, fill_holes
from mois_core.session.lesion import Click, Lesion, Status
from mois_core.session.lesion_edits import LesionEditor
from mois_core.session.masks import Mask, overlap
from mois_core.session.propagation import around_every_prompt

MOSTLY = 0.5
"""A finding that covers known lesions by this part of itself is one of them; two findings that
share this part of their union are the same."""


def findings_of(found: np.ndarray, known: np.ndarray, smallest: int) -> list[Mask]:
    """Return the masks of new lesions in a mask of everything that a search marked.

    A component that is mostly a known lesion is that lesion seen again; of the others, only what
    lies outside the known ones is new. No two findings share a voxel.
    """
    fresh = np.zeros_like(found)
    for component in connected_components(found, smallest):
        if component.mask.read(known).mean() < MOSTLY:
            component.mask.paint(fresh, True)
    fresh &= ~known
    taken = known.copy()
    masks = []
    for component in connected_components(fresh, smallest):
        mask = fill_holes(component.mask).without(taken)
        if mask.voxels >= smallest:
            masks.append(mask)
            mask.paint(taken, True)
    return masks


def redrawn(
    editor: LesionEditor,
    masks: Sequence[Mask],
    known: np.ndarray,
    smallest: int,
    spacing: tuple[float, float],
    progress: Progress,
    cancel: CancelToken | None,
) -> list[Mask]:
    """Return findings as the network outlines them when it is asked at their deepest points.

    Where two come out as the same lesion, the one that was larger before stays; where they only
    overlap, it keeps what is in both.
    """
    work = []
    for mask in masks:
        slice_index, x, y = deepest_point(mask, spacing)
        click = Click(0, slice_index, x, y, positive=True)
        work.append((Lesion(0, Status.FOUND, Mask(mask.shape), clicks=(click,)), slice_index))
    prompted = []
    if work:
        results = editor.prompter.decode(work)
        for (lesion, n), (memory, image) in zip(work, results, strict=True):
            outlined = lesion.mask.with_slice(n, image)
            prompted.append(replace(lesion, mask=outlined, prompted={n: memory}))
    how_far = (editor.propagation_slices, editor.decoder.embeddings.count)
    rounds = [around_every_prompt(le.prompted, le.prompted, *how_far) for le in prompted]
    propagated = editor.propagator.propagate(prompted, rounds, progress, cancel)
    kept: list[Mask] = []
    taken = known.copy()
    for lesion, mask in zip(propagated, masks, strict=True):
        outlined = lesion.mask.without(known)
        if overlap(outlined, mask) == 0 or outlined.voxels < smallest:
            outlined = mask
        fresh = outlined.without(taken)
        if fresh.voxels >= max(smallest, MOSTLY * outlined.voxels):
            kept.append(fresh)
            fresh.paint(taken, True)
    return kept


def iou(first: Mask, second: Mask) -> float:
    """Return the intersection over union of two masks."""
    shared = overlap(first, second)
    return shared / max(first.voxels + second.voxels - shared, 1)


def as_lesions(masks: Sequence[Mask], earlier: Sequence[Lesion], next_id: int) -> list[Lesion]:
    """Turn findings into lesions; one that was found before keeps its id and its name."""
    free = list(earlier)
    lesions = []
    for mask in masks:
        twin = max(free, key=lambda lesion: iou(lesion.mask, mask), default=None)
        if twin is not None and iou(twin.mask, mask) >= MOSTLY:
            free.remove(twin)
            lesions.append(replace(twin, mask=mask))
        else:
            lesions.append(Lesion(next_id, Status.FOUND, mask))
            next_id += 1
    return lesions

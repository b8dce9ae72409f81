"""What a search marks becomes lesions: parts of clicked ones, and findings of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from mois_core.geometry import SliceStack
from mois_core.progress import CancelToken, Progress
from mois_core.session.components import (
    TOUCHING,
    connected_components,
    deepest_point,
    fill_holes,
    largest_first,
)
from mois_core.session.lesion import Absorbed, Click, Lesion, Status
from mois_core.session.lesion_edits import LesionEditor
from mois_core.session.masks import Mask, Place, overlap
from mois_core.session.propagation import around_every_prompt
from mois_core.session.rejections import without_rejected_looks
from mois_core.session.search import Marked
from mois_core.session.state import Settings, State

MOSTLY = 0.5
"""Findings that have this part in common are the same."""
KNOWN = 2 / 3
"""A component of what a search marks is a known lesion if this part of it is."""


@dataclass(frozen=True)
class FindingRules:
    """How lesions are made of what a search marks."""

    smallest: int
    """Voxels that a finding must have."""
    spacing: tuple[float, float, float]
    """Millimetres from one slice, row and column to the next."""
    absorb: bool
    """Whether clicked lesions take what is marked in contact with them."""
    redraw: bool
    """Whether the network outlines each finding again."""
    learn: bool
    """Whether findings that look like rejected ones are left out."""

    @classmethod
    def of(
        cls, settings: Settings, stack: SliceStack, use_exemplars: bool, reference: bool
    ) -> FindingRules:
        """Return what settings say; with ``reference``, as far as the published app goes."""
        smallest = settings.smallest_cm3 / stack.volume.voxel_volume_cm3
        return cls(
            max(1, int(np.ceil(smallest))),
            (stack.slice_spacing, *stack.pixel_spacing),
            absorb=settings.absorb and not reference,
            redraw=settings.findings == "reprompted",
            learn=settings.learn_from_rejections and use_exemplars and not reference,
        )


def lesions_after_search(
    marked: Marked,
    allowed: np.ndarray | None,
    state: State,
    editor: LesionEditor,
    rules: FindingRules,
    progress: Progress,
    cancel: CancelToken | None,
) -> tuple[State, list[Lesion]]:
    """Return the state after a search and its findings, which take the place of undecided ones.

    ``marked`` is what the search marked inside ``allowed``.
    """
    found = marked.found
    undecided = [le for le in state.lesions.values() if le.status is Status.FOUND]
    state = state.without_lesions(*(le.id for le in undecided))
    if rules.absorb:
        known = list(state.lesions.values())
        state = state.with_lesions(*absorb(found, known, rules.spacing, state.next_click))
    known = np.zeros_like(found)
    for lesion in state.lesions.values():
        lesion.mask.paint(known, True)
    blocked = known if allowed is None else known | ~allowed
    masks = findings_of(found, blocked, rules.smallest, _denied(state.lesions.values()))
    if rules.learn:
        searched = [n for n in range(len(found)) if allowed is None or allowed[n].any()]
        how = (editor.decoder.embeddings, searched, cancel)
        masks = without_rejected_looks(masks, state.lesions.values(), *how)
    if rules.redraw:
        spacing = rules.spacing[1:]
        masks = redrawn(editor, masks, blocked, rules.smallest, spacing, progress, cancel)
    findings = [
        replace(finding, confidence=marked.confidence_in(finding.mask))
        for finding in as_lesions(masks, undecided, state.next_id)
    ]
    return state.with_lesions(*findings), findings


def absorb(
    found: np.ndarray,
    lesions: Sequence[Lesion],
    spacing: tuple[float, float, float],
    order: int,
) -> list[Lesion]:
    """Return the lesions that the user prompted with what is marked in contact with them.

    ``order`` is the number of the next prompt.
    Those that are as they were outlined elsewhere stay so. What an earlier search had given them is
    taken back first, unless it was rejected with the lesion. A connected component is theirs if it
    is mostly known where they were looked for; beyond, it is believed. One that touches several of
    them is shared out, each voxel to the nearest; slices that the user drew, or denied something
    on, gain nothing.
    """
    own = [_without_absorbed(le) if le.status is Status.PROMPTED else le for le in lesions]
    takers = [le for le in own if le.status is Status.PROMPTED and not le.is_as_given]
    owners = np.zeros(found.shape, dtype=np.uint16)
    known = np.zeros_like(found)
    for lesion in own:
        lesion.mask.paint(known, True)
    for lesion in takers:
        lesion.mask.paint(owners, lesion.id)
    gained = np.zeros_like(owners)
    labels, _ = ndimage.label(found, structure=TOUCHING)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        box = _wider(box, found.shape)
        component = labels[box] == label
        rest = component & ~known[box]
        contact = ndimage.binary_dilation(component, structure=TOUCHING)
        touched = np.unique(owners[box][contact])
        touched = touched[touched > 0]
        if not len(touched) or not rest.any():
            continue
        looked_on = np.zeros(len(found), dtype=bool)
        looked_on[[n for le in takers if le.id in touched for n in _slices_looked_on(le)]] = True
        seen = component & looked_on[box[0], None, None]
        if not seen.any() or known[box][seen].mean() < KNOWN:
            continue
        near = np.isin(owners[box], touched)
        place = ndimage.distance_transform_edt(
            ~near, spacing, return_distances=False, return_indices=True
        )
        gained[box][rest] = owners[box][tuple(place)][rest]
    parts = {n: box for n, box in enumerate(ndimage.find_objects(gained), start=1) if box}
    changed = []
    for lesion in own:
        box = parts.get(lesion.id)
        part = None
        if box is not None:
            part = _mask_in(gained[box] == lesion.id, box, lesion.mask.shape)
            part = part.off_slices(_closed_slices(lesion))
        if part:
            absorbed = Absorbed(part, order)
            lesion = replace(lesion, mask=lesion.mask.union(part), absorbed=absorbed)
        changed.append(lesion)
    return changed


def _slices_looked_on(lesion: Lesion) -> set[int]:
    """Return the slices where it was decided what belongs to a lesion."""
    return {*lesion.mask.planes, *lesion.prompted, *lesion.propagated, *lesion.painted}


def _closed_slices(lesion: Lesion) -> set[int]:
    """Return the slices where a search adds nothing: the user drew them, or denied something."""
    denied = {n for n in lesion.prompted if any(not c.positive for c in lesion.clicks_on(n))}
    return {*lesion.painted, *denied}


def _without_absorbed(lesion: Lesion) -> Lesion:
    if lesion.absorbed is None:
        return lesion
    return replace(lesion, mask=lesion.mask.minus(lesion.absorbed.counting), absorbed=None)


def _wider(box: tuple[slice, ...], shape: tuple[int, ...]) -> tuple[slice, ...]:
    """A box with one voxel more on each side, within an array."""
    return tuple(
        slice(max(cut.start - 1, 0), min(cut.stop + 1, count))
        for cut, count in zip(box, shape, strict=True)
    )


def _mask_in(part: np.ndarray, box: tuple[slice, ...], shape: tuple[int, int]) -> Mask:
    """The mask of a part of a stack, given inside a box of it."""
    mask = Mask(shape)
    for slice_index, image in enumerate(part, start=box[0].start):
        whole = np.zeros(shape, dtype=bool)
        whole[box[1:]] = image
        mask = mask.with_slice(slice_index, whole)
    return mask


def _denied(lesions: Iterable[Lesion]) -> list[Place]:
    """Return the places of the clicks that say where lesions are not."""
    clicks = [click for lesion in lesions for click in lesion.clicks if not click.positive]
    return [(click.slice, round(click.y), round(click.x)) for click in clicks]


def findings_of(
    found: np.ndarray, known: np.ndarray, smallest: int, denied: Sequence[Place] = ()
) -> list[Mask]:
    """Return the masks of new lesions in a mask of everything that a search marked.

    A component that is mostly a known lesion is that lesion seen again; of the others, only what
    lies outside the known ones is new, and of that no part with a ``denied`` place in it. No two
    findings share a voxel.
    """
    fresh, rests = [], np.zeros_like(found)
    for component in connected_components(found, smallest):
        is_known = component.mask.read(known)
        if not is_known.any():
            fresh.append(component)
        elif is_known.mean() < KNOWN:
            component.mask.paint(rests, True)
    if rests.any():
        parts = connected_components(rests & ~known, smallest)
        fresh += [part for part in parts if not any(map(part.mask.covers, denied))]
    taken = known.copy()
    masks = []
    for component in largest_first(fresh):
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

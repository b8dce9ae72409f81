"""What a search marks becomes lesions: parts of clicked ones, and findings of their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
    grown,
)
from mois_core.session.embeddings import Embeddings
from mois_core.session.judging import Judgement, judged
from mois_core.session.lesion import Absorbed, Click, Lesion, Status
from mois_core.session.lesion_edits import LesionEditor
from mois_core.session.masks import Mask, overlap
from mois_core.session.propagation import around_every_prompt
from mois_core.session.rejections import wanted_masks, without_rejected_looks
from mois_core.session.search import Marked
from mois_core.session.state import Settings, State

Place = tuple[int, int, int]
"""Slice, row and column of a voxel."""

MOSTLY = 0.5
"""Findings that have this part in common are the same."""
KNOWN = 0.75
"""A lesion and what is marked beside it are the same if this part of both is the lesion."""


@dataclass(frozen=True)
class FindingRules:
    """How lesions are made of what a search marks."""

    smallest: int
    """Voxels that a finding must have."""
    spacing: tuple[float, float, float]
    """Millimetres from one slice, row and column to the next."""
    voxel_cm3: float
    least: float
    """The confidence that a finding must have."""
    judgement: Judgement | None
    """How confident to be of a finding, where the network tells."""
    alike: bool
    """Whether findings should look like the lesions that are wanted."""
    absorb: bool
    """Whether clicked lesions take what is marked in contact with them."""
    redraw: bool
    """Whether the network outlines each finding again."""
    learn: bool
    """Whether findings that look like rejected ones are left out."""

    @classmethod
    def of(
        cls,
        settings: Settings,
        stack: SliceStack,
        judgement: Judgement | None,
        use_exemplars: bool,
        reference: bool,
    ) -> FindingRules:
        """Return what settings say; with ``reference``, as far as the published app goes."""
        voxel_cm3 = stack.volume.voxel_volume_cm3
        return cls(
            max(1, int(np.ceil(settings.smallest_cm3 / voxel_cm3))),
            (stack.slice_spacing, *stack.pixel_spacing),
            voxel_cm3,
            settings.min_confidence,
            judgement,
            use_exemplars,
            absorb=settings.absorb and not reference,
            redraw=settings.findings == "reprompted",
            learn=settings.learn_from_rejections and use_exemplars and not reference,
        )


def known_before_search(lesions: Iterable[Lesion], shape: tuple[int, ...]) -> np.ndarray:
    """Return where the lesions are that were decided on, without what a search had given them."""
    decided = [_without_absorbed(le) for le in lesions if le.status is not Status.FOUND]
    return _owners(decided, shape) > 0


def confident(
    marked: Marked,
    lesions: Iterable[Lesion],
    embeddings: Embeddings,
    rules: FindingRules,
    cancel: CancelToken | None,
) -> Marked:
    """Return what is marked with enough confidence, as whole lesions if the network judges."""
    if rules.judgement is None:
        return marked.confident(rules.least)
    known = known_before_search(lesions, marked.found.shape)
    wanted = wanted_masks(lesions) if rules.alike else []
    how = known, wanted, embeddings, rules.smallest, rules.voxel_cm3, cancel
    return judged(marked, rules.judgement, rules.least, *how)


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
        how = (rules.spacing, state.next_click, allowed)
        state = state.with_lesions(*absorb(found, known, *how))
    owners = _owners(state.lesions.values(), found.shape)
    blocked = owners > 0 if allowed is None else (owners > 0) | ~allowed
    denied = _denied(state.lesions.values())
    masks = findings_of(found, owners, blocked, rules.smallest, denied)
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


@dataclass(frozen=True)
class Rest:
    """What a search marks in one piece outside the known lesions."""

    box: tuple[slice, slice, slice]
    """Where it is, one voxel wider on each side."""
    image: np.ndarray
    """Which voxels of the box it is."""
    touched: list[int]
    """The ids of the lesions in contact with it."""

    def is_part_of_them(self, marked: np.ndarray, looked_on: np.ndarray | None = None) -> bool:
        """Return whether it belongs to the lesions in contact rather than being something else.

        ``marked`` says by id how many voxels of each lesion the search marks too, ``looked_on``
        which slices count.
        """
        image = self.image if looked_on is None else self.image[looked_on[self.box[0]]]
        known = marked[self.touched].sum()
        return known > 0 and known >= KNOWN * (known + np.count_nonzero(image))

    def covers(self, place: Place) -> bool:
        """Return whether it is at a voxel."""
        inside = tuple(n - cut.start for n, cut in zip(place, self.box, strict=True))
        is_in_box = all(0 <= n < count for n, count in zip(inside, self.image.shape, strict=True))
        return is_in_box and bool(self.image[inside])


def rests(found: np.ndarray, known: np.ndarray, owners: np.ndarray) -> Iterator[Rest]:
    """Yield the connected parts of what is found and not known, with the ``owners`` in contact."""
    labels, _ = ndimage.label(found & ~known, structure=TOUCHING)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        box = _wider(box, found.shape)
        image = labels[box] == label
        near = owners[box][grown(image)]
        yield Rest(box, image, np.unique(near[near > 0]).tolist())


def _owners(lesions: Iterable[Lesion], shape: tuple[int, ...]) -> np.ndarray:
    """Return an array with the lesions' ids where they are."""
    owners = np.zeros(shape, dtype=np.uint16)
    for lesion in lesions:
        lesion.mask.paint(owners, lesion.id)
    return owners


def _marked_of(owners: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return by id how many voxels of each lesion are found again."""
    return np.bincount(owners[found], minlength=int(owners.max()) + 1)


def absorb(
    found: np.ndarray,
    lesions: Sequence[Lesion],
    spacing: tuple[float, float, float],
    order: int,
    allowed: np.ndarray | None = None,
) -> list[Lesion]:
    """Return the lesions that the user prompted with what is marked in contact with them.

    ``order`` is the number of the next prompt; ``allowed`` is where was searched, None everywhere.
    Those that are as they were outlined elsewhere stay so. What an earlier search had given them
    there is taken back first, unless it was rejected with the lesion. What is small beside what is
    marked of them, on the slices where they were looked for, is theirs; beyond, all is believed. A
    part that touches several of them is shared out, each voxel to the nearest; slices that the user
    drew, or denied something on, gain nothing.
    """
    own = [_without_absorbed(le, allowed) if le.status is Status.PROMPTED else le for le in lesions]
    takers = [le for le in own if le.status is Status.PROMPTED and not le.is_as_given]
    known = _owners(own, found.shape) > 0
    owners = _owners(takers, found.shape)
    marked = _marked_of(owners, found)
    looked_on = {le.id: _slices_looked_on(le) for le in takers}
    gained = np.zeros_like(owners)
    for rest in rests(found, known, owners):
        if not rest.touched:
            continue
        is_counted = np.zeros(len(found), dtype=bool)
        is_counted[[n for taker in rest.touched for n in looked_on[taker]]] = True
        if not rest.is_part_of_them(marked, is_counted):
            continue
        nearby = owners[rest.box]
        place = ndimage.distance_transform_edt(
            ~np.isin(nearby, rest.touched), spacing, return_distances=False, return_indices=True
        )
        gained[rest.box][rest.image] = nearby[tuple(place)][rest.image]
    parts = {n: box for n, box in enumerate(ndimage.find_objects(gained), start=1) if box}
    changed = []
    for lesion in own:
        box = parts.get(lesion.id)
        part = None
        if box is not None:
            part = _mask_in(gained[box] == lesion.id, box, lesion.mask.shape)
            part = part.off_slices(_closed_slices(lesion))
        if part:
            mask = lesion.mask.union(part)
            if lesion.absorbed is not None:
                part = part.union(lesion.absorbed.mask)
            lesion = replace(lesion, mask=mask, absorbed=Absorbed(part, order))
        changed.append(lesion)
    return changed


def _slices_looked_on(lesion: Lesion) -> set[int]:
    """Return the slices where it was decided what belongs to a lesion."""
    return {*lesion.mask.planes, *lesion.prompted, *lesion.propagated, *lesion.painted}


def _closed_slices(lesion: Lesion) -> set[int]:
    """Return the slices where a search adds nothing: the user drew them, or denied something."""
    denied = {n for n in lesion.prompted if any(not c.positive for c in lesion.clicks_on(n))}
    return {*lesion.painted, *denied}


def _without_absorbed(lesion: Lesion, allowed: np.ndarray | None = None) -> Lesion:
    """Return a lesion without what a search had given it, inside ``allowed`` or everywhere."""
    if lesion.absorbed is None:
        return lesion
    outlined = lesion.outlined
    kept = None if allowed is None else lesion.absorbed.counting.without(allowed)
    if not kept:
        return replace(lesion, mask=outlined, absorbed=None)
    return replace(
        lesion, mask=outlined.union(kept), absorbed=Absorbed(kept, lesion.absorbed.order)
    )


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
    found: np.ndarray,
    owners: np.ndarray,
    blocked: np.ndarray,
    smallest: int,
    denied: Sequence[Place] = (),
) -> list[Mask]:
    """Return the masks of new lesions in a mask of everything that a search marked.

    ``owners`` has the ids of known lesions, which no finding reaches into, nor into what else is
    ``blocked``. What is small beside a known lesion in contact is that lesion seen again; so is
    what has a ``denied`` place in it. No two findings share a voxel.
    """
    known = owners > 0
    marked = _marked_of(owners, found)
    fresh = found & ~known
    for rest in rests(found, known, owners):
        if rest.touched and (rest.is_part_of_them(marked) or any(map(rest.covers, denied))):
            fresh[rest.box][rest.image] = False
    taken = blocked.copy()
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
    return shared / (first.voxels + second.voxels - shared) if shared else 0.0


def as_lesions(masks: Sequence[Mask], earlier: Sequence[Lesion], next_id: int) -> list[Lesion]:
    """Turn findings into lesions; one that was found before keeps its id and its name."""
    free = list(earlier)
    lesions = []
    for mask in masks:
        twin = max(free, key=lambda lesion: iou(lesion.mask, mask), default=None)
        if twin is not None and iou(twin.mask, mask) >= MOSTLY:
            free.remove(twin)
            # What it was once merged from is not what a search finds now.
            lesions.append(replace(twin, mask=mask, origin=None))
        else:
            lesions.append(Lesion(next_id, Status.FOUND, mask))
            next_id += 1
    return lesions

"""Edits of lesions: prompts, propagation, painting, merging and splitting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import assert_never

import numpy as np
from scipy import ndimage

from mois_core.progress import CancelToken, Progress
from mois_core.session.components import connected_components
from mois_core.session.exemplars import candidates
from mois_core.session.lesion import (
    Absorbed,
    BoxPrompt,
    Click,
    Lesion,
    Origin,
    Painting,
    Prompt,
    SliceMemory,
    Status,
    order_of,
)
from mois_core.session.masks import Mask, Plane
from mois_core.session.prompting import Prompter
from mois_core.session.propagation import Propagator
from mois_core.session.slice_decoder import OnSlice
from mois_core.session.state import State

Propagate = Callable[[State], State]
"""Propagates the lesion that is being rebuilt."""


class LesionEditor:
    """Edits lesions by making new ones; nothing is changed in place."""

    def __init__(self, prompter: Prompter, propagator: Propagator, propagation_slices: int) -> None:
        self.decoder = prompter.decoder
        self.prompter = prompter
        self.propagator = propagator
        self.propagation_slices = propagation_slices

    def add_prompts(self, state: State, prompts: Sequence[tuple[int, Prompt]]) -> State:
        """Return the state with prompts added to lesions (by id), in the given order.

        A prompt sees those before it on the same lesion; those of different lesions go together.
        """
        waiting = list(prompts)
        with self.decoder.embeddings.visiting({prompt.slice for _, prompt in prompts}):
            while waiting:
                together, rest, busy = [], [], set()
                for lesion_id, prompt in waiting:
                    (rest if lesion_id in busy else together).append((lesion_id, prompt))
                    busy.add(lesion_id)
                state = self._add_together(state, together)
                waiting = rest
        return state

    def _add_together(self, state: State, prompts: Sequence[tuple[int, Prompt]]) -> State:
        added = [(_with_prompt(state.lesions[lesion_id], p), p) for lesion_id, p in prompts]
        state = state.with_lesions(*(lesion for lesion, _ in added))
        for kind, continued in ((Click, True), (BoxPrompt, False)):
            chosen = [(lesion, p.slice) for lesion, p in added if isinstance(p, kind)]
            if chosen:
                results = self.prompter.decode(chosen, continued)
                state = state.with_lesions(
                    *(
                        self._prompted(lesion, n, result)
                        for (lesion, n), result in zip(chosen, results, strict=True)
                    )
                )
        painted = [(lesion, p) for lesion, p in added if isinstance(p, Painting)]
        return state.with_lesions(*(self._painted(lesion, p) for lesion, p in painted))

    def _prompted(self, lesion: Lesion, slice_index: int, result: OnSlice) -> Lesion:
        """The lesion with what came of its prompts on a slice."""
        return replace(
            lesion.with_image(slice_index, result.image),
            prompted=MappingProxyType({**lesion.prompted, slice_index: result.memory}),
            propagated=_without(lesion.propagated, slice_index),
        )

    def _painted(self, lesion: Lesion, painting: Painting) -> Lesion:
        """The lesion with one slice exactly as the user drew it."""
        image, n = painting.image(lesion.mask.shape), painting.slice
        prompted = _without(lesion.prompted, n)
        if image.any():
            memory = self.decoder.remember_mask(n, image)
            prompted = MappingProxyType({**prompted, n: memory})
        return replace(
            lesion.with_image(n, image),
            prompted=prompted,
            propagated=_without(lesion.propagated, n),
        )

    def rebuilt(self, state: State, lesion: Lesion, propagate: Propagate) -> State:
        """Return the state with a lesion as its prompts alone make it.

        It begins with what it was before its first prompt. Of the propagations that followed the
        prompts only the last one counts, and those before a painting, which left the slices
        around it as they were.
        """
        state = state.with_lesions(_before_prompts(lesion))
        is_propagated = True
        for prompt in lesion.prompts:
            if isinstance(prompt, Painting) and not is_propagated:
                state, is_propagated = propagate(state), True
            state = self.add_prompts(state, [(lesion.id, prompt)])
            is_propagated = is_propagated and isinstance(prompt, Painting)
        if not lesion.prompts:
            # Nothing is left of the user's but what the lesion was before.
            bare = state.lesions[lesion.id]
            began_prompted = bare.origin is not None and bare.origin.status is Status.PROMPTED
            if not (bare.clicks or began_prompted):
                state = state.with_lesions(replace(bare, origin=None))
        return state if is_propagated else propagate(state)

    def propagated(
        self,
        state: State,
        lesion_ids: Sequence[int],
        most_exemplars: int,
        progress: Progress,
        cancel: CancelToken | None,
        slices: int | None = None,
    ) -> State:
        """Return the state with lesions propagated, by default as far as the settings reach."""
        lesions = [state.lesions[lesion_id] for lesion_id in lesion_ids]
        slices = self.propagation_slices if slices is None else slices
        rounds = [self.propagator.rounds_of(le, slices) for le in lesions]
        changed = self.propagator.propagate(lesions, rounds, progress, cancel)
        offered = candidates(state.lesions.values(), state.imported)
        if sum(exemplar.view.is_prompted for exemplar in offered) >= most_exemplars:
            # Prompted exemplars alone fill the bank, so no propagated one will be asked for.
            changed = [_without_propagated_memory(lesion) for lesion in changed]
        return state.with_lesions(*changed)

    def paintings_in(self, lesion: Lesion, stack: np.ndarray, order: int) -> list[Painting]:
        """Return the slices of a mask [slices, rows, columns] that differ from a lesion's own."""
        return [
            Painting(n, Plane.crop(image), order)
            for n, image in enumerate(stack)
            if not np.array_equal(image, lesion.mask.image(n))
        ]

    def paintings_of(self, labels: np.ndarray, order: int) -> list[tuple[int, Painting]]:
        """Return the slices of lesions that were outlined elsewhere, each with its lesion's id.

        Label values in ``labels`` [slices, rows, columns] are the ids.
        """
        paintings = []
        for lesion_id, box in enumerate(ndimage.find_objects(labels), start=1):
            for n in range(box[0].start, box[0].stop) if box else ():
                plane = Plane.crop(labels[n] == lesion_id)
                if plane is not None:
                    paintings.append((lesion_id, Painting(n, plane, order, is_given=True)))
        return paintings

    def merged(self, lesions: Sequence[Lesion], order: int, clock: int) -> Lesion:
        """Return several lesions as one; all prompted slices count as painted."""
        mask = lesions[0].mask
        for lesion in lesions[1:]:
            mask = mask.union(lesion.mask)
        memories = [(n, memory) for lesion in lesions for n, memory in lesion.prompted.items()]
        touched = Counter(n for le in lesions for n in {*le.mask.planes, *le.prompted})
        shared = {slice_index for slice_index, count in touched.items() if count > 1}
        prompted = {n: memory for n, memory in memories if n not in shared}
        for slice_index in sorted(shared & {n for n, _ in memories}):
            image = mask.image(slice_index)
            prompted[slice_index] = self.decoder.remember_mask(slice_index, image)
        painted = frozenset(prompted).union(*(le.painted for le in lesions))
        propagated = {n: memory for le in lesions for n, memory in le.propagated.items()}
        kept = frozenset[int]().union(*map(_found_on, lesions)) if prompted else frozenset()
        status = _decided(*lesions)
        if prompted and status.counts:
            status = Status.PROMPTED
        return Lesion(
            id=lesions[0].id,
            status=status,
            mask=mask,
            name=lesions[0].name,
            clicks=tuple(sorted((c for le in lesions for c in le.clicks), key=lambda c: c.id)),
            paintings=_as_painted(mask, painted, order, all(le.is_as_given for le in lesions)),
            origin=Origin(mask, status, order, kept),
            prompted=MappingProxyType(prompted),
            propagated=_without(propagated, *shared, *painted, *kept),
            changed=clock,
            uid=next((lesion.uid for lesion in lesions if lesion.uid), ""),
        )

    def split(self, lesion: Lesion, next_id: int, order: int, clock: int) -> list[Lesion]:
        """Return the connected components of a lesion as lesions, the largest under its id.

        A click stays with the component it lies in, or else with the largest.
        """
        stack = np.zeros((self.decoder.embeddings.count, *lesion.mask.shape), dtype=bool)
        lesion.mask.paint(stack, True)
        components = [component.mask for component in connected_components(stack)]
        if len(components) < 2:
            return [lesion]
        homes = [_home(click, components) for click in lesion.clicks]
        parts = []
        for index, mask in enumerate(components):
            clicks = tuple(c for c, home in zip(lesion.clicks, homes, strict=True) if home == index)
            clicked = {click.slice for click in clicks}
            kept = [n for n in lesion.prompted if n in mask.planes or n in clicked]
            prompted = {n: self.decoder.remember_mask(n, mask.image(n)) for n in kept}
            painted = lesion.painted | set(prompted)
            parts.append(
                Lesion(
                    id=lesion.id if index == 0 else next_id + index - 1,
                    status=_decided(lesion),
                    mask=mask,
                    name=lesion.name if index == 0 else "",
                    clicks=clicks,
                    paintings=_as_painted(mask, painted, order, lesion.is_as_given),
                    origin=Origin(mask, _decided(lesion), order),
                    prompted=MappingProxyType(prompted),
                    changed=clock,
                    uid=lesion.uid if index == 0 else "",
                )
            )
        return parts


def _with_prompt(lesion: Lesion, prompt: Prompt) -> Lesion:
    """Return a lesion that has a prompt more, before anything is decoded."""
    origin = lesion.origin
    if origin is None and not lesion.has_prompts and lesion.mask:
        origin = Origin(lesion.mask, lesion.status, order_of(prompt))
    lesion = replace(lesion, status=Status.PROMPTED, origin=origin)
    if isinstance(prompt, Click):
        return replace(lesion, clicks=(*lesion.clicks, prompt))
    if isinstance(prompt, BoxPrompt):
        return replace(lesion, boxes=(*lesion.boxes, prompt))
    if isinstance(prompt, Painting):
        return replace(lesion, paintings=(*lesion.paintings, prompt))
    assert_never(prompt)


def _before_prompts(lesion: Lesion) -> Lesion:
    """Return what a lesion was before its first prompt."""
    origin = lesion.origin or Origin(Mask(lesion.mask.shape), Status.PROMPTED, 0)
    return Lesion(
        lesion.id,
        origin.status,
        origin.mask,
        lesion.name,
        clicks=tuple(click for click in lesion.clicks if click.id < origin.order),
        origin=lesion.origin,
        confidence=lesion.confidence,
        changed=lesion.changed,
        uid=lesion.uid,
    )


def with_rest_of(before: Lesion, rebuilt: Lesion, since: int, is_propagated: bool) -> Lesion:
    """Return a rebuilt lesion with what does not depend on its prompts.

    That is what a search marked beyond its outline, and what was propagated before if it is not
    propagated anew. ``since`` is the number of the first prompt that is not as it was.
    """
    own = {*rebuilt.prompted, *rebuilt.painted}
    if not is_propagated:
        left = {n: memory for n, memory in before.propagated.items() if n not in own}
        for n in left:
            rebuilt = rebuilt.with_image(n, before.mask.image(n))
        rebuilt = replace(rebuilt, propagated=MappingProxyType(left))
    if before.status is Status.REJECTED:
        rebuilt = replace(rebuilt, status=Status.REJECTED)
    absorbed = _absorbed_by(before, rebuilt, since, is_propagated)
    if absorbed is None:
        return rebuilt
    return replace(rebuilt, mask=rebuilt.mask.union(absorbed.counting), absorbed=absorbed)


def _absorbed_by(
    before: Lesion, rebuilt: Lesion, since: int, is_propagated: bool
) -> Absorbed | None:
    """Return what a rebuilt lesion keeps of what a search marked around it.

    If all prompts that changed were made after the search, that is what no other such prompt
    replaced. Otherwise everything that is outlined anew is without it.
    """
    absorbed = before.absorbed
    if absorbed is None or rebuilt.is_as_given:
        return None
    if since < absorbed.order:
        outlined = {*rebuilt.prompted, *rebuilt.painted, *rebuilt.propagated}
        left = absorbed.counting.off_slices(outlined) if rebuilt.prompted else None
        return Absorbed(left, absorbed.order) if left else None
    replaced = {p.slice for p in rebuilt.prompts if order_of(p) >= absorbed.order}
    if replaced and is_propagated:
        replaced |= rebuilt.propagated.keys()
    elif not is_propagated:
        replaced |= absorbed.replaced & rebuilt.propagated.keys()
    replaced &= absorbed.mask.planes.keys()
    left = absorbed.mask.minus(rebuilt.mask.off_slices(replaced))
    return (
        Absorbed(left, absorbed.order, frozenset(replaced & left.planes.keys())) if left else None
    )


def without_clicks(
    state: State,
    clicks: Collection[int],
    rebuilt: Callable[[State, Lesion, int], State],
    keep_empty: bool,
) -> State:
    """Return the state without some clicks, by id, whose lesions are then ``rebuilt``.

    ``rebuilt`` is also given the number of the first prompt that is gone.
    Without ``keep_empty`` lesions that have no prompt or voxel left go with their clicks.
    """
    for lesion_id in dict.fromkeys(state.find_click(click)[0].id for click in clicks):
        lesion = state.lesion(lesion_id)
        left = replace(lesion, clicks=tuple(c for c in lesion.clicks if c.id not in clicks))
        if len(left.prompts) == len(lesion.prompts):
            # Made before the lesion was merged or split; nothing depends on them any more.
            state = state.with_lesions(left)
        else:
            gone = {*map(order_of, lesion.prompts)} & {*clicks}
            state = rebuilt(state, left, min(gone))
        rest = state.lesion(lesion_id)
        if not (keep_empty or rest.has_prompts or rest.mask):
            state = state.without_lesions(lesion_id)
    return state


def _as_painted(
    mask: Mask, slice_indices: Iterable[int], order: int, is_given: bool
) -> tuple[Painting, ...]:
    """Return slices of a mask as if the user had painted them just now."""
    return tuple(Painting(n, mask.planes.get(n), order, is_given) for n in sorted(slice_indices))


def _found_on(lesion: Lesion) -> frozenset[int]:
    """Return the slices of a lesion that a search found and no prompt is about."""
    before = lesion.origin.kept if lesion.origin is not None else frozenset()
    return before if lesion.prompted else before.union(lesion.mask.planes)


def _without(memories: Mapping[int, SliceMemory], *slice_indices: int) -> Mapping[int, SliceMemory]:
    return MappingProxyType({n: m for n, m in memories.items() if n not in slice_indices})


def _decided(*lesions: Lesion) -> Status:
    """Return the status of lesions that the user worked on: no search may replace them now."""
    if len(lesions) == 1 and lesions[0].status is not Status.FOUND:
        return lesions[0].status
    if any(lesion.status is Status.PROMPTED for lesion in lesions):
        return Status.PROMPTED
    return Status.ACCEPTED if any(le.status.counts for le in lesions) else Status.REJECTED


def _without_propagated_memory(lesion: Lesion) -> Lesion:
    propagated = {n: replace(memory, memory=None) for n, memory in lesion.propagated.items()}
    return replace(lesion, propagated=MappingProxyType(propagated))


def _home(click: Click, components: Sequence[Mask]) -> int:
    """Return the index of the component that a click lies in; the largest if it lies in none."""
    row, column = round(click.y), round(click.x)
    for index, mask in enumerate(components):
        if click.slice in mask.planes and mask.image(click.slice)[row, column]:
            return index
    return 0

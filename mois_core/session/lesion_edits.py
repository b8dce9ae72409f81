"""Edits of lesions: prompts, propagation, painting, merging and splitting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from mois_core.progress import CancelToken, Progress
from mois_core.session.components import connected_components
from mois_core.session.exemplars import candidates
from mois_core.session.lesion import Click, Lesion, SliceMemory, Status
from mois_core.session.masks import Mask
from mois_core.session.prompting import Prompter
from mois_core.session.propagation import Propagator
from mois_core.session.state import State


class LesionEditor:
    """Edits lesions by making new ones; nothing is changed in place."""

    def __init__(self, prompter: Prompter, propagator: Propagator, propagation_slices: int) -> None:
        self.decoder = prompter.decoder
        self.prompter = prompter
        self.propagator = propagator
        self.propagation_slices = propagation_slices

    def prompted(self, state: State, work: Sequence[tuple[int, int]], continued: bool) -> State:
        """Return the state with the prompts of each (lesion id, slice index) decoded again.

        ``continued`` says that only the last prompt of the slice is new. The slices of one lesion
        follow one another, since a later one sees the earlier ones; different lesions go together.
        """
        waiting = list(work)
        while waiting:
            together, rest, busy = [], [], set()
            for lesion_id, slice_index in waiting:
                (rest if lesion_id in busy else together).append((lesion_id, slice_index))
                busy.add(lesion_id)
            state = self._prompted_together(state, together, continued)
            waiting = rest
        return state

    def _prompted_together(
        self, state: State, work: Sequence[tuple[int, int]], continued: bool
    ) -> State:
        for lesion_id, slice_index in work:
            lesion = state.lesions[lesion_id]
            if not lesion.prompts_on(slice_index) and slice_index not in lesion.painted:
                state = state.with_lesions(_unprompted(lesion, slice_index))
        decoded = [
            (state.lesions[lesion_id], n)
            for lesion_id, n in work
            if state.lesions[lesion_id].prompts_on(n)
        ]
        if not decoded:
            return state
        results = self.prompter.decode(decoded, continued)
        changed = [
            replace(
                lesion,
                mask=lesion.mask.with_slice(slice_index, image),
                painted=lesion.painted - {slice_index},
                prompted=MappingProxyType({**lesion.prompted, slice_index: memory}),
                propagated=_without(lesion.propagated, slice_index),
            )
            for (lesion, slice_index), (memory, image) in zip(decoded, results, strict=True)
        ]
        return state.with_lesions(*changed)

    def propagated(
        self,
        state: State,
        lesion_ids: Sequence[int],
        most_exemplars: int,
        progress: Progress,
        cancel: CancelToken | None,
    ) -> State:
        """Return the state with lesions propagated to their neighbouring slices."""
        lesions = [state.lesions[lesion_id] for lesion_id in lesion_ids]
        rounds = [self.propagator.rounds_of(le, self.propagation_slices) for le in lesions]
        changed = self.propagator.propagate(lesions, rounds, progress, cancel)
        offered = candidates(state.lesions.values(), state.imported)
        if sum(exemplar.view.is_prompted for exemplar in offered) >= most_exemplars:
            # Prompted exemplars alone fill the bank, so no propagated one will be asked for.
            changed = [_without_propagated_memory(lesion) for lesion in changed]
        return state.with_lesions(*changed)

    def painted(self, lesion: Lesion, stack: np.ndarray, clock: int) -> Lesion:
        """Return a lesion with the user's own mask [slices, rows, columns]."""
        prompted, propagated = dict(lesion.prompted), dict(lesion.propagated)
        painted = set(lesion.painted)
        for slice_index, image in enumerate(stack):
            if np.array_equal(image, lesion.mask.image(slice_index)):
                continue
            painted.add(slice_index)
            propagated.pop(slice_index, None)
            prompted.pop(slice_index, None)
            if image.any():
                prompted[slice_index] = self.decoder.remember_mask(slice_index, image)
        return replace(
            lesion,
            status=Status.PROMPTED,
            mask=Mask.from_stack(stack),
            painted=frozenset(painted),
            prompted=MappingProxyType(prompted),
            propagated=MappingProxyType(propagated),
            changed=clock,
        )

    def merged(self, lesions: Sequence[Lesion], clock: int) -> Lesion:
        """Return several lesions as one; slices that more than one lies on count as painted."""
        first = lesions[0]
        mask = first.mask
        for lesion in lesions[1:]:
            mask = mask.union(lesion.mask)
        memories = [(n, memory) for lesion in lesions for n, memory in lesion.prompted.items()]
        touched = Counter(n for le in lesions for n in {*le.mask.planes, *le.prompted})
        shared = {slice_index for slice_index, count in touched.items() if count > 1}
        prompted = {n: memory for n, memory in memories if n not in shared}
        for slice_index in sorted(shared & {n for n, _ in memories}):
            image = mask.image(slice_index)
            prompted[slice_index] = self.decoder.remember_mask(slice_index, image)
        propagated = {n: memory for le in lesions for n, memory in le.propagated.items()}
        return replace(
            first,
            status=Status.PROMPTED if prompted else _decided(*lesions),
            mask=mask,
            clicks=tuple(sorted((c for le in lesions for c in le.clicks), key=lambda c: c.id)),
            boxes=MappingProxyType({n: b for le in reversed(lesions) for n, b in le.boxes.items()}),
            painted=frozenset().union(*(le.painted for le in lesions), shared & set(prompted)),
            prompted=MappingProxyType(prompted),
            propagated=_without(propagated, *shared, *prompted),
            changed=clock,
        )

    def split(self, lesion: Lesion, next_id: int, clock: int) -> list[Lesion]:
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
            parts.append(
                Lesion(
                    id=lesion.id if index == 0 else next_id + index - 1,
                    status=_decided(lesion),
                    mask=mask,
                    name=lesion.name if index == 0 else "",
                    clicks=clicks,
                    painted=lesion.painted | set(prompted),
                    prompted=MappingProxyType(prompted),
                    changed=clock,
                )
            )
        return parts


def _unprompted(lesion: Lesion, slice_index: int) -> Lesion:
    """Return a lesion after the last prompt of a slice was taken back."""
    return replace(
        lesion,
        mask=lesion.mask.with_slice(slice_index, None),
        prompted=_without(lesion.prompted, slice_index),
    )


def _without(memories: Mapping[int, SliceMemory], *slice_indices: int) -> Mapping[int, SliceMemory]:
    return MappingProxyType({n: m for n, m in memories.items() if n not in slice_indices})


def _decided(*lesions: Lesion) -> Status:
    """Return the status of lesions that the user worked on: no search may replace them now."""
    if len(lesions) == 1 and lesions[0].status is not Status.FOUND:
        return lesions[0].status
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

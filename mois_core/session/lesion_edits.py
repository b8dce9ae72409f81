"""How a lesion's mask comes about: from prompts, from neighbours, from the user's brush."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from mois_core.progress import CancelToken, Progress
from mois_core.session.components import connected_components
from mois_core.session.exemplars import candidates
from mois_core.session.lesion import Click, Lesion, Status
from mois_core.session.masks import Mask
from mois_core.session.memory_bank import around_every_prompt, around_first_prompt
from mois_core.session.propagation import Tracker
from mois_core.session.state import State


class LesionEditor:
    """Makes new lesions from old ones; nothing is changed in place."""

    def __init__(self, tracker: Tracker, propagation_slices: int, reference: bool) -> None:
        self.tracker = tracker
        self.propagation_slices = propagation_slices
        self.targets = around_first_prompt if reference else around_every_prompt

    def prompted(self, state: State, work: Sequence[tuple[int, int]], continued: bool) -> State:
        """The state with the prompts of each (lesion, slice) decoded again.

        ``continued`` says that only the last prompt of the slice is new. The slices of one lesion
        follow one another, since a later one sees the earlier ones; different lesions go together.
        """
        waiting = list(work)
        while waiting:
            together, rest, busy = [], [], set()
            for owner, number in waiting:
                (rest if owner in busy else together).append((owner, number))
                busy.add(owner)
            state = self._prompted_together(state, together, continued)
            waiting = rest
        return state

    def _prompted_together(
        self, state: State, work: Sequence[tuple[int, int]], continued: bool
    ) -> State:
        for owner, number in work:
            lesion = state.lesions[owner]
            if not lesion.prompts_on(number) and number not in lesion.painted:
                state = state.with_lesions(_unprompted(lesion, number))
        decoded = [(state.lesions[o], n) for o, n in work if state.lesions[o].prompts_on(n)]
        if not decoded:
            return state
        results = self.tracker.prompt(decoded, continued)
        changed = [
            replace(
                lesion,
                mask=lesion.mask.with_slice(number, image),
                painted=lesion.painted - {number},
                prompted=MappingProxyType({**lesion.prompted, number: slice_memory}),
                propagated=MappingProxyType(
                    {n: t for n, t in lesion.propagated.items() if n != number}
                ),
            )
            for (lesion, number), (slice_memory, image) in zip(decoded, results, strict=True)
        ]
        return state.with_lesions(*changed)

    def propagated(
        self,
        state: State,
        numbers: Sequence[int],
        most_exemplars: int,
        progress: Progress,
        cancel: CancelToken | None,
    ) -> State:
        """The state with lesions propagated to their neighbouring slices."""
        lesions = [state.lesions[number] for number in numbers]
        slices = self.tracker.embeddings.count
        rounds = [
            self.targets(le.prompted, {*le.prompted, *le.painted}, self.propagation_slices, slices)
            if le.prompted
            else []
            for le in lesions
        ]
        changed = self.tracker.propagate(lesions, rounds, progress, cancel)
        offered = candidates(state.lesions.values(), state.imported)
        if sum(exemplar.view.is_prompted for exemplar in offered) >= most_exemplars:
            # Prompted exemplars alone fill the bank, so no propagated one will be asked for.
            changed = [_without_propagated_memory(lesion) for lesion in changed]
        return state.with_lesions(*changed)

    def painted(self, lesion: Lesion, stack: np.ndarray, clock: int) -> Lesion:
        """A lesion with the user's own mask [slices, rows, columns]."""
        prompted, propagated = dict(lesion.prompted), dict(lesion.propagated)
        painted = set(lesion.painted)
        for number, image in enumerate(stack):
            if np.array_equal(image, lesion.mask.image(number)):
                continue
            painted.add(number)
            propagated.pop(number, None)
            prompted.pop(number, None)
            if image.any():
                prompted[number] = self.tracker.painted(number, image)
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
        """Several lesions as one; slices that more than one lies on are as if painted."""
        first = lesions[0]
        mask = first.mask
        for lesion in lesions[1:]:
            mask = mask.union(lesion.mask)
        slice_memories = [(n, t) for lesion in lesions for n, t in lesion.prompted.items()]
        touched = Counter(n for le in lesions for n in {*le.mask.planes, *le.prompted})
        shared = {number for number, count in touched.items() if count > 1}
        prompted = {n: slice_memory for n, slice_memory in slice_memories if n not in shared}
        for number in sorted(shared & {n for n, _ in slice_memories}):
            prompted[number] = self.tracker.painted(number, mask.image(number))
        propagated = {n: t for le in lesions for n, t in le.propagated.items()}
        return replace(
            first,
            status=Status.PROMPTED if prompted else _decided(*lesions),
            mask=mask,
            clicks=tuple(sorted((c for le in lesions for c in le.clicks), key=lambda c: c.id)),
            boxes=MappingProxyType({n: b for le in reversed(lesions) for n, b in le.boxes.items()}),
            painted=frozenset().union(*(le.painted for le in lesions), shared & set(prompted)),
            prompted=MappingProxyType(prompted),
            propagated=MappingProxyType(
                {n: t for n, t in propagated.items() if n not in shared and n not in prompted}
            ),
            changed=clock,
        )

    def split(self, lesion: Lesion, next_id: int, clock: int) -> list[Lesion]:
        """The connected components of a lesion, the largest under its number.

        A click stays with the component it lies in, or else with the largest.
        """
        stack = np.zeros((self.tracker.embeddings.count, *lesion.mask.shape), dtype=bool)
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
            prompted = {n: self.tracker.painted(n, mask.image(n)) for n in kept}
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


def _unprompted(lesion: Lesion, number: int) -> Lesion:
    """The lesion after the last prompt of a slice was taken back."""
    return replace(
        lesion,
        mask=lesion.mask.with_slice(number, None),
        prompted=MappingProxyType({n: t for n, t in lesion.prompted.items() if n != number}),
    )


def _decided(*lesions: Lesion) -> Status:
    """What lesions are that the user took in hand: no search may replace them any more."""
    if len(lesions) == 1 and lesions[0].status is not Status.FOUND:
        return lesions[0].status
    return Status.ACCEPTED if any(le.status.counts for le in lesions) else Status.REJECTED


def _without_propagated_memory(lesion: Lesion) -> Lesion:
    propagated = {
        n: replace(slice_memory, memory=None) for n, slice_memory in lesion.propagated.items()
    }
    return replace(lesion, propagated=MappingProxyType(propagated))


def _home(click: Click, components: Sequence[Mask]) -> int:
    row, column = round(click.y), round(click.x)
    for index, mask in enumerate(components):
        if click.slice in mask.planes and mask.image(click.slice)[row, column]:
            return index
    return 0

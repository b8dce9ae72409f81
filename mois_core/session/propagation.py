"""Propagation of lesions to neighbouring slices: where to, in which order, and how.

Lesions that meet on a slice share the pass through the network wherever their memories have the
same layout.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
import torch
from scipy import ndimage

from mois_core.progress import CancelToken, Progress, silent
from mois_core.session.components import touching_parts
from mois_core.session.lesion import Lesion, SliceMemory
from mois_core.session.memory_bank import Selection
from mois_core.session.slice_decoder import LESIONS_AT_ONCE, SliceDecoder, batches, grouped

PROPAGATED_AT_ONCE = {"cpu": 4}
"""Propagated lesions per pass. The keys of each take 100 MiB and more at full size; a CPU gains
little from more at once, and its memory holds everything else too."""


REACH = 2
"""Pixels that a lesion may move sideways from one slice to the next and still touch itself."""
LARGEST_GROWTH = 6
"""How many times as large a lesion may be on one slice as on the slice before. Where it would be
larger, a neighbour has been taken for it. (4 cuts off lesions that were clicked near their end.)"""


@dataclass(frozen=True)
class Spread:
    """Whether and how a prompt reaches the neighbouring slices."""

    propagate: bool = True
    progress: Progress = silent
    cancel: CancelToken | None = None


@dataclass(frozen=True)
class Target:
    """A slice that a lesion is to be propagated to, and where it comes from."""

    slice: int
    source: int
    """The prompted slice that it is propagated from."""
    reverse: bool
    """Whether the slices are gone through downwards."""


Rounds = list[list[Target]]
"""A lesion's targets in the order in which they are reached; those of a round are independent."""


def around_every_prompt(
    prompted: Collection[int],
    fixed: Collection[int],
    propagation_slices: int,
    slices: int,
    emptied: Collection[int] = (),
) -> Rounds:
    """Return targets in rounds of growing distance, each slice from its nearest prompted one.

    From one of the ``emptied`` a lesion comes only to slices that no other reaches. ``fixed``
    slices keep what they have; ``slices`` is how many the scan has.
    """
    propagation_slices = min(propagation_slices, slices)
    rounds: Rounds = [[] for _ in range(propagation_slices)]
    for n in range(slices):
        near = [own for own in prompted if 0 < abs(own - n) <= propagation_slices]
        if n in fixed or not near:
            continue
        source = min(near, key=lambda own: (own in emptied, abs(own - n), own))
        rounds[abs(source - n) - 1].append(Target(n, source, reverse=n < source))
    return rounds


def around_first_prompt(
    prompted: Collection[int], fixed: Collection[int], propagation_slices: int, slices: int
) -> Rounds:
    """Return the published app's targets: from the earliest prompted slice up, and then down."""
    first = min(prompted)
    last, lowest = min(first + propagation_slices, slices - 1), max(first - propagation_slices, 0)
    up = [Target(n, first, reverse=False) for n in range(first + 1, last + 1)]
    down = [Target(n, first, reverse=True) for n in range(first - 1, lowest - 1, -1)]
    return [[target] for target in up + down if target.slice not in fixed]


def is_propagated_beyond(lesion: Lesion, slices: int) -> bool:
    """Return whether a lesion was found farther than these slices from its nearest prompt."""
    if not lesion.prompted:
        return False
    found = [n for n, memory in lesion.propagated.items() if memory.found]
    return any(min(abs(n - own) for own in lesion.prompted) > slices for n in found)


@dataclass
class _Chain:
    """A lesion being propagated: its memories and masks so far, and where it was lost."""

    lesion: Lesion
    rounds: Rounds
    memories: dict[int, SliceMemory] = field(default_factory=dict)
    images: dict[int, np.ndarray] = field(default_factory=dict)
    lost: set[tuple[int, bool]] = field(default_factory=set)
    """Sources and directions in which the lesion was not found any more."""

    def image_before(self, target: Target) -> np.ndarray:
        """Return the lesion's mask on the slice that it comes from to a target.

        Slices that the user emptied are passed over.
        """
        emptied = self.lesion.painted - self.lesion.mask.planes.keys()
        step = 1 if target.reverse else -1
        before = target.slice + step
        while before in emptied and before != target.source:
            before += step
        image = self.images.get(before)
        return self.lesion.mask.image(before) if image is None else image

    def targets(self, round_index: int) -> list[Target]:
        """Return the targets of one round that the lesion was not lost on the way to."""
        own = self.rounds[round_index] if round_index < len(self.rounds) else []
        return [target for target in own if (target.source, target.reverse) not in self.lost]


@dataclass(frozen=True)
class _Visit:
    """One lesion on the slice that it is propagated to next, with the memories it sees there."""

    chain: _Chain
    target: Target
    selection: Selection[SliceMemory]


class Propagator:
    """Propagates lesions through the slices of one scan."""

    def __init__(self, decoder: SliceDecoder, reference: bool, connected: bool = True) -> None:
        """With ``reference`` lesions take the published app's way through the slices.

        With ``connected`` a lesion keeps on each slice what goes on from the slice before, and is
        lost where nothing does.
        """
        self.decoder = decoder
        self.reference = reference
        self.connected = connected

    def rounds_of(self, lesion: Lesion, propagation_slices: int) -> Rounds:
        """Return where a lesion is propagated to; nowhere if it has no prompted slice.

        A slice that a click emptied says where it ends, and not that it is gone before.
        """
        if not lesion.prompted:
            return []
        fixed = {*lesion.prompted, *lesion.painted}
        if lesion.origin is not None:
            fixed |= lesion.origin.kept
        where = lesion.prompted, fixed, propagation_slices, self.decoder.embeddings.count
        if self.reference:
            return around_first_prompt(*where)
        rounds = around_every_prompt(*where, lesion.prompted.keys() - lesion.outlined.planes.keys())
        return [
            [t for t in own if _may_be_on(lesion, t.slice, propagation_slices)] for own in rounds
        ]

    @torch.no_grad()
    def propagate(
        self,
        lesions: Sequence[Lesion],
        rounds: Sequence[Rounds],
        progress: Progress = silent,
        cancel: CancelToken | None = None,
    ) -> list[Lesion]:
        """Propagate each lesion along its rounds of targets.

        Where a lesion is gone, it is not looked for any further that way.
        """
        chains = [_Chain(lesion, own) for lesion, own in zip(lesions, rounds, strict=True)]
        length = max((len(own) for own in rounds), default=0)
        visited = {target.slice for own in rounds for targets in own for target in targets}
        with self.decoder.embeddings.visiting(visited):
            for round_index in range(length):
                progress(round_index, length, "following lesions through the slices")
                self._run_round(chains, round_index, cancel)
        progress(length, length, "following lesions through the slices")
        return [_propagated(chain) for chain in chains]

    def _run_round(
        self, chains: Sequence[_Chain], round_index: int, cancel: CancelToken | None
    ) -> None:
        most = PROPAGATED_AT_ONCE.get(self.decoder.model.device.type, LESIONS_AT_ONCE)
        work = [(chain, target) for chain in chains for target in chain.targets(round_index)]
        # In the order of the slices, so that a lesion sees the same of itself whether it is
        # propagated alone or with others.
        for there in grouped(sorted(work, key=_where), _where):
            visits = [self._visit(chain, target) for chain, target in there]
            for group in grouped(visits, lambda visit: visit.selection.layout):
                for batch in batches(group, most):
                    if cancel:
                        cancel.check()
                    self._propagate_to(batch)

    def _visit(self, chain: _Chain, target: Target) -> _Visit:
        where = (target.slice, target.reverse)
        selection = self.decoder.select(chain.lesion.prompted, chain.memories, *where)
        return _Visit(chain, target, selection)

    def _propagate_to(self, batch: Sequence[_Visit]) -> None:
        slice_index = batch[0].target.slice
        conditioned = self.decoder.condition(slice_index, [visit.selection for visit in batch])
        features = self.decoder.embeddings.features(slice_index)
        decoded = self.decoder.model.decode(features, conditioned)
        single = [decoded[index : index + 1] for index in range(len(batch))]
        made = self.decoder.remember(slice_index, single, from_clicks=False)
        for visit, (memory, image) in zip(batch, made, strict=True):
            chain, target = visit.chain, visit.target
            if self.connected:
                image = _continued(image, chain.image_before(target))
                memory = replace(memory, found=memory.found and bool(image.any()))
            chain.memories[slice_index] = memory
            chain.images[slice_index] = image
            if not memory.found and not self.reference:
                chain.lost.add((target.source, target.reverse))


def _propagated(chain: _Chain) -> Lesion:
    """Return the lesion with what was found on its targets instead of what was there before."""
    lesion = chain.lesion
    for slice_index in {*lesion.propagated, *(t.slice for own in chain.rounds for t in own)}:
        lesion = lesion.with_image(slice_index, chain.images.get(slice_index))
    return replace(lesion, propagated=MappingProxyType(chain.memories))


def _may_be_on(lesion: Lesion, slice_index: int, propagation_slices: int) -> bool:
    """Return whether a lesion was, or is by one of its prompts, near enough to a slice.

    A click on what is too much says where the lesion is not, so it is followed no further for that.
    """
    if lesion.origin is not None and slice_index in lesion.origin.mask.planes:
        return True
    near = (n for n in lesion.prompted if abs(n - slice_index) <= propagation_slices)
    return any(lesion.is_pointed_at(n) for n in near)


def _continued(image: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return the components of a slice's mask that go on from the mask on the slice before.

    They touch it, and none is so much larger that it must be something else.
    """
    reach = ndimage.binary_dilation(before, structure=np.ones((3, 3)), iterations=REACH)
    parts = touching_parts(image, reach)
    labels, _ = ndimage.label(parts, structure=np.ones((3, 3)))
    sizes = np.bincount(labels.ravel())
    return parts & (sizes <= LARGEST_GROWTH * np.count_nonzero(before))[labels]


def _where(item: tuple[_Chain, Target]) -> tuple[int, bool]:
    _, target = item
    return target.slice, target.reverse

"""One lesion: where the user pointed, and what the network made of it.

Every class here is immutable. An operation makes a new lesion and leaves the old one to the undo
history, so nothing has to be copied and nothing can be half changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from torch import Tensor

from mois_core.session.masks import Mask


class Status(StrEnum):
    """How a lesion came about and what the user thinks of it."""

    PROMPTED = "prompted"
    """The user clicked, boxed or painted it."""
    FOUND = "found"
    """A search found it and nobody has looked at it yet."""
    ACCEPTED = "accepted"
    """A search found it and the user agrees."""
    REJECTED = "rejected"
    """The user does not agree; it is kept so that no search finds it again."""

    @property
    def counts(self) -> bool:
        """Whether such a lesion is part of the result."""
        return self is not Status.REJECTED


@dataclass(frozen=True)
class Click:
    """A point the user set, in pixels of the slice it lies on."""

    id: int
    slice: int
    x: float
    y: float
    positive: bool


@dataclass(frozen=True)
class BoxPrompt:
    """A rectangle that the user drew around the lesion on one slice, in pixels of that slice."""

    slice: int
    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True, eq=False)
class SliceMemory:
    """What the network remembers of a lesion on one slice, as later slices see it."""

    pointer: Tensor
    """Object pointer, (width,)."""
    score: Tensor
    """Object score as a logit, (1,)."""
    found: bool
    """Whether any of the lesion is on the slice."""
    memory: Tensor | None
    """(memory width, side, side); dropped where nothing can need it any more."""
    logits: Tensor | None = None
    """(1, low, low): what the next correction starts from; kept for prompted slices only."""


def _nothing() -> Mapping[int, SliceMemory]:
    return MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Lesion:
    """One lesion with everything that belongs to it."""

    id: int
    status: Status
    mask: Mask
    name: str = ""
    clicks: tuple[Click, ...] = ()
    boxes: Mapping[int, BoxPrompt] = field(default_factory=lambda: MappingProxyType({}))
    painted: frozenset[int] = frozenset()
    """Slices whose mask the user drew; the network does not touch them."""
    prompted: Mapping[int, SliceMemory] = field(default_factory=_nothing)
    """Slices that the user prompted, in the order in which that happened."""
    propagated: Mapping[int, SliceMemory] = field(default_factory=_nothing)
    """Slices that the network propagated the lesion to."""
    changed: int = 0
    """The clock of the state in which the lesion was last prompted; newer exemplars go first."""

    def clicks_on(self, slice_index: int) -> tuple[Click, ...]:
        """Return the clicks on one slice, in the order they were made."""
        return tuple(click for click in self.clicks if click.slice == slice_index)

    def prompts_on(self, slice_index: int) -> bool:
        """Return whether the user clicked or boxed the lesion on a slice."""
        return slice_index in self.boxes or bool(self.clicks_on(slice_index))


def painting_order(lesions: Iterable[Lesion]) -> list[Lesion]:
    """Return the lesions that count, in the order in which a label map paints them.

    Where they overlap the last one has the voxel, so what the user pointed at wins over what was
    found.
    """
    counting = [lesion for lesion in lesions if lesion.status.counts]
    return sorted(counting, key=lambda lesion: lesion.status is Status.PROMPTED)

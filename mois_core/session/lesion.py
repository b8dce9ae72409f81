"""One lesion: where the user pointed, and what the network made of it.

Every class here is immutable. An operation makes a new lesion and leaves the old one to the undo
history, so nothing has to be copied and nothing can be half changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

import numpy as np
from torch import Tensor

from mois_core.session.masks import Mask, Plane


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
    order: int = 0
    """Counted with the ids of clicks: what was made later has the higher number."""


@dataclass(frozen=True, eq=False)
class Painting:
    """A mask that the user drew on one slice; prompts that were there before no longer count."""

    slice: int
    plane: Plane | None
    """None if the user emptied the slice."""
    order: int
    """Counted with the ids of clicks."""
    is_given: bool = False
    """Whether it was outlined elsewhere, such that no search may add to the lesion."""

    def image(self, shape: tuple[int, int]) -> np.ndarray:
        """Return the mask at a slice's full size."""
        image = np.zeros(shape, dtype=bool)
        if self.plane is not None:
            image[self.plane.box] = self.plane.pixels
        return image


Prompt = Click | BoxPrompt | Painting


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
    """(memory width, rows, columns); dropped where nothing can need it any more."""
    logits: Tensor | None = None
    """(1, low rows, low columns): what the next correction starts from; kept for prompted slices
    only."""


@dataclass(frozen=True, eq=False)
class Origin:
    """What a lesion was before its first prompt: a finding, or the result of merging others."""

    mask: Mask
    status: Status
    order: int
    """Prompts that were made earlier, on what was merged, do not count any more."""
    kept: frozenset[int] = frozenset()
    """Slices of findings that were merged with what the user prompted: no propagation from there
    would reach them again, so it leaves them as they are."""


@dataclass(frozen=True, eq=False)
class Absorbed:
    """What the last search marked beyond what was outlined, as part of the lesion."""

    mask: Mask
    order: int
    """Prompts with this number or a higher one were made after the search."""
    replaced: frozenset[int] = frozenset()
    """Slices that such prompts decided on. Nothing absorbed counts there; without them it would."""

    @property
    def counting(self) -> Mask:
        """The part that belongs to the lesion's mask."""
        return self.mask.off_slices(self.replaced)


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
    boxes: tuple[BoxPrompt, ...] = ()
    """The boxes that the user drew; the last one on a slice counts."""
    paintings: tuple[Painting, ...] = ()
    """What the user painted; the last one on a slice counts."""
    origin: Origin | None = None
    """What the lesion was before its first prompt, if it was something."""
    prompted: Mapping[int, SliceMemory] = field(default_factory=_nothing)
    """Slices that the user prompted, in the order in which that happened."""
    propagated: Mapping[int, SliceMemory] = field(default_factory=_nothing)
    """Slices that the network propagated the lesion to."""
    absorbed: Absorbed | None = None
    confidence: float | None = None
    """How confident the search was that found it, from 0 to 1; None if no search did."""
    changed: int = 0
    """The clock of the state in which the lesion was last prompted; newer exemplars go first."""
    uid: str = ""
    """What the lesion was known by before it came into the session, as in a scan of another day;
    empty if it began here (`results/lesion_uids.py`)."""

    def with_image(self, slice_index: int, image: np.ndarray | None) -> Lesion:
        """Return the lesion with another mask on one slice (None empties it)."""
        mask = self.mask.with_slice(slice_index, image)
        absorbed = self.absorbed
        if absorbed is not None and slice_index in absorbed.mask.planes:
            if any(order_of(prompt) >= absorbed.order for prompt in self.prompts):
                absorbed = replace(absorbed, replaced=absorbed.replaced | {slice_index})
            else:
                left = absorbed.mask.off_slices({slice_index})
                absorbed = replace(absorbed, mask=left) if left else None
        return replace(self, mask=mask, absorbed=absorbed)

    @property
    def outlined(self) -> Mask:
        """The mask without what a search added to it."""
        return self.mask if self.absorbed is None else self.mask.minus(self.absorbed.counting)

    @property
    def prompts(self) -> list[Prompt]:
        """The prompts that count, in the order in which they were made."""
        since = self.origin.order if self.origin is not None else 0
        made = (*self.clicks, *self.boxes, *self.paintings)
        return sorted((p for p in made if order_of(p) >= since), key=order_of)

    @property
    def painted(self) -> frozenset[int]:
        """Slices that are as the user drew them; the network does not touch them."""
        slices = {painting.slice for painting in self.paintings}
        return frozenset(n for n in slices if not self.prompts_on(n))

    @property
    def is_as_given(self) -> bool:
        """Whether the lesion was outlined elsewhere and no click or box has corrected it since."""
        prompts = self.prompts
        is_drawn = all(isinstance(prompt, Painting) for prompt in prompts)
        return is_drawn and any(prompt.is_given for prompt in prompts)

    @property
    def is_drawn(self) -> bool:
        """Whether the user, or somebody elsewhere, drew all of it and no network took part."""
        is_painted = all(isinstance(prompt, Painting) for prompt in self.prompts)
        is_bare = self.origin is None and self.absorbed is None and not self.propagated
        return self.is_as_given or (self.has_prompts and is_painted and is_bare)

    def clicks_on(self, slice_index: int) -> tuple[Click, ...]:
        """Return the clicks that count on one slice, in the order they were made.

        Those made before the slice was painted do not count any more.
        """
        since = self._painted_at(slice_index)
        return tuple(c for c in self.clicks if c.slice == slice_index and c.id > since)

    def box_on(self, slice_index: int) -> BoxPrompt | None:
        """Return the box on one slice, unless the slice was painted since."""
        since = self._painted_at(slice_index)
        boxes = [b for b in self.boxes if b.slice == slice_index and b.order > since]
        return boxes[-1] if boxes else None

    def prompts_on(self, slice_index: int) -> bool:
        """Return whether clicks or a box of the user count on a slice."""
        return self.box_on(slice_index) is not None or bool(self.clicks_on(slice_index))

    def is_pointed_at(self, slice_index: int) -> bool:
        """Return whether the user's prompts say that the lesion is on a slice."""
        if slice_index in self.painted:
            return slice_index in self.mask.planes
        is_boxed = self.box_on(slice_index) is not None
        return is_boxed or any(click.positive for click in self.clicks_on(slice_index))

    @property
    def is_finding(self) -> bool:
        """Whether a search made the lesion, and the user has prompted nothing of it."""
        began_prompted = self.origin is not None and self.origin.status is Status.PROMPTED
        is_prompted = self.status is Status.PROMPTED or self.has_prompts or began_prompted
        return bool(self.mask) and not is_prompted

    @property
    def has_prompts(self) -> bool:
        """Whether the user has clicked, boxed or painted the lesion."""
        return bool(self.clicks or self.boxes or self.paintings)

    def _painted_at(self, slice_index: int) -> int:
        return max((p.order for p in self.paintings if p.slice == slice_index), default=-1)


def order_of(prompt: Prompt) -> int:
    """Return the number by which prompts are sorted: later ones have higher numbers."""
    return prompt.id if isinstance(prompt, Click) else prompt.order


def painting_order(lesions: Iterable[Lesion]) -> list[Lesion]:
    """Return the lesions that count, in the order in which a label map paints them.

    Where they overlap the last one has the voxel, so what the user pointed at wins over what was
    found, and what was outlined elsewhere over both.
    """
    counting = [lesion for lesion in lesions if lesion.status.counts]
    return sorted(counting, key=lambda le: (le.status is Status.PROMPTED, le.is_as_given))

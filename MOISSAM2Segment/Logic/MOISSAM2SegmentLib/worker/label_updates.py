"""Label values that have changed with a step, in boxes around them or in the whole scan.

This runs on the worker. Only finished boxes go to the main thread, which then has no more to do
than to copy them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mois_core.geometry import SliceStack
from mois_core.results.colours import lesion_colour

if TYPE_CHECKING:
    from mois_core.session import Session
    from mois_core.session.lesion import Lesion
    from mois_core.session.masks import Mask
    from mois_core.session.state import State

MANY = 16
"""From so many changed lesions on, one sweep over the whole scan is quicker than their boxes."""

Box = tuple[slice, slice, slice]
"""Along k, j and i of the volume, or along slices, rows and columns of its stack."""


def whole_box(shape: tuple[int, ...]) -> Box:
    """Return the box of a whole volume."""
    k, j, i = (slice(0, count) for count in shape)
    return k, j, i


@dataclass(frozen=True, eq=False)
class Patch:
    """Label values of a box, in the volume's own order."""

    box: Box
    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class Update:
    """A state, and how the scan's label values differ from those of the update before."""

    state: State
    patches: tuple[Patch, ...]
    is_whole: bool
    """Whether there is one patch that covers the whole scan."""
    separate: Mapping[int, Patch]
    """Masks, by lesion, of the lesions that the shared label values leave out."""


class LabelUpdates:
    """Maker of the updates of one session, which remembers the state of the last one."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.separate: frozenset[int] = frozenset()
        """Lesions in labelmaps of their own, because the user painted them over others."""
        self.borrowed: Callable[[], Collection[int]] = frozenset
        """Called for the lesions that are in borrowed segments or come into one. It is a function
        because such a lesion begins on this thread, before the main thread can pass its id on."""
        self._painted: Mapping[int, Lesion] = {}

    def whole(self) -> Update:
        """Return an update with the whole scan, for a segmentation that is empty."""
        state = self.session.state
        box = whole_box(self.session.stack.array.shape)
        return self._update(state, [box], is_whole=True)

    def update(self) -> Update:
        """Return what has changed since the last update."""
        state = self.session.state
        boxes = changed_boxes(self._painted, state.lesions)
        if len(boxes) > MANY:
            return self.whole()
        return self._update(state, boxes, is_whole=False)

    def _update(self, state: State, boxes: list[Box], is_whole: bool) -> Update:
        self._painted = state.lesions
        _choose_colours(state.lesions.values())
        stack, separate = self.session.stack, self.separate.union(self.borrowed())
        shared = [lesion for lesion in state.lesions.values() if lesion.id not in separate]
        patches = tuple(painted(stack, shared, box) for box in boxes)
        alone = [le for le in state.lesions.values() if le.id in separate and le.status.counts]
        around = {lesion.id: (lesion, _around([lesion.mask])) for lesion in alone}
        masks = {
            lesion_id: painted(stack, [lesion], box)
            for lesion_id, (lesion, box) in around.items()
            if box is not None
        }
        return Update(state, patches, is_whole, masks)


def _choose_colours(lesions: Iterable[Lesion]) -> None:
    """Work out the colours of lesions here, so that the main thread finds them ready."""
    for lesion in lesions:
        lesion_colour(lesion.id)


def values_in(labels: np.ndarray) -> set[int]:
    """Return the label values that occur. Sorting them, as numpy does, takes ten times longer."""
    occurs = np.zeros(2**16, dtype=bool)
    occurs[labels] = True
    return set(np.flatnonzero(occurs).tolist())


def changed_boxes(before: Mapping[int, Lesion], after: Mapping[int, Lesion]) -> list[Box]:
    """Return a box of the stack for each lesion that looks different, around both of its masks."""
    boxes = []
    for lesion_id in before.keys() | after.keys():
        masks = [_shown(before.get(lesion_id)), _shown(after.get(lesion_id))]
        if masks[0] is masks[1] and before[lesion_id].status is after[lesion_id].status:
            continue
        box = _around(mask for mask in masks if mask)
        if box is not None:
            boxes.append(box)
    return boxes


def _shown(lesion: Lesion | None) -> Mask | None:
    return lesion.mask if lesion is not None and lesion.status.counts else None


def _around(masks: Iterable[Mask]) -> Box | None:
    planes = [
        (slice_index, plane.row, plane.column, *plane.pixels.shape)
        for mask in masks
        for slice_index, plane in mask
    ]
    if not planes:
        return None
    slices, rows, columns, heights, widths = np.array(planes).T
    return (
        slice(int(slices.min()), int(slices.max()) + 1),
        slice(int(rows.min()), int((rows + heights).max())),
        slice(int(columns.min()), int((columns + widths).max())),
    )


def painted(stack: SliceStack, lesions: Iterable[Lesion], box: Box) -> Patch:
    """Return the label values in a box of the stack, of all lesions that reach into it."""
    from mois_core.session.lesion import painting_order

    slices, rows, columns = box
    crop = np.zeros([part.stop - part.start for part in box], dtype=np.uint16)
    for lesion in painting_order(lesions):
        for slice_index, plane in lesion.mask:
            if not slices.start <= slice_index < slices.stop:
                continue
            top, left = plane.row - rows.start, plane.column - columns.start
            height, width = plane.pixels.shape
            down = slice(max(top, 0), min(top + height, crop.shape[1]))
            along = slice(max(left, 0), min(left + width, crop.shape[2]))
            if down.start < down.stop and along.start < along.stop:
                inside = plane.pixels[
                    down.start - top : down.stop - top, along.start - left : along.stop - left
                ]
                crop[slice_index - slices.start, down, along][inside] = lesion.id
    # In the volume's order in memory, too: to turn it around takes as long as all the rest.
    return Patch(stack.box_to_volume(box), np.ascontiguousarray(stack.crop_to_volume(crop)))

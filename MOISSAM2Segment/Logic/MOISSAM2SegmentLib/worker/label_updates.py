"""What has to be painted anew after a step: the label values of one box, or of everything.

This runs on the worker. Only finished boxes go to the main thread, which then has no more to do
than to copy them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mois_core.geometry import SliceStack

if TYPE_CHECKING:
    from mois_core.session import Session
    from mois_core.session.lesion import Lesion
    from mois_core.session.masks import Mask
    from mois_core.session.state import State

MANY = 16
"""From so many changed lesions on, one sweep over the whole scan is quicker than their boxes."""

Box = tuple[slice, slice, slice]
"""Along k, j and i of the volume, or along slices, rows and columns of its stack."""


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
    """Whether there is one patch that covers everything."""
    apart: Mapping[int, Patch]
    """The masks of lesions that the shared label values leave out."""


class LabelUpdates:
    """Remembers which state was painted last."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.apart: frozenset[int] = frozenset()
        """Lesions that have layers of their own, because the user painted them over others."""
        self.held: Callable[[], Collection[int]] = frozenset
        """Asked for lesions in segments that somebody else writes. They are known only when they
        have begun, which is on this thread and before anybody could tell us."""
        self._painted: Mapping[int, Lesion] = {}

    def whole(self) -> Update:
        """Everything, for whoever starts with an empty segmentation."""
        state = self.session.state
        box = _everything(self.session.stack.array)
        return self._update(state, [box], is_whole=True)

    def update(self) -> Update:
        """What changed since the last time."""
        state = self.session.state
        boxes = changed_boxes(self._painted, state.lesions)
        if len(boxes) > MANY:
            return self.whole()
        return self._update(state, boxes, is_whole=False)

    def _update(self, state: State, boxes: list[Box], is_whole: bool) -> Update:
        self._painted = state.lesions
        stack, apart = self.session.stack, self.apart.union(self.held())
        shared = [lesion for lesion in state.lesions.values() if lesion.id not in apart]
        patches = tuple(painted(stack, shared, box) for box in boxes)
        alone = [le for le in state.lesions.values() if le.id in apart and le.status.counts]
        around = {lesion.id: (lesion, _around([lesion.mask])) for lesion in alone}
        masks = {
            number: painted(stack, [lesion], box)
            for number, (lesion, box) in around.items()
            if box is not None
        }
        return Update(state, patches, is_whole, masks)


def values_in(labels: np.ndarray) -> set[int]:
    """Which label values occur. Sorting them, as numpy does, takes ten times longer."""
    occurs = np.zeros(2**16, dtype=bool)
    occurs[labels] = True
    return set(np.flatnonzero(occurs).tolist())


def changed_boxes(before: Mapping[int, Lesion], after: Mapping[int, Lesion]) -> list[Box]:
    """A box of the stack for every lesion that looks different, around both of its shapes."""
    boxes = []
    for number in before.keys() | after.keys():
        masks = [_shown(before.get(number)), _shown(after.get(number))]
        if masks[0] is masks[1] and before[number].status is after[number].status:
            continue
        box = _around(mask for mask in masks if mask)
        if box is not None:
            boxes.append(box)
    return boxes


def _shown(lesion: Lesion | None) -> Mask | None:
    return lesion.mask if lesion is not None and lesion.status.counts else None


def _around(masks: Iterable[Mask]) -> Box | None:
    planes = [
        (number, plane.row, plane.column, *plane.pixels.shape)
        for mask in masks
        for number, plane in mask
    ]
    if not planes:
        return None
    numbers, rows, columns, heights, widths = np.array(planes).T
    return (
        slice(int(numbers.min()), int(numbers.max()) + 1),
        slice(int(rows.min()), int((rows + heights).max())),
        slice(int(columns.min()), int((columns + widths).max())),
    )


def painted(stack: SliceStack, lesions: Iterable[Lesion], box: Box) -> Patch:
    """The label values of a box of the stack, whatever lesions reach into it."""
    from mois_core.session.lesion import painting_order

    numbers, rows, columns = box
    crop = np.zeros([part.stop - part.start for part in box], dtype=np.uint16)
    for lesion in painting_order(lesions):
        for number, plane in lesion.mask:
            if not numbers.start <= number < numbers.stop:
                continue
            top, left = plane.row - rows.start, plane.column - columns.start
            height, width = plane.pixels.shape
            down = slice(max(top, 0), min(top + height, crop.shape[1]))
            along = slice(max(left, 0), min(left + width, crop.shape[2]))
            if down.start < down.stop and along.start < along.stop:
                inside = plane.pixels[
                    down.start - top : down.stop - top, along.start - left : along.stop - left
                ]
                crop[number - numbers.start, down, along][inside] = lesion.id
    return Patch(stack.box_to_volume(box), stack.crop_to_volume(crop))


def _everything(array: np.ndarray) -> Box:
    whole = tuple(slice(0, count) for count in array.shape)
    return whole[0], whole[1], whole[2]

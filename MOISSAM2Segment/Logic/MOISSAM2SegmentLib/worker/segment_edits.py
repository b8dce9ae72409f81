"""Edits that the user made of lesions' segments elsewhere in Slicer, as steps of the session."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from MOISSAM2SegmentLib.worker.label_updates import Box, Patch, values_in

if TYPE_CHECKING:
    from mois_core.session import Session
    from mois_core.session.masks import Mask
    from mois_core.session.state import State


@dataclass(frozen=True, eq=False)
class Repainted:
    """Voxels that a lesion has gained and lost, in a box of the volume."""

    lesion_id: int
    box: Box
    added: np.ndarray
    removed: np.ndarray


@dataclass(frozen=True)
class Renamed:
    """A lesion's new name; empty for its default name."""

    lesion_id: int
    name: str


@dataclass(frozen=True)
class Deleted:
    """A lesion whose segment is gone."""

    lesion_id: int


@dataclass(frozen=True, eq=False)
class Restored:
    """A lesion that is gone and whose segment has voxels again, by the Segment Editor's redo."""

    lesion_id: int
    box: Box
    mask: np.ndarray


SegmentEdit = Repainted | Renamed | Deleted | Restored


def apply(session: Session, edits: Sequence[SegmentEdit]) -> None:
    """Apply edits of segments to the session; those of lesions that are gone do nothing."""
    for edit in edits:
        lesion = session.state.lesions.get(edit.lesion_id)
        if isinstance(edit, Restored):
            if lesion is None:
                _bring_back(session, edit)
            continue
        if lesion is None or not lesion.status.counts:
            continue
        if isinstance(edit, Renamed):
            if lesion.name != edit.name:
                session.rename(edit.lesion_id, edit.name)
        elif isinstance(edit, Deleted):
            session.delete(edit.lesion_id)
        else:
            _repaint(session, edit)


def _repaint(session: Session, edit: Repainted) -> None:
    # Where a lesion is hidden under another, the user did not see it, so it stays there.
    mask = session.mask(edit.lesion_id)
    before = mask[edit.box].copy()
    mask[edit.box] = (before | edit.added) & ~edit.removed
    if np.array_equal(mask[edit.box], before):
        return
    _become(session, edit.lesion_id, mask)


def _bring_back(session: Session, edit: Restored) -> None:
    mask = np.zeros(session.volume.array.shape, dtype=bool)
    mask[edit.box] = edit.mask
    _become(session, edit.lesion_id, mask)


def _become(session: Session, lesion_id: int, mask: np.ndarray) -> None:
    """Give a lesion a mask, by undoing or redoing steps of the session if they lead there."""
    from mois_core.session.masks import Mask

    history, present = session.history, session.state
    wanted = Mask.from_stack(session.stack.from_volume(mask))
    for entries, step in ((history.past, session.undo), (history.future, session.redo)):
        count = _steps_to([state for _, state in reversed(entries)], present, lesion_id, wanted)
        if count:
            for _ in range(count):
                step()
            return
    session.set_mask(lesion_id, mask)


def _steps_to(states: Sequence[State], present: State, lesion_id: int, wanted: Mask) -> int:
    """Return how many steps away the nearest state is in which a lesion has a mask; 0 if none is.

    Then the Segment Editor's undo or redo was used, and the session's follows it: the points that
    made the mask go and come with it. Two clicks are one step to the editor if the second one
    changed nothing, or came before the first one's result. Steps on other lesions end the search.
    """
    here = dict(present.lesions)
    here.pop(lesion_id, None)
    for count, state in enumerate(states, start=1):
        there = dict(state.lesions)
        lesion = there.pop(lesion_id, None)
        if there.keys() != here.keys() or any(there[n] is not here[n] for n in there):
            return 0
        if lesion.mask.same_as(wanted) if lesion is not None else not wanted:
            return count
    return 0


def repainted(
    box: Box, labels: np.ndarray, expected: np.ndarray, lesion_ids: Collection[int]
) -> list[Repainted]:
    """Return how label values of a box differ from those that were written, for some lesions."""
    within = _changed_box(labels, expected)
    if within is None:
        return []
    now, then = labels[within], expected[within]
    box = inner_box(box, within)
    changed = now != then
    concerned = values_in(now[changed]) | values_in(then[changed])
    return [
        Repainted(n, box, changed & (now == n), changed & (then == n))
        for n in sorted(concerned)
        if n in lesion_ids
    ]


def _changed_box(labels: np.ndarray, expected: np.ndarray) -> Box | None:
    """Return the box around differences; None if there are none."""
    # Plane by plane: memory for a whole scan takes long to get.
    planes = zip(labels, expected, strict=True)
    differ = [n for n, pair in enumerate(planes) if not np.array_equal(*pair)]
    if not differ:
        return None
    along = slice(differ[0], differ[-1] + 1)
    _, rows, columns = box_around(labels[along] != expected[along])
    return along, rows, columns


def repainted_patch(then: Patch, now: Patch, lesion_id: int) -> list[Repainted]:
    """Return how one lesion's voxels now differ from those before, inside the box around both."""
    box = around_both(then.box, now.box)
    before, after = in_box(then, box) == lesion_id, in_box(now, box) == lesion_id
    if np.array_equal(before, after):
        return []
    return [Repainted(lesion_id, box, after & ~before, before & ~after)]


def around_both(first: Box, second: Box) -> Box:
    """Return the smallest box around two boxes, of which one may be empty."""
    given = [box for box in (first, second) if all(part.start < part.stop for part in box)]
    if not given:
        return first
    k, j, i = (
        slice(min(part.start for part in parts), max(part.stop for part in parts))
        for parts in zip(*given, strict=True)
    )
    return k, j, i


def inner_box(outer: Box, within: Box) -> Box:
    """Return a box that is counted from the first voxel of another one."""
    k, j, i = (
        slice(around.start + part.start, around.start + part.stop)
        for around, part in zip(outer, within, strict=True)
    )
    return k, j, i


def in_box(patch: Patch, box: Box) -> np.ndarray:
    """Return a patch's label values in a box around it; zero outside the patch."""
    labels = np.zeros([part.stop - part.start for part in box], dtype=np.uint16)
    if patch.labels.size:
        place = tuple(
            slice(inner.start - outer.start, inner.stop - outer.start)
            for inner, outer in zip(patch.box, box, strict=True)
        )
        labels[place] = patch.labels
    return labels


def box_around(mask: np.ndarray) -> Box | None:
    """Return the smallest box that holds a mask; None if it is empty."""
    where = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if not len(where[0]):
        return None
    k, j, i = (slice(int(w[0]), int(w[-1]) + 1) for w in where)
    return k, j, i

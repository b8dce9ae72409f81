"""Changes of the points of a scan, as clicks for the session."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from MOISSAM2SegmentLib.messages import tr as _

if TYPE_CHECKING:
    from mois_core.progress import CancelToken, Progress
    from mois_core.session import Session
    from mois_core.session.state import State

PAINTING_LOST = _(
    "The click has drawn the painted slice anew: {lost} of {painted} painted voxels are left out. "
    "Undo brings them back."
)
MOST_LOST = 0.1
"""Part of what was painted on a slice that a click may change at its edge without a word."""


@dataclass(eq=False)
class FreshLesion:
    """A lesion that has been begun and has no id yet.

    The session gives it an id when its first click is made, which may be after a search that needs
    ids too.
    """

    lesion_id: int | None = None
    awaits_content: bool = False
    """Whether it is to begin with what its segment holds, which the session has not taken over. No
    click can begin it before, for the click's mask would replace that content."""


@dataclass(frozen=True, eq=False)
class PlacedPoint:
    """A point that the user placed."""

    point_id: str
    ras: np.ndarray
    lesion: int | FreshLesion
    positive: bool


@dataclass(frozen=True, eq=False)
class DraggedPoint:
    """A known point that the user dragged elsewhere."""

    point_id: str
    click_id: int
    ras: np.ndarray


@dataclass(frozen=True, eq=False)
class RemovedPoint:
    """A known point that the user removed."""

    point_id: str
    click_id: int


ClickEdit = PlacedPoint | DraggedPoint | RemovedPoint


@dataclass(frozen=True)
class AppliedClicks:
    """Result of applying edits of points to a session."""

    click_ids: dict[str, int]
    """The click of each new point, by the point's id."""
    to_propagate: list[int]
    """Lesions that are not yet propagated to their neighbouring slices."""
    notice: str = ""
    """What the user should know of it; empty if all is as expected."""


def apply(
    session: Session, edits: Sequence[ClickEdit], progress: Progress, cancel: CancelToken
) -> AppliedClicks:
    """Make the clicks that edits ask for, on the slices with the points only.

    Neighbouring slices are left to `Session.propagate`. Points that were placed together are one
    step, so one undo takes them back together; so are those that were removed together, and
    lesions of which nothing is left go with them.
    """
    from mois_core.session import NewClick

    owners = {
        click.id: lesion.id for lesion in session.state.lesions.values() for click in lesion.clicks
    }
    # A click may be gone already, by an undo that was asked for in between.
    removed = [e.click_id for e in edits if isinstance(e, RemovedPoint) and e.click_id in owners]
    dragged = [e for e in edits if isinstance(e, DraggedPoint) and e.click_id in owners]
    if removed:
        session.delete_clicks(removed, progress=progress, cancel=cancel)
    for edit in dragged:
        session.move_click(edit.click_id, edit.ras, propagate=False)
    moved = [owners[edit.click_id] for edit in dragged]
    placed = [e for e in edits if isinstance(e, PlacedPoint) and not _awaits_content(e.lesion)]
    if not placed:
        return AppliedClicks({}, moved)
    before = session.state
    first = before.next_click
    lesion_ids = _lesion_ids(session, placed)
    new = [NewClick(e.ras, e.positive, n) for e, n in zip(placed, lesion_ids, strict=True)]
    session.clicks(new, propagate=False)
    notice = _lost_painting(before, session.state)
    for edit, lesion_id in zip(placed, lesion_ids, strict=True):
        if isinstance(edit.lesion, FreshLesion):
            edit.lesion.lesion_id = lesion_id
    click_ids = {edit.point_id: first + n for n, edit in enumerate(placed)}
    return AppliedClicks(click_ids, list(dict.fromkeys([*moved, *lesion_ids])), notice)


def _lost_painting(before: State, after: State) -> str:
    """Return a sentence if clicks inside have taken much away of what the user had painted.

    The network begins with the painted outline of the slice, and may leave it far behind.
    """
    painted = lost = 0
    for lesion in before.lesions.values():
        now = after.lesions.get(lesion.id, lesion)
        new = [click for click in now.clicks if click.id >= before.next_click]
        for n in {click.slice for click in new if click.positive} & lesion.painted:
            was = lesion.mask.image(n)
            painted += int(was.sum())
            lost += int((was & ~now.mask.image(n)).sum())
    return PAINTING_LOST.format(lost=lost, painted=painted) if lost > MOST_LOST * painted else ""


def _awaits_content(lesion: int | FreshLesion) -> bool:
    return isinstance(lesion, FreshLesion) and lesion.awaits_content


def _lesion_ids(session: Session, placed: Iterable[PlacedPoint]) -> list[int]:
    """Return the ids of the points' lesions; new ids follow the highest that was ever used."""
    placed = list(placed)
    named = [edit.lesion for edit in placed if isinstance(edit.lesion, int)]
    following = max([session.state.next_id, *(lesion_id + 1 for lesion_id in named)])
    fresh: dict[FreshLesion, int] = {}
    lesion_ids = []
    for edit in placed:
        if isinstance(edit.lesion, int):
            lesion_ids.append(edit.lesion)
        elif edit.lesion.lesion_id is not None:
            lesion_ids.append(edit.lesion.lesion_id)
        else:
            if edit.lesion not in fresh:
                fresh[edit.lesion] = following
                following += 1
            lesion_ids.append(fresh[edit.lesion])
    return lesion_ids

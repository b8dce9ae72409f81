"""Changes of the points of a scan, as clicks for the session."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from MOISSAM2SegmentLib.messages import tr as _

if TYPE_CHECKING:
    from mois_core.progress import CancelToken, Progress
    from mois_core.session import Session
    from mois_core.session.state import State

ON_THIS_SLICE = _("Changed on this slice. Press Propagate to take the change through the volume.")


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


def id_of(lesion: int | FreshLesion | None) -> int | None:
    """Return the id of the lesion that a prompt belongs to; None if it has none yet."""
    return lesion.lesion_id if isinstance(lesion, FreshLesion) else lesion


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


@dataclass(frozen=True, eq=False)
class DrawnBox:
    """A box that the user drew around a lesion, by two opposite corners on one slice."""

    first: np.ndarray
    second: np.ndarray
    lesion: int | FreshLesion


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


def is_corrected_by_slice(session: Session, lesion: int | FreshLesion) -> bool:
    """Return whether corrections of a lesion stay on their slice until it is propagated again.

    So it is where a network that cannot search has propagated it farther than the settings reach:
    a propagation as after any click would lose what lies beyond.
    """
    from mois_core.session.propagation import is_propagated_beyond

    present = session.state.lesions.get(id_of(lesion))
    if present is None or session.can_search:
        return False
    return is_propagated_beyond(present, session.settings.reach(session.stack.slice_spacing))


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
    by_slice = {n for n in session.state.lesions if is_corrected_by_slice(session, n)}
    by_slice -= _bare_without(session.state, removed)
    removed_from = {owners[click_id] for click_id in removed}
    stays = not removed_from.isdisjoint(by_slice)
    if removed:
        session.delete_clicks(removed, propagate=not stays, progress=progress, cancel=cancel)
    for edit in dragged:
        session.move_click(edit.click_id, edit.ras, propagate=False)
    moved = [owners[edit.click_id] for edit in dragged]
    changed = [*sorted(removed_from if stays else ()), *moved]
    placed = [e for e in edits if isinstance(e, PlacedPoint) and not _awaits_content(e.lesion)]
    if not placed:
        notice = _by_slice_notice(changed, by_slice)
        return AppliedClicks({}, _without(changed, by_slice), notice)
    first = session.state.next_click
    lesion_ids = _lesion_ids(session, placed)
    new = [NewClick(e.ras, e.positive, n) for e, n in zip(placed, lesion_ids, strict=True)]
    session.clicks(new, propagate=False)
    for edit, lesion_id in zip(placed, lesion_ids, strict=True):
        if isinstance(edit.lesion, FreshLesion):
            edit.lesion.lesion_id = lesion_id
    click_ids = {edit.point_id: first + n for n, edit in enumerate(placed)}
    changed += lesion_ids
    notice = _by_slice_notice(changed, by_slice)
    return AppliedClicks(click_ids, _without(changed, by_slice), notice)


def _without(lesion_ids: Iterable[int], left_out: Collection[int]) -> list[int]:
    return [n for n in dict.fromkeys(lesion_ids) if n not in left_out]


def _by_slice_notice(changed: Iterable[int], by_slice: set[int]) -> str:
    return "" if by_slice.isdisjoint(changed) else ON_THIS_SLICE


def _bare_without(state: State, click_ids: Collection[int]) -> set[int]:
    """Return the lesions that have no prompts left without some clicks."""
    return {
        lesion.id
        for lesion in state.lesions.values()
        if all(getattr(prompt, "id", None) in click_ids for prompt in lesion.prompts)
    }


def _awaits_content(lesion: int | FreshLesion) -> bool:
    return isinstance(lesion, FreshLesion) and lesion.awaits_content


def draw_box(session: Session, box: DrawnBox) -> AppliedClicks:
    """Prompt a lesion with a box, on the box's slice only; see `apply`."""
    if _awaits_content(box.lesion):
        return AppliedClicks({}, [])
    by_slice = is_corrected_by_slice(session, box.lesion)
    lesion_id = session.box(box.first, box.second, id_of(box.lesion), propagate=False)
    if isinstance(box.lesion, FreshLesion):
        box.lesion.lesion_id = lesion_id
    if by_slice:
        return AppliedClicks({}, [], ON_THIS_SLICE)
    return AppliedClicks({}, [lesion_id])


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

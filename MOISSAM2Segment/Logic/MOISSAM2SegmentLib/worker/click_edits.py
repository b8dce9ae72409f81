"""What changed among a scan's points, as steps for the session. No scene here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mois_core.progress import CancelToken, Progress
    from mois_core.session import Session


@dataclass(eq=False)
class FreshLesion:
    """A lesion that has been begun and has no number yet: the session gives it one when its
    first click is made, which may be after a search that needs numbers too."""

    number: int | None = None


@dataclass(frozen=True, eq=False)
class Placed:
    """A new point."""

    point: str
    ras: np.ndarray
    lesion: int | FreshLesion
    positive: bool


@dataclass(frozen=True, eq=False)
class Dragged:
    """A known point elsewhere."""

    point: str
    click: int
    ras: np.ndarray


@dataclass(frozen=True, eq=False)
class Removed:
    """A known point that is gone."""

    point: str
    click: int


Edit = Placed | Dragged | Removed


@dataclass(frozen=True)
class Applied:
    """What became of edits."""

    became: dict[str, int]
    """New point -> click."""
    to_propagate: list[int]
    """Lesions that are to be propagated to their neighbouring slices yet."""


def apply(
    session: Session, edits: Sequence[Edit], progress: Progress, cancel: CancelToken
) -> Applied:
    """Do the steps, on the slices with the points first; the neighbours are left to `propagate`.

    Points that were placed together are one step, so one undo takes them back together.
    """
    from mois_core.session import NewClick

    owners = {
        click.id: lesion.id for lesion in session.state.lesions.values() for click in lesion.clicks
    }
    # A click may be gone already, by an undo that was asked for in between.
    removed = [e for e in edits if isinstance(e, Removed) and e.click in owners]
    dragged = [e for e in edits if isinstance(e, Dragged) and e.click in owners]
    for edit in removed:
        session.delete_click(edit.click, progress=progress, cancel=cancel)
    for edit in dragged:
        session.move_click(edit.click, edit.ras, propagate=False)
    moved = [owners[edit.click] for edit in dragged]
    placed = [edit for edit in edits if isinstance(edit, Placed)]
    if not placed:
        return Applied({}, moved)
    first = session.state.next_click
    numbers = _numbers(session, placed)
    new = [NewClick(e.ras, e.positive, n) for e, n in zip(placed, numbers, strict=True)]
    session.clicks(new, propagate=False)
    for edit, number in zip(placed, numbers, strict=True):
        if isinstance(edit.lesion, FreshLesion):
            edit.lesion.number = number
    became = {edit.point: first + n for n, edit in enumerate(placed)}
    return Applied(became, list(dict.fromkeys([*moved, *numbers])))


def _numbers(session: Session, placed: Iterable[Placed]) -> list[int]:
    """The lesions' numbers; those of fresh ones follow the highest there has been."""
    placed = list(placed)
    named = [edit.lesion for edit in placed if isinstance(edit.lesion, int)]
    following = max([session.state.next_id, *(number + 1 for number in named)])
    fresh: dict[FreshLesion, int] = {}
    numbers = []
    for edit in placed:
        if isinstance(edit.lesion, int):
            numbers.append(edit.lesion)
        elif edit.lesion.number is not None:
            numbers.append(edit.lesion.number)
        else:
            if edit.lesion not in fresh:
                fresh[edit.lesion] = following
                following += 1
            numbers.append(fresh[edit.lesion])
    return numbers

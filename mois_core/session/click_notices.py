"""What seems wrong with a click: it lies in air, in another lesion, where one was before.

Such a click is made all the same, since the user may know better; what seems wrong is said, with
what to do. Nothing here changes a result. Of several reasons a click has the first is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from mois_core.geometry import SliceStack
from mois_core.session.body import Body, find_body
from mois_core.session.lesion import Click, Lesion, Status
from mois_core.session.state import State

SAME_PLACE_MM = 1.0
"""A click nearer to an earlier one, but within a pixel at least, is at the same place."""
FAR_MM = 25.0
"""What does not belong to a lesion is pointed at beside it; further away it is a slip."""
ANOTHER_LESION_MM = 60.0
"""A click so far from all of a lesion is more likely meant for another one. Parts of a plexiform
lesion are nearer to each other, or to a slice that it was propagated to."""

IN_AIR = (
    "The click for lesion {lesion} lies in the air, {mm:.0f} mm outside the body. Take it back, or "
    "move it onto the lesion."
)
TWICE = (
    "Lesion {lesion} was clicked at this place before, which changes little. A click where the "
    "outline is wrong helps more."
)
BOTH = (
    "Lesion {lesion} has two clicks at the same place: one on the lesion, one on what lies outside "
    "it. Take one of them back."
)
TWO_LESIONS = (
    "The click for lesion {lesion} is where lesion {other} was clicked before. If lesion {other} "
    "was meant, take it back, choose lesion {other} and click again."
)
IN_FINDING = (
    "The click for lesion {lesion} lies in lesion {other}, which the search found. If lesion "
    "{other} was meant, take the click back, choose lesion {other} and click again."
)
IN_LESION = (
    "The click for lesion {lesion} lies in lesion {other}. If lesion {other} was meant, take the "
    "click back, choose lesion {other} and click again."
)
NO_LESION_YET = (
    "Lesion {lesion} has only clicks on what lies outside it. Click on the lesion itself, too."
)
FAR_OUTSIDE = (
    "The click on what lies outside lesion {lesion} is {mm:.0f} mm away from it. If another lesion "
    "was meant, take it back; else click beside the lesion, or where its outline is wrong."
)
FAR_INSIDE = (
    "The click for lesion {lesion} is {mm:.0f} mm away from all that lesion {lesion} was before. "
    "If it is another lesion, take the click back and begin a new lesion."
)
NO_OUTLINE = (
    "Nothing is outlined where lesion {lesion} was clicked. Click nearer to its middle, or on "
    "another slice."
)
MORE = " So it is with {count} more of the {all} clicks."


class ClickNotices:
    """Says what seems wrong with the clicks on one scan."""

    def __init__(self, stack: SliceStack) -> None:
        self.stack = stack

    @cached_property
    def body(self) -> Body | None:
        """Where the body is, looked for at the first click; None if no air is plain to see."""
        return find_body(self.stack)

    def notices(
        self, before: State, after: State, clicks: Sequence[tuple[int, Click]]
    ) -> list[str]:
        """Return sentences about clicks, each with its lesion's id, that were just made or moved.

        What many clicks have in common is said once, of the first of them.
        """
        said: dict[str, list[str]] = {}
        for lesion_id, click in clicks:
            wrong = next(self._wrong(before, after, lesion_id, click), None)
            if wrong is not None:
                reason, told = wrong
                said.setdefault(reason, []).append(reason.format(lesion=lesion_id, **told))
        return [
            texts[0] + (MORE.format(count=len(texts) - 1, all=len(clicks)) if texts[1:] else "")
            for texts in said.values()
        ]

    def _wrong(
        self, before: State, after: State, lesion_id: int, click: Click
    ) -> Iterator[tuple[str, dict[str, object]]]:
        """Yield what seems wrong with one click, and what is to be told of it."""
        lesion, was = after.lesion(lesion_id), before.lesions.get(lesion_id)
        if click.positive and self.body is not None:
            mm = self.body.mm_outside(self.stack.point_to_ras(click.slice, click.x, click.y))
            if mm:
                yield IN_AIR, {"mm": mm}
        known = {own.id for own in was.clicks} if was is not None else set()
        others = [
            own
            for own in lesion.clicks
            if own.id != click.id and (own.id < click.id or own.id in known)
        ]
        for other in others:
            if self._is_same_place(click, other):
                yield (TWICE if other.positive is click.positive else BOTH), {}
        if not click.positive:
            yield from self._wrong_outside(lesion, was, click)
            return
        if was is None or not _covers(was, click):
            yield from self._other_lesions(before, after, lesion_id, click)
        # One that was moved has left its outline behind.
        mm = self._mm_from(click, [] if click.id in known else [was], others)
        if ANOTHER_LESION_MM < mm < np.inf:
            yield FAR_INSIDE, {"mm": mm}
        if click.slice not in lesion.mask.planes:
            yield NO_OUTLINE, {}

    def _wrong_outside(
        self, lesion: Lesion, was: Lesion | None, click: Click
    ) -> Iterator[tuple[str, dict[str, object]]]:
        on_it = [other for other in lesion.clicks if other.positive]
        mm = self._mm_from(click, [was, lesion], on_it)
        if not (on_it or lesion.boxes or lesion.paintings or lesion.origin):
            yield NO_LESION_YET, {}
        elif FAR_MM < mm < np.inf:
            yield FAR_OUTSIDE, {"mm": mm}

    def _other_lesions(
        self, before: State, after: State, lesion_id: int, click: Click
    ) -> Iterator[tuple[str, dict[str, object]]]:
        """Yield in which lesions a click lies that were there before it."""
        for other in after.lesions.values():
            first = min((own.id for own in other.clicks), default=0)
            if other.id == lesion_id or not other.status.counts or first > click.id:
                continue
            told = {"other": other.id}
            if _covers(before.lesions.get(other.id, other), click):
                yield (IN_FINDING if other.status is Status.FOUND else IN_LESION), told
            for own in other.clicks:
                if own.positive and own.id != click.id and self._is_same_place(click, own):
                    yield TWO_LESIONS, told

    def _is_same_place(self, click: Click, other: Click) -> bool:
        rows, columns = self.stack.pixel_spacing
        mm = np.hypot((click.x - other.x) * columns, (click.y - other.y) * rows)
        return click.slice == other.slice and mm < max(SAME_PLACE_MM, rows, columns)

    def _mm_from(
        self, click: Click, lesions: Sequence[Lesion | None], clicks: Sequence[Click]
    ) -> float:
        """Return how far a click lies from lesions and clicks; infinity if there are none."""
        sizes = np.array([self.stack.slice_spacing, *self.stack.pixel_spacing])
        places = [np.array([(other.slice, other.y, other.x)]) for other in clicks]
        for lesion in lesions:
            for n, plane in lesion.mask if lesion is not None else ():
                pixels = np.argwhere(plane.pixels) + (plane.row, plane.column)
                places.append(np.insert(pixels.astype(np.float64), 0, n, axis=1))
        here = (click.slice, click.y, click.x)
        nearest = [np.square((place - here) * sizes).sum(axis=1).min() for place in places]
        return float(np.sqrt(min(nearest, default=np.inf)))


def _covers(lesion: Lesion, click: Click) -> bool:
    """Return whether a lesion's outline has a click in it."""
    plane = lesion.mask.planes.get(click.slice)
    if plane is None:
        return False
    row, column = round(click.y) - plane.row, round(click.x) - plane.column
    rows, columns = plane.pixels.shape
    return 0 <= row < rows and 0 <= column < columns and bool(plane.pixels[row, column])

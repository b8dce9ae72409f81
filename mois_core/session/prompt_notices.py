"""What seems wrong with a click or a box: it is in air, at another lesion, where one was before.

It is made all the same, since the user may know better; what seems wrong is said, with what to do.
Nothing here changes a result. Of several reasons that a click or a box has the first is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import product

import numpy as np

from mois_core.geometry import SliceStack
from mois_core.session.body import Body, find_body
from mois_core.session.lesion import BoxPrompt, Click, Lesion, Prompt, Status
from mois_core.session.masks import Plane
from mois_core.session.state import State

SAME_PLACE_MM = 1.0
"""A click nearer to an earlier one, but within a pixel at least, is at the same place."""
FAR_MM = 25.0
"""What does not belong to a lesion is pointed at beside it; further away it is a slip."""
ANOTHER_LESION_MM = 60.0
"""A click so far from all of a lesion is more likely meant for another one. Parts of a plexiform
lesion are nearer to each other, or to a slice that it was propagated to."""
_PLACES = 5
"""Rows and columns of places in a box that are looked at; it is in the air if all of them are."""

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
BOX_IN_AIR = (
    "The box for lesion {lesion} lies in the air, {mm:.0f} mm outside the body. Take it back, or "
    "draw it around the lesion."
)
BOX_TWICE = (
    "A box for lesion {lesion} was drawn at this place before, which changes little. A click where "
    "the outline is wrong helps more."
)
BOX_FOR_TWO = (
    "The box for lesion {lesion} is where one for lesion {other} was drawn before. If lesion "
    "{other} was meant, take it back, choose lesion {other} and click where its outline is wrong."
)
BOX_ON_FINDING = (
    "The box for lesion {lesion} outlines lesion {other}, which the search found. If lesion "
    "{other} was meant, take the box back, choose lesion {other} and draw it again."
)
BOX_ON_LESION = (
    "The box for lesion {lesion} outlines lesion {other}. If lesion {other} was meant, take the "
    "box back, choose lesion {other} and draw it again."
)
BOX_FAR = (
    "The box for lesion {lesion} is {mm:.0f} mm away from all that lesion {lesion} was before. If "
    "it is another lesion, take the box back and begin a new lesion."
)
BOX_EMPTY = (
    "Nothing is outlined in the box for lesion {lesion}. Draw it close around the lesion, or on "
    "another slice."
)
MORE = " So it is with {count} more of the {all} clicks."


class PromptNotices:
    """Says what seems wrong with the clicks and boxes on one scan."""

    def __init__(self, stack: SliceStack) -> None:
        self.stack = stack

    @cached_property
    def body(self) -> Body | None:
        """Where the body is, looked for when it is first asked; None if no air is plain to see."""
        return find_body(self.stack)

    def notices(
        self, before: State, after: State, prompts: Sequence[tuple[int, Prompt]]
    ) -> list[str]:
        """Return sentences about prompts, each with its lesion's id, that were just made or moved.

        What many clicks have in common is said once, of the first of them. What was painted is as
        its user wants it.
        """
        said: dict[str, list[str]] = {}
        for lesion_id, prompt in prompts:
            wrong = None
            if isinstance(prompt, Click):
                wrong = next(self._wrong(before, after, lesion_id, prompt), None)
            elif isinstance(prompt, BoxPrompt):
                wrong = next(self._wrong_box(before, after, lesion_id, prompt), None)
            if wrong is not None:
                reason, told = wrong
                said.setdefault(reason, []).append(reason.format(lesion=lesion_id, **told))
        return [
            texts[0] + (MORE.format(count=len(texts) - 1, all=len(prompts)) if texts[1:] else "")
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
        places = _places(others)
        mm = self._mm_from(_places([click])[0], [] if click.id in known else [was], places)
        if ANOTHER_LESION_MM < mm < np.inf:
            yield FAR_INSIDE, {"mm": mm}
        if click.slice not in lesion.mask.planes:
            yield NO_OUTLINE, {}

    def _wrong_outside(
        self, lesion: Lesion, was: Lesion | None, click: Click
    ) -> Iterator[tuple[str, dict[str, object]]]:
        on_it = _places([other for other in lesion.clicks if other.positive])
        mm = self._mm_from(_places([click])[0], [was, lesion], on_it)
        if not (len(on_it) or lesion.boxes or lesion.paintings or lesion.origin):
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

    def _wrong_box(
        self, before: State, after: State, lesion_id: int, box: BoxPrompt
    ) -> Iterator[tuple[str, dict[str, object]]]:
        """Yield what seems wrong with a box, and what is to be told of it."""
        lesion, was = after.lesion(lesion_id), before.lesions.get(lesion_id)
        mm = self._mm_outside(box)
        if mm:
            yield BOX_IN_AIR, {"mm": mm}
        outline = lesion.mask.planes.get(box.slice)
        for other in before.lesions.values():
            is_there = any(self._is_same_box(box, own) for own in other.boxes)
            if is_there and other.id == lesion_id:
                yield BOX_TWICE, {}
            elif is_there and other.status.counts:
                yield BOX_FOR_TWO, {"other": other.id}
            its = other.mask.planes.get(box.slice)
            if other.id != lesion_id and other.status.counts and _is_most(outline, its):
                text = BOX_ON_FINDING if other.status is Status.FOUND else BOX_ON_LESION
                yield text, {"other": other.id}
        middle = np.array([box.slice, (box.y0 + box.y1) / 2, (box.x0 + box.x1) / 2])
        mm = self._mm_from(middle, [was], _places(was.clicks if was is not None else ()))
        if ANOTHER_LESION_MM < mm < np.inf:
            yield BOX_FAR, {"mm": mm}
        if outline is None:
            yield BOX_EMPTY, {}

    def _mm_outside(self, box: BoxPrompt) -> float:
        """Return how far outside the body a box lies; 0 if some of it is in the body or near it."""
        if self.body is None:
            return 0.0
        nearest = np.inf
        for y, x in product(
            np.linspace(box.y0, box.y1, _PLACES), np.linspace(box.x0, box.x1, _PLACES)
        ):
            mm = self.body.mm_outside(self.stack.point_to_ras(box.slice, x, y))
            if not mm:
                return 0.0
            nearest = min(nearest, mm)
        return float(nearest)

    def _is_same_box(self, one: BoxPrompt, other: BoxPrompt) -> bool:
        rows, columns = self.stack.pixel_spacing
        mm = np.abs(np.subtract((one.y0, one.y1), (other.y0, other.y1))).max() * rows
        mm = max(mm, np.abs(np.subtract((one.x0, one.x1), (other.x0, other.x1))).max() * columns)
        return one.slice == other.slice and mm < max(SAME_PLACE_MM, rows, columns)

    def _is_same_place(self, click: Click, other: Click) -> bool:
        rows, columns = self.stack.pixel_spacing
        mm = np.hypot((click.x - other.x) * columns, (click.y - other.y) * rows)
        return click.slice == other.slice and mm < max(SAME_PLACE_MM, rows, columns)

    def _mm_from(
        self, here: np.ndarray, lesions: Sequence[Lesion | None], clicked: np.ndarray
    ) -> float:
        """Return how far a place lies from lesions and from places; infinity without any."""
        sizes = np.array([self.stack.slice_spacing, *self.stack.pixel_spacing])
        places = [clicked] if len(clicked) else []
        for lesion in lesions:
            for n, plane in lesion.mask if lesion is not None else ():
                pixels = np.argwhere(plane.pixels) + (plane.row, plane.column)
                places.append(np.insert(pixels.astype(np.float64), 0, n, axis=1))
        nearest = [np.square((place - here) * sizes).sum(axis=1).min() for place in places]
        return float(np.sqrt(min(nearest, default=np.inf)))


def _places(clicks: Sequence[Click]) -> np.ndarray:
    """Return slice, row and column of clicks, one in a row."""
    return np.array([(click.slice, click.y, click.x) for click in clicks]).reshape(-1, 3)


def _is_most(outline: Plane | None, other: Plane | None) -> bool:
    """Return whether most of an outline lies in another one of the same slice."""
    if outline is None or other is None:
        return False
    top, left = max(outline.row, other.row), max(outline.column, other.column)

    def below(plane: Plane) -> np.ndarray:
        return plane.pixels[top - plane.row :, left - plane.column :]

    ours, theirs = below(outline), below(other)
    rows, columns = (min(sizes) for sizes in zip(ours.shape, theirs.shape, strict=True))
    both = np.count_nonzero(ours[:rows, :columns] & theirs[:rows, :columns])
    return 2 * both > np.count_nonzero(outline.pixels)


def _covers(lesion: Lesion, click: Click) -> bool:
    """Return whether a lesion's outline has a click in it."""
    plane = lesion.mask.planes.get(click.slice)
    if plane is None:
        return False
    row, column = round(click.y) - plane.row, round(click.x) - plane.column
    rows, columns = plane.pixels.shape
    return 0 <= row < rows and 0 <= column < columns and bool(plane.pixels[row, column])

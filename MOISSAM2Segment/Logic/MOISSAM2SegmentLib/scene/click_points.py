"""Fiducials and clicks follow each other.

The list is compared as a whole with what is known of it, whatever the event was: one rule for
points that were placed, dragged, renamed, deleted, pasted, loaded or moved by a transform. What
counts is the voxel a point is seen on, so a point between two slices belongs to the nearer one,
which is the one displayed there; the point itself stays where the user put it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mois_core.io.click_labels import ClickLabel, read_click_label, write_click_label
from MOISSAM2SegmentLib.scene import control_points
from MOISSAM2SegmentLib.scene.control_points import ControlPoint
from MOISSAM2SegmentLib.scene.transforms import from_world, to_world
from MOISSAM2SegmentLib.worker.click_edits import (
    ClickEdit,
    DraggedPoint,
    FreshLesion,
    PlacedPoint,
    RemovedPoint,
)

if TYPE_CHECKING:
    from mois_core.geometry import SliceStack
    from mois_core.session.lesion import Click
    from mois_core.session.state import State

SAME_MM = 0.01
"""Points closer than this have not moved: files round, and inverses of warps are found in steps."""

TOO_HIGH = "A point's label has a lesion number that is too high; the point was taken away."
OUTSIDE = "The point lies outside the scan and was taken away."
DRAGGED_OUTSIDE = "A point cannot be dragged out of the scan; it was put back."


@dataclass(frozen=True, eq=False)
class _Known:
    """A point that is a click of the session."""

    click: Click
    label: str
    ras: np.ndarray
    """Where the point was seen last, in the scan's own coordinates."""


class ClickPoints:
    """The points of one Markups list, kept in step with the clicks of one session."""

    def __init__(
        self, node: Any, volume_node: Any, stack: SliceStack, say: Callable[[str], None]
    ) -> None:
        self.node = node
        self.volume_node = volume_node
        self.stack = stack
        self.active: int | FreshLesion | None = None
        """The lesion that a new point without a label of ours belongs to; None: its own."""
        self.positive = True
        """Whether such a point is positive."""
        self._say = say
        self._known: dict[str, _Known] = {}
        self._pending: dict[str, np.ndarray] = {}

    # ---- from the scene to the session -----------------------------------------------------

    def edits(self) -> list[ClickEdit]:
        """Return what the user did to the points since the last time; each is reported once."""
        points = control_points.placed_points(self.node)
        places = from_world(self.volume_node, np.array([point.world for point in points]))
        present = {point.id: (point, ras) for point, ras in zip(points, places, strict=True)}
        edits: list[ClickEdit] = []
        for point_id, known in list(self._known.items()):
            if point_id not in present:
                del self._known[point_id]
                edits.append(RemovedPoint(point_id, known.click.id))
            elif present[point_id][0].label != known.label:
                edits += self._relabelled(*present[point_id], known)
            elif _apart(present[point_id][1], known.ras):
                edits += self._dragged(*present[point_id], known)
        new = [pair for key, pair in present.items() if not self._is_taken(key)]
        edits += self._placed(new)
        return edits

    def _is_taken(self, point_id: str) -> bool:
        return point_id in self._known or point_id in self._pending

    def _dragged(self, point: ControlPoint, ras: np.ndarray, known: _Known) -> list[ClickEdit]:
        if not self.stack.contains(ras):
            self._say(DRAGGED_OUTSIDE)
            back = to_world(self.volume_node, known.ras)[0]
            control_points.move_point(self.node, point.id, back)
            return []
        self._known[point.id] = replace(known, ras=ras)
        return [DraggedPoint(point.id, known.click.id, ras)]

    def _relabelled(self, point: ControlPoint, ras: np.ndarray, known: _Known) -> list[ClickEdit]:
        """Another label means another lesion or the other kind; one that says nothing is undone."""
        meant, was = read_click_label(point.label), read_click_label(known.label)
        if meant is None or meant == was:
            assert was is not None
            control_points.mark_point(self.node, point.id, *was)
            return []
        del self._known[point.id]
        return [RemovedPoint(point.id, known.click.id), *self._placed([(point, ras)])]

    def _placed(self, new: Sequence[tuple[ControlPoint, np.ndarray]]) -> list[ClickEdit]:
        edits: list[ClickEdit] = []
        outside = [point for point, ras in new if not self.stack.contains(ras)]
        if outside:
            self._say(OUTSIDE)
            self._take_away([point.id for point in outside])
        too_high = [point for point, _ in new if _is_too_high(point.label)]
        if too_high:
            self._say(TOO_HIGH)
            self._take_away([point.id for point in too_high])
        refused = {point.id for point in (*outside, *too_high)}
        for point, ras in new:
            if point.id not in refused:
                lesion, positive = self._meant(point.label)
                edits.append(PlacedPoint(point.id, ras, lesion, positive))
                self._pending[point.id] = ras
        return edits

    def _meant(self, label: str) -> tuple[int | FreshLesion, bool]:
        labelled = read_click_label(label)
        if labelled is not None:
            return labelled
        if self.active is None:
            return FreshLesion(), True
        return self.active, self.positive

    # ---- from the session to the scene -----------------------------------------------------

    def settle(self, edits: Sequence[ClickEdit], became: dict[str, int], state: State) -> None:
        """Take over what became of edits; what the session refused is taken back in the scene."""
        owners = _owners(state)
        for edit in edits:
            if isinstance(edit, PlacedPoint):
                ras = self._pending.pop(edit.point, edit.ras)
                owner = owners.get(became.get(edit.point, 0))
                if owner is not None:
                    self._know(edit.point, *owner, ras)
                    lesion, click = owner
                    control_points.mark_point(self.node, edit.point, lesion, click.positive)
                else:
                    self._take_away([edit.point])
        dragged = [edit for edit in edits if isinstance(edit, DraggedPoint)]
        for edit in dragged:
            known = self._known.get(edit.point)
            owner = owners.get(edit.click)
            if known is None or owner is None:
                continue
            if not _same_place(owner[1], known.click):
                self._known[edit.point] = replace(known, click=owner[1])
            elif not self._lies_at(known.ras, owner[1]):
                self._put_back(edit.point, known)
        self.show(state)

    def show(self, state: State) -> None:
        """Make the list show exactly the session's clicks, but for points not dealt with yet."""
        owners = _owners(state)
        with control_points.one_change(self.node):
            for point_id, known in list(self._known.items()):
                owner = owners.pop(known.click.id, None)
                if owner is None:
                    del self._known[point_id]
                    self._take_away([point_id])
                    continue
                lesion, click = owner
                if write_click_label(lesion, click.positive) != known.label:
                    control_points.mark_point(self.node, point_id, lesion, click.positive)
                    self._know(point_id, lesion, click, known.ras)
                if not _same_place(click, known.click):
                    self._put_back(point_id, replace(known, click=click))
            for lesion, click in owners.values():
                world = to_world(self.volume_node, self._place_of(click))[0]
                point_id = control_points.add_point(self.node, world, lesion, click.positive)
                self._know(point_id, lesion, click, from_world(self.volume_node, world)[0])

    def adopt(self, state: State) -> None:
        """Recognise a stored session's clicks among the points that came with it."""
        points = control_points.placed_points(self.node)
        places = from_world(self.volume_node, np.array([point.world for point in points]))
        for lesion, click in _owners(state).values():
            wanted = ClickLabel(lesion, click.positive)
            for point, ras in zip(points, places, strict=True):
                free = point.id not in self._known
                if free and read_click_label(point.label) == wanted and self._lies_at(ras, click):
                    self._know(point.id, lesion, click, ras)
                    break

    def unmatched(self, state: State) -> list[ClickEdit]:
        """Clicks of a stored session whose points did not come with it: the user deleted them."""
        known = {known.click.id for known in self._known.values()}
        return [RemovedPoint("", click) for click in _owners(state) if click not in known]

    def _lies_at(self, ras: np.ndarray, click: Click) -> bool:
        """Whether a point is seen on the place that a click has; across slices it may be off."""
        position, x, y = self.stack.point_from_ras(ras)
        limit = SAME_MM / min(self.stack.pixel_spacing)
        is_near = abs(x - click.x) < limit and abs(y - click.y) < limit
        return bool(is_near and int(np.floor(position + 0.5)) == click.slice)

    def _place_of(self, click: Click) -> np.ndarray:
        return self.stack.point_to_ras(click.slice, click.x, click.y)

    def _put_back(self, point_id: str, known: _Known) -> None:
        world = to_world(self.volume_node, self._place_of(known.click))[0]
        control_points.move_point(self.node, point_id, world)
        self._known[point_id] = replace(known, ras=from_world(self.volume_node, world)[0])

    def _know(self, point_id: str, lesion: int, click: Click, ras: np.ndarray) -> None:
        self._known[point_id] = _Known(click, write_click_label(lesion, click.positive), ras)

    def _take_away(self, point_ids: Sequence[str]) -> None:
        for point_id in point_ids:
            control_points.remove_point(self.node, point_id)


def _owners(state: State) -> dict[int, tuple[int, Click]]:
    """Lesion and click by the click's id."""
    return {
        click.id: (lesion.id, click) for lesion in state.lesions.values() for click in lesion.clicks
    }


def _is_too_high(label: str) -> bool:
    from mois_core.session.state import LARGEST_LABEL

    labelled = read_click_label(label)
    return labelled is not None and labelled.lesion_id > LARGEST_LABEL


def _same_place(click: Click, other: Click) -> bool:
    return (click.slice, click.x, click.y) == (other.slice, other.x, other.y)


def _apart(point: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.linalg.norm(point - other) > SAME_MM)

"""Control points of a Markups list, kept in step with the clicks of a session.

Whatever the event was, the whole list is compared with the points known so far: one rule for points
that were placed, dragged, renamed, deleted, pasted, loaded or moved by a transform. What counts is
the voxel on which a point is seen, so a point between two slices belongs to the nearer one, which
is the one displayed there; the point itself stays where the user put it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mois_core.errors import BadInput
from mois_core.io.click_labels import ClickLabel, read_click_label, write_click_label
from MOISSAM2SegmentLib.messages import tr as _
from MOISSAM2SegmentLib.scene import control_points
from MOISSAM2SegmentLib.scene.control_points import ControlPoint
from MOISSAM2SegmentLib.scene.one_change import one_change
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

TOO_HIGH = _("A point's label has a lesion number that is too high; the point was taken away.")
OUTSIDE = _("The point lies outside the scan and was taken away.")
NO_CLICK = _("There is no click {number}.")
DRAGGED_OUTSIDE = _("A point cannot be dragged out of the scan; it was put back.")


@dataclass(frozen=True, eq=False)
class _KnownPoint:
    """A control point that is a click of the session."""

    click: Click
    label: str
    ras: np.ndarray
    """Where the point was last, in the scan's own coordinates."""


class ClickPoints:
    """The points of one Markups list, kept in step with the clicks of one session."""

    def __init__(
        self, node: Any, volume_node: Any, stack: SliceStack, message: Callable[[str], None]
    ) -> None:
        """``message`` is called with a sentence for the user when a point is refused."""
        self.node = node
        self.volume_node = volume_node
        self.stack = stack
        self.active: int | FreshLesion | None = None
        """Lesion that a new point without a label of ours belongs to; None if each begins one."""
        self.positive = True
        """Whether a new point without a label of ours is positive."""
        self._message = message
        self._known: dict[str, _KnownPoint] = {}
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
            elif _has_moved(present[point_id][1], known.ras):
                edits += self._dragged(*present[point_id], known)
            elif present[point_id][0].is_selected != known.click.positive:
                # Selected or not is the colour of inside or outside, which the click has still.
                control_points.mark_point(self.node, point_id, *read_click_label(known.label))
        new = [pair for point_id, pair in present.items() if not self._is_known(point_id)]
        edits += self._placed(new)
        return edits

    def _is_known(self, point_id: str) -> bool:
        return point_id in self._known or point_id in self._pending

    def _dragged(self, point: ControlPoint, ras: np.ndarray, known: _KnownPoint) -> list[ClickEdit]:
        if not self.stack.contains(ras):
            self._message(DRAGGED_OUTSIDE)
            back = to_world(self.volume_node, known.ras)[0]
            control_points.move_point(self.node, point.id, back)
            return []
        self._known[point.id] = replace(known, ras=ras)
        return [DraggedPoint(point.id, known.click.id, ras)]

    def _relabelled(
        self, point: ControlPoint, ras: np.ndarray, known: _KnownPoint
    ) -> list[ClickEdit]:
        # Another label means another lesion or the other kind; one that means nothing is undone.
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
            self._message(OUTSIDE)
            self._take_away([point.id for point in outside])
        too_high = [point for point, _ in new if _is_too_high(point.label)]
        if too_high:
            self._message(TOO_HIGH)
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

    @property
    def begins_lesion(self) -> bool:
        """Whether what is placed or drawn next begins a lesion."""
        active = self.active
        if not isinstance(active, FreshLesion):
            return active is None
        return active.lesion_id is None and not active.awaits_content

    def point_of(self, click_id: int) -> str:
        """Return the id of the point that shows a click; raises `BadInput`."""
        for point_id, known in self._known.items():
            if known.click.id == click_id:
                return point_id
        raise BadInput(NO_CLICK.format(number=click_id))

    # ---- from the session to the scene -----------------------------------------------------

    def settle(self, edits: Sequence[ClickEdit], click_ids: dict[str, int], state: State) -> None:
        """Note which click each point of edits has become, and show the state.

        ``click_ids`` are by point id. Edits that the session refused are taken back in the scene.
        """
        owners = _owners(state)
        for edit in edits:
            if isinstance(edit, PlacedPoint):
                ras = self._pending.pop(edit.point_id, edit.ras)
                owner = owners.get(click_ids.get(edit.point_id, 0))
                if owner is not None:
                    self._know(edit.point_id, *owner, ras)
                    lesion_id, click = owner
                    control_points.mark_point(self.node, edit.point_id, lesion_id, click.positive)
                else:
                    self._take_away([edit.point_id])
        dragged = [edit for edit in edits if isinstance(edit, DraggedPoint)]
        for edit in dragged:
            known = self._known.get(edit.point_id)
            owner = owners.get(edit.click_id)
            if known is None or owner is None:
                continue
            if not _same_place(owner[1], known.click):
                self._known[edit.point_id] = replace(known, click=owner[1])
            elif not self._lies_at(known.ras, owner[1]):
                self._put_back(edit.point_id, known)
        self.show(state)

    def show(self, state: State) -> None:
        """Make the list show exactly the clicks of a state, besides points not passed on yet."""
        owners = _owners(state)
        with one_change(self.node):
            for point_id, known in list(self._known.items()):
                owner = owners.pop(known.click.id, None)
                if owner is None:
                    del self._known[point_id]
                    self._take_away([point_id])
                    continue
                lesion_id, click = owner
                if write_click_label(lesion_id, click.positive) != known.label:
                    control_points.mark_point(self.node, point_id, lesion_id, click.positive)
                    self._know(point_id, lesion_id, click, known.ras)
                if not _same_place(click, known.click):
                    self._put_back(point_id, replace(known, click=click))
            for lesion_id, click in owners.values():
                world = to_world(self.volume_node, self._place_of(click))[0]
                point_id = control_points.add_point(self.node, world, lesion_id, click.positive)
                self._know(point_id, lesion_id, click, from_world(self.volume_node, world)[0])

    def stayed_behind(self, moved: np.ndarray, state: State) -> bool:
        """Return whether a scan was moved by a matrix, and the points that came with a stored
        session were not: in their own coordinates they lie where its clicks were before."""
        points = control_points.placed_points(self.node)
        own = from_world(self.node, np.array([point.world for point in points]))
        clicks: dict[ClickLabel, list[Click]] = {}
        for lesion_id, click in _owners(state).values():
            clicks.setdefault(ClickLabel(lesion_id, click.positive), []).append(click)
        return any(
            self._lies_at(moved[:3, :3] @ place + moved[:3, 3], click)
            for point, place in zip(points, own, strict=True)
            for click in clicks.get(read_click_label(point.label), ())
        )

    def adopt(self, state: State) -> None:
        """Recognise a stored session's clicks among the points that came with it."""
        points = control_points.placed_points(self.node)
        places = from_world(self.volume_node, np.array([point.world for point in points]))
        for lesion_id, click in _owners(state).values():
            wanted = ClickLabel(lesion_id, click.positive)
            for point, ras in zip(points, places, strict=True):
                free = point.id not in self._known
                if free and read_click_label(point.label) == wanted and self._lies_at(ras, click):
                    self._know(point.id, lesion_id, click, ras)
                    break

    def unmatched(self, state: State) -> list[ClickEdit]:
        """Return edits that remove the clicks of a stored session whose points are not in the list.

        The user deleted those points.
        """
        known = {known.click.id for known in self._known.values()}
        return [RemovedPoint("", click_id) for click_id in _owners(state) if click_id not in known]

    def _lies_at(self, ras: np.ndarray, click: Click) -> bool:
        # Across slices a point may be off, by less than half a slice.
        position, x, y = self.stack.point_from_ras(ras)
        limit = SAME_MM / min(self.stack.pixel_spacing)
        is_near = abs(x - click.x) < limit and abs(y - click.y) < limit
        return bool(is_near and int(np.floor(position + 0.5)) == click.slice)

    def _place_of(self, click: Click) -> np.ndarray:
        return self.stack.point_to_ras(click.slice, click.x, click.y)

    def _put_back(self, point_id: str, known: _KnownPoint) -> None:
        world = to_world(self.volume_node, self._place_of(known.click))[0]
        control_points.move_point(self.node, point_id, world)
        self._known[point_id] = replace(known, ras=from_world(self.volume_node, world)[0])

    def _know(self, point_id: str, lesion_id: int, click: Click, ras: np.ndarray) -> None:
        label = write_click_label(lesion_id, click.positive)
        self._known[point_id] = _KnownPoint(click, label, ras)

    def _take_away(self, point_ids: Sequence[str]) -> None:
        for point_id in point_ids:
            control_points.remove_point(self.node, point_id)


def _owners(state: State) -> dict[int, tuple[int, Click]]:
    """Return each click with the id of its lesion, by the click's id."""
    return {
        click.id: (lesion.id, click) for lesion in state.lesions.values() for click in lesion.clicks
    }


def _is_too_high(label: str) -> bool:
    from mois_core.session.state import LARGEST_LABEL

    labelled = read_click_label(label)
    return labelled is not None and labelled.lesion_id > LARGEST_LABEL


def _same_place(click: Click, other: Click) -> bool:
    return (click.slice, click.x, click.y) == (other.slice, other.x, other.y)


def _has_moved(point: np.ndarray, before: np.ndarray) -> bool:
    return bool(np.linalg.norm(point - before) > SAME_MM)

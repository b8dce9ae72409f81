"""Record of the steps of the work on a scan, by which a script can repeat them.

It holds numbers of lesions and clicks, places and settings: no voxels, no names, no paths. It is
stored with the session, so that it goes on where the work goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from MOISSAM2SegmentLib.messages import tr as _
from MOISSAM2SegmentLib.worker import click_edits, segment_edits
from MOISSAM2SegmentLib.worker.click_edits import DraggedPoint, PlacedPoint, RemovedPoint

if TYPE_CHECKING:
    from mois_core.session import Session
    from mois_core.session.state import Settings, State

STEPS = "steps"
"""The name under which the record is stored among a session's notes."""

START, CLICK, MOVE, REMOVE, BOX = "start", "click", "move", "remove", "box"
COMMAND, ADJUST, SEARCH, EXEMPLARS = "command", "adjust", "search", "exemplars"
UNKNOWN = "unknown"
"""A step that no script can repeat, with its name."""

EARLIER_WORK = _("earlier work")
INTERRUPTED = _("a step that was interrupted")
FROM_ELSEWHERE = _("a change from elsewhere")

Step = list
"""One of these words, and plain values; as JSON keeps it."""
Steps = Callable[[Any], Iterable[Step]]
"""What a step was, given what it returned. Called on the worker."""


class StepRecord:
    """The steps of one session. They are added on the worker, in the job that makes them."""

    def __init__(self, session: Session, steps: Sequence[Step] | None, is_new: bool) -> None:
        """Begin with the steps that were stored with the session, if they were."""
        if steps is None:
            begun = [START, changed_settings(session.settings)]
            steps = [begun] if is_new else [begun, [UNKNOWN, EARLIER_WORK]]
        self.steps: tuple[Step, ...] = tuple(steps)
        self._session = session
        self._state = session.state

    def add(self, steps: Iterable[Step]) -> None:
        """Add steps that were made just now."""
        self.steps, self._state = (*self.steps, *steps), self._session.state

    def interrupted(self, name: str) -> None:
        """Note that a step failed or was cancelled, if it has changed anything."""
        if self._session.state is not self._state:
            self.add([[UNKNOWN, name]])

    def up_to(self, state: State) -> list[Step]:
        """Return the steps that led to a state, which may be the outcome of one that still runs."""
        unfinished = [] if state is self._state else [[UNKNOWN, INTERRUPTED]]
        return [*self.steps, *unfinished]


def changed_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that differ from their defaults, without those of the computer."""
    from mois_core.session.state import MACHINE_SETTINGS, Settings

    defaults = asdict(Settings())
    return {
        name: value
        for name, value in asdict(settings).items()
        if name not in MACHINE_SETTINGS and value != defaults[name]
    }


def moved(steps: Iterable[Step], matrix: np.ndarray) -> list[Step]:
    """Return steps with their places where they are after the scan was moved by a matrix."""

    def place(ras: list[float]) -> list[float]:
        return (matrix[:3, :3] @ ras + matrix[:3, 3]).tolist()

    result = []
    for word, *values in steps:
        if word == CLICK:
            values = [[[n, positive, place(ras)] for n, positive, ras in values[0]]]
        elif word in (MOVE, BOX):
            values = [values[0], *map(place, values[1:])]
        result.append([word, *values])
    return result


def command(name: str, *lesion_ids: int) -> Steps:
    """Return the step of a method of `Commands` that is given lesions."""
    return lambda value: [[COMMAND, name, [int(lesion_id) for lesion_id in lesion_ids]]]


def unrecorded(name: str) -> Steps:
    """Return a step that no script can repeat."""
    return lambda value: [[UNKNOWN, name]]


def click_steps(
    edits: Sequence[click_edits.ClickEdit], before: State, click_ids: dict[str, int], after: State
) -> list[Step]:
    """Return the steps of points that were placed, dragged and removed together."""
    known = {click.id for lesion in before.lesions.values() for click in lesion.clicks}
    gone = [e.click_id for e in edits if _is_of(e, RemovedPoint, known)]
    removed = [[REMOVE, *gone]] if gone else []
    dragged = [[MOVE, e.click_id, e.ras.tolist()] for e in edits if _is_of(e, DraggedPoint, known)]
    owners = {click.id: n for n, lesion in after.lesions.items() for click in lesion.clicks}
    placed = [e for e in edits if isinstance(e, PlacedPoint) and e.point_id in click_ids]
    clicks = [[owners[click_ids[e.point_id]], e.positive, e.ras.tolist()] for e in placed]
    steps = [*removed, *dragged, *([[CLICK, clicks]] if clicks else [])]
    # Lesions are followed once for all of them; one after the other might have another outcome.
    is_mixed = len(dragged) > 1 or sum(map(bool, (removed, dragged, clicks))) > 1
    return [[UNKNOWN, "Click"]] if is_mixed else steps


def box_steps(box: click_edits.DrawnBox) -> list[Step]:
    """Return the step of a box that was drawn, if it was."""
    lesion_id = click_edits.id_of(box.lesion)
    return [] if lesion_id is None else [[BOX, lesion_id, box.first.tolist(), box.second.tolist()]]


def _is_of(edit: click_edits.ClickEdit, kind: type, known: set[int]) -> bool:
    return isinstance(edit, kind) and edit.click_id in known


def segment_steps(edits: Sequence[segment_edits.SegmentEdit]) -> list[Step]:
    """Return the steps of edits of segments; names are left out, what was painted is unknown."""
    steps: list[Step] = []
    for edit in edits:
        if isinstance(edit, segment_edits.Deleted):
            steps.append([COMMAND, "delete", [edit.lesion_id]])
        elif not isinstance(edit, segment_edits.Renamed):
            steps.append([UNKNOWN, "Edit"])
    return steps

"""Comparing the scan that is open with an earlier one of the same patient.

Registering takes seconds, matching less: both are jobs on the worker. A registration is kept as
long as the two scans stay as they are, so that lesions can be edited and compared again at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mois_core.errors import BadInput
from MOISSAM2SegmentLib.messages import tr as _
from MOISSAM2SegmentLib.scene.comparison_display import ComparisonDisplay
from MOISSAM2SegmentLib.scene.earlier_lesions import copied_scan, earlier_scan
from MOISSAM2SegmentLib.scene.report_table import CLASS, fill_comparison
from MOISSAM2SegmentLib.scene.stored_session import COMPARISON_TABLE
from MOISSAM2SegmentLib.scene.subject_hierarchy import patient_of, study_day
from MOISSAM2SegmentLib.signal import Signal
from MOISSAM2SegmentLib.worker import comparison as compared
from MOISSAM2SegmentLib.worker.comparison import Comparison
from MOISSAM2SegmentLib.worker.jobs import Job

if TYPE_CHECKING:
    from mois_core.followup.registration import Registration
    from mois_core.geometry import Volume
    from mois_core.progress import CancelToken, Progress
    from mois_core.results.colours import Colour
    from mois_core.session import Session
    from mois_core.session.lesion import Lesion
    from MOISSAM2SegmentLib.worker.engine import Engine
    from MOISSAM2SegmentLib.workspace.scan_work import ScanWork
    from MOISSAM2SegmentLib.workspace.views import Views

SAME_SCAN = _("This is the scan that you work on. Choose an earlier scan of the same patient.")
SAME_LESIONS = _(
    "These are the lesions of the scan that you work on. Choose those of the earlier scan."
)
WRONG_ORDER = _(
    "The scan that was chosen as the earlier one was made after the scan that you work on. Start "
    "on the later one, and compare it with the earlier one."
)
OTHER_PATIENT = _(
    "The two scans are filed under different patients. If they are of the same one, press Compare "
    "all the same."
)
NO_FIT = _(
    "The scans cannot be registered: {why} If they are, press Compare all the same, and check by "
    "eye that both views show the same place."
)
NOT_COMPARED = _("Compare the scan with an earlier one first.")
REMOVED = _(
    "The earlier scan or its lesions were removed, so the comparison ended. The lesions of this "
    "scan are as they were."
)

Then = Callable[[Any], None]


def _ignore(result: Any) -> None:
    pass


class _Registered(NamedTuple):
    """A registration and the scans that it is of."""

    earlier: Volume
    present: Volume
    registration: Registration

    def of(self, earlier: Volume, present: Volume) -> Registration | None:
        """Return the registration if it is of these scans."""
        if present is not self.present or not _is_same(earlier, self.earlier):
            return None
        return self.registration


def _is_same(one: Volume, other: Volume) -> bool:
    in_place = np.array_equal(one.ijk_to_ras, other.ijk_to_ras)
    return in_place and np.array_equal(one.array, other.array)


class Comparisons:
    """The comparison of the open scan with an earlier one, if there is one."""

    def __init__(
        self,
        open_work: Callable[[], ScanWork],
        engine: Engine,
        views: Views,
        message: Callable[[str], None],
    ) -> None:
        """``message`` is called with a sentence for the user if something could not be done."""
        self.changed = Signal()
        """Called when there is another comparison or none, or another lesion is looked at."""
        self.result: Comparison | None = None
        self.current: int | None = None
        """The number of the lesion that is looked at; None if none is."""
        self.is_refused = False
        """Whether the scans do not look like ones of the same patient: nothing was compared, but
        can be, unchecked."""
        self._open_work = open_work
        self._engine = engine
        self._views = views
        self._message = message
        self._registered: _Registered | None = None
        self._display: ComparisonDisplay | None = None

    # ---- comparing -------------------------------------------------------------------------

    def compare(
        self,
        earlier_node: Any,
        segmentation_node: Any,
        checked: bool = True,
        then: Then = _ignore,
        dice: float | None = None,
    ) -> Job | None:
        """Compare with an earlier scan and its lesions; ``then`` is given the `Comparison`.

        Scans that do not look like ones of the same patient are refused with a message, unless
        they are not to be ``checked``. ``dice`` is how well two outlines of one lesion agree, which
        tells how sure a change is; two expert readers' if it is left out. Raises `BadInput` if
        there cannot be anything to compare.
        """
        work = self._open_work()
        self._refuse(False)
        _check_choice(work, earlier_node, segmentation_node)
        agreement = compared.agreement(dice)
        days = [study_day(node) for node in (earlier_node, work.volume_node)]
        if None not in days and days[0] > days[1]:
            raise BadInput(WRONG_ORDER)
        patients = {patient_of(node) for node in (earlier_node, work.volume_node)} - {None}
        if checked and len(patients) > 1:
            self._refuse(True)
            self._message(OTHER_PATIENT)
            return None
        in_scene, segments = earlier_scan(earlier_node, segmentation_node, days[0])
        before = self._registered

        def compare(
            session: Session, progress: Progress, cancel: CancelToken
        ) -> tuple[_Registered, Comparison | None]:
            earlier = copied_scan(in_scene)
            known = before and before.of(earlier.volume, session.volume)
            point, registration = compared.registered(earlier, session, known, progress, cancel)
            found = _Registered(earlier.volume, session.volume, registration)
            if checked and registration.quality.why_not:
                return found, None
            how = (days[1], agreement, progress, cancel)
            return found, compared.compare(point, registration, session, *how)

        def take(made: tuple[_Registered, Comparison | None]) -> None:
            self._registered, result = made
            if result is None:
                self._refuse(True)
                self._message(NO_FIT.format(why=self._registered.registration.quality.why_not))
            elif any(n.GetScene() is not work.scene for n in (earlier_node, segmentation_node)):
                self._message(REMOVED)
            else:
                self._show_all(result, earlier_node, segmentation_node, segments)
                then(result)

        # A script has nothing to repeat: no outline depends on it.
        return work.run("Compare", compare, take, lambda _: [])

    @property
    def is_current(self) -> bool:
        """Whether the lesions of the open scan are still those that were compared."""
        return self.result is not None and _masks(self.result.lesions) == _masks(
            self._open_work().state.lesions.values()
        )

    def _refuse(self, is_refused: bool) -> None:
        if self.is_refused != is_refused:
            self.is_refused = is_refused
            self.changed()

    # ---- showing ---------------------------------------------------------------------------

    def _show_all(
        self, result: Comparison, earlier_node: Any, segmentation_node: Any, segments: dict
    ) -> None:
        work = self._open_work()
        if self._display is not None and self._display.nodes != (earlier_node, segmentation_node):
            self._display.end()
            self._display = None
        axis = self._views.compare(work.volume_node)
        if self._display is None:
            how = (work.volume_node, earlier_node, segmentation_node, axis)
            self._display = ComparisonDisplay(*how)
        else:
            self._display.arrange()
        self.result, self.current = result, None
        self._views.before_look = self._align
        colours = {n: self.colour(n) for n in (row.lesion for row in result.changes)}
        segment_ids = {
            one.number: segments[one.labels[0]]
            for one in result.follow_up.courses
            if 0 in one.labels
        }
        self._display.colour(
            {segment_ids[n]: colour for n, colour in colours.items() if colour and n in segment_ids}
        )
        self._align(_middle(work))
        self._views.whole_scan()
        self.changed()

    def colour(self, number: int) -> Colour | None:
        """Return the colour of a lesion, which it has on both scans; None if it is gone."""
        course = self.result.course(number)
        while 1 not in course.labels and course.part_of is not None:
            course = self.result.course(course.part_of)
        colours = self._open_work().segments.index.colours
        return colours.get(course.labels[1]) if 1 in course.labels else None

    def show(self, number: int) -> None:
        """Show a lesion of the comparison in the middle of the views of both scans."""
        result, work = self._result(), self._open_work()
        self.current = number
        lesion_id = result.course(number).labels.get(1)
        if lesion_id is None or not self._views.follow(lesion_id):
            self._views.look_at(*result.place_of(number))
        self._keep_apart(work)
        self.changed()

    def _align(self, place: np.ndarray) -> None:
        """Have the earlier scan show the same place as the present one, as registered."""
        if self._display is not None and self.result is not None:
            there = self.result.registration.ras_in_earlier(place[None])[0]
            self._display.align(place, there)
            self._keep_apart(self._open_work())

    def _keep_apart(self, work: ScanWork) -> None:
        if self._display is not None:
            self._display.keep_apart([work.segments_node, work.points_node, *self._views.drawn()])

    def follow_transform(self) -> None:
        """Keep the earlier scan beside the present one, which was moved."""
        if self._display is not None:
            self._display.follow_transform()

    # ---- proposals -------------------------------------------------------------------------

    def propose(self, then: Callable[[Sequence[int]], None] = _ignore) -> Job:
        """Propose earlier lesions that are not outlined yet; ``then`` is given their ids.

        They are findings, named after the earlier lesions, for a yes or no.
        """
        result, work = self._result(), self._open_work()

        def propose(session: Session, progress: Progress, cancel: CancelToken) -> list[int]:
            from mois_core.followup.propose import propose

            how = (result.missing_lesions(), result.registration, progress, cancel)
            return [proposal.finding for proposal in propose(session, *how)]

        return work.run("Propose", propose, then)

    # ---- results ---------------------------------------------------------------------------

    def table(self) -> Any:
        """Write the comparison into a table node of the scene, and return it."""
        result, work = self._result(), self._open_work()
        node = work.saver.referenced(COMPARISON_TABLE)
        if node is None:
            name = f"{work.volume_node.GetName()} comparison"
            node = work.scene.AddNewNodeByClass(CLASS, name)
            work.saver.refer(COMPARISON_TABLE, node)
        fill_comparison(node, result.changes, result.registration.quality, result.dice)
        return node

    def write(self, path: str, then: Callable[[str], None] = _ignore) -> Job:
        """Write the comparison as a table (.csv, .json) or as a picture of both scans (.png).

        ``then`` is given the path.
        """
        result = self._result()

        def write(progress: Any, cancel: Any) -> str:
            if is_picture(path):
                from mois_core.followup.pictures import draw_side_by_side

                draw_side_by_side(path, result.follow_up)
            else:
                from mois_core.followup.report import write_table

                write_table(path, result.follow_up, result.dice)
            return path

        job = Job("Write the comparison", write, then, self._message, owner=self._open_work())
        return self._engine.worker.submit(job)

    def _result(self) -> Comparison:
        if self.result is None:
            raise BadInput(NOT_COMPARED)
        return self.result

    # ---- the end ---------------------------------------------------------------------------

    def is_in(self, node: Any) -> bool:
        """Return whether a node is the earlier scan or its lesions."""
        return self._display is not None and node in self._display.nodes

    def end(self, is_closing: bool = False) -> None:
        """End the comparison; both scans and the views are as they were before."""
        display, self._display = self._display, None
        had = self.result is not None or self.is_refused
        self.result = self.current = None
        self.is_refused = False
        self._views.before_look = lambda place: None
        if display is not None:
            display.end(is_closing)
            self._views.end_comparison()
        if had:
            self.changed()

    def forget(self) -> None:
        """Keep no registration any more: the work on the scan has ended."""
        self._registered = None


def is_picture(path: str) -> bool:
    """Return whether a file of this name is written as a picture."""
    return Path(path).suffix.lower() == ".png"


def _check_choice(work: ScanWork, earlier_node: Any, segmentation_node: Any) -> None:
    if earlier_node is work.volume_node:
        raise BadInput(SAME_SCAN)
    if segmentation_node is work.segments_node:
        raise BadInput(SAME_LESIONS)


def _masks(lesions: Sequence[Lesion]) -> dict[int, int]:
    """Return what identifies the outlines of the lesions that count."""
    return {lesion.id: id(lesion.mask) for lesion in lesions if lesion.status.counts}


def _middle(work: ScanWork) -> np.ndarray:
    """Return the middle of the open scan in its own RAS."""
    stack = work.session.stack
    rows, columns = stack.shape
    return stack.point_to_ras(stack.count // 2, columns / 2, rows / 2)

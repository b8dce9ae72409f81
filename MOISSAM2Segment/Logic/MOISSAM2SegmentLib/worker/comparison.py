"""The comparison of a scan with an earlier one, from plain data: what runs on the worker.

All volumes are measured on the voxels of the scan that they were outlined on. Nothing that is
resampled is measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mois_core.errors import BadInput
from MOISSAM2SegmentLib.messages import tr as _

if TYPE_CHECKING:
    from datetime import date

    from mois_core.followup.change import LesionChange
    from mois_core.followup.course import FollowUp, LesionCourse
    from mois_core.followup.registration import Registration
    from mois_core.followup.time_point import TimePoint
    from mois_core.geometry import Volume
    from mois_core.progress import CancelToken, Progress
    from mois_core.session import Session
    from mois_core.session.lesion import Lesion

OFF_VOXELS = _(
    "The earlier lesions are not outlined on the voxels of the earlier scan, so their volumes "
    "cannot be told. Choose the scan that they were outlined on."
)
OUTSIDE = _(
    "Some of the earlier lesions lie outside the earlier scan. Choose the scan that they were "
    "outlined on."
)
EMPTY = _("The segmentation of the earlier lesions is empty: there is nothing to compare with.")
COMPARING = _("comparing lesions")

_OFF_VOXELS = 0.05
"""In voxels, as far as grids may differ that are the same."""


@dataclass(frozen=True, eq=False)
class LabelLayer:
    """One label image of a segmentation."""

    values: np.ndarray
    """Label values [k, j, i]."""
    to_ras: np.ndarray
    """The matrix from (i, j, k, 1) of these values to RAS."""
    numbers: Mapping[int, int]
    """What lesions are numbered, by label value."""


@dataclass(frozen=True, eq=False)
class EarlierScan:
    """An earlier scan and its lesions as they are in the scene."""

    volume: Volume
    """In its own coordinates, whatever transform it lies under."""
    layers: Sequence[LabelLayer]
    names: Mapping[int, str]
    uids: Mapping[int, str]
    day: date | None = None

    def time_point(self) -> TimePoint:
        """Return the scan with its lesions as a label map; `BadInput` if they do not fit."""
        from mois_core.followup.time_point import TimePoint

        labels = np.zeros(self.volume.array.shape, dtype=np.uint16)
        for layer in self.layers:
            _put(layer, self.volume, labels)
        if not labels.any():
            raise BadInput(EMPTY)
        return TimePoint(self.volume, labels, self.day, self.names, self.uids)


def _put(layer: LabelLayer, volume: Volume, labels: np.ndarray) -> None:
    to_scan = volume.ras_to_ijk @ layer.to_ras
    last = [count - 1 for count in reversed(layer.values.shape)]
    corners = np.array(np.meshgrid(*((0, n) for n in last), [1], indexing="ij")).reshape(4, -1)
    whole = np.round(to_scan)
    if np.abs((to_scan - whole) @ corners).max(initial=0) > _OFF_VOXELS:
        raise BadInput(OFF_VOXELS)
    if abs(abs(np.linalg.det(whole)) - 1) > _OFF_VOXELS:
        raise BadInput(OFF_VOXELS)
    number_of_value = np.zeros(max(layer.numbers, default=0) + 1, dtype=np.uint16)
    for value, number in layer.numbers.items():
        number_of_value[value] = number
    # Values beyond are those of segments that are no lesions; 0 is none.
    places = np.argwhere((layer.values > 0) & (layer.values < len(number_of_value)))
    numbers = number_of_value[layer.values[tuple(places.T)]]
    places, numbers = places[numbers > 0], numbers[numbers > 0]
    ijk = places[:, ::-1] @ whole[:3, :3].T + whole[:3, 3]
    kji = ijk.astype(np.intp)[:, ::-1]
    if ((kji < 0) | (kji >= labels.shape)).any():
        raise BadInput(OUTSIDE)
    labels[tuple(kji.T)] = numbers


@dataclass(frozen=True, eq=False)
class Comparison:
    """What became of the lesions of an earlier scan, and which ones are new."""

    follow_up: FollowUp
    changes: Sequence[LesionChange]
    dice: float
    """How well two outlines of one lesion agree, which the changes' intervals follow from."""
    lesions: Sequence[Lesion]
    """The lesions of the present scan that were compared, as they were then."""

    @property
    def registration(self) -> Registration:
        """How the earlier scan lies on the present one."""
        return self.follow_up.registrations[0]

    def course(self, number: int) -> LesionCourse:
        """Return the course of the lesion with this number in the comparison."""
        return next(one for one in self.follow_up.courses if one.number == number)

    @property
    def missing(self) -> list[int]:
        """The label values of earlier lesions that are not outlined in the present scan."""
        return [self.course(row.lesion).labels[0] for row in self.changes if row.change == "gone"]

    def missing_lesions(self) -> TimePoint:
        """Return the earlier scan with the lesions alone that are not outlined in the present one,
        to be proposed there. Runs on the worker."""
        from mois_core.followup.time_point import TimePoint

        before = self.follow_up.points[0]
        labels = np.where(np.isin(before.labels, self.missing), before.labels, 0)
        uids = {value: before.uid(value) for value in self.missing}
        return TimePoint(before.scan, labels.astype(np.uint16), None, before.names, uids)

    def place_of(self, number: int) -> tuple[np.ndarray, float]:
        """Return where a lesion's middle is on the present scan, in its RAS, and how long it is.

        That of one which is gone is where the registration expects it.
        """
        course = self.course(number)
        position = max(course.labels)
        row = self.follow_up.points[position].rows[course.labels[position]]
        middle = np.array([row.centroid_r, row.centroid_a, row.centroid_s])
        if position == 0:
            middle = self.registration.ras_in_later(middle[None])[0]
        return middle, row.diameter_mm


def agreement(dice: float | None) -> float:
    """Return how well two outlines of one lesion agree; None stands for two expert readers."""
    from mois_core.followup.outline_uncertainty import READERS_DICE, check_dice

    return READERS_DICE if dice is None else check_dice(dice)


def registered(
    earlier: EarlierScan,
    session: Session,
    known: Registration | None,
    progress: Progress,
    cancel: CancelToken,
) -> tuple[TimePoint, Registration]:
    """Return the earlier lesions, and how their scan lies on the session's.

    ``known`` is what came out before. Lesions that do not fit are refused before anything else.
    """
    from mois_core.followup.registration import register

    before = earlier.time_point()
    if known is None:
        known = register(earlier.volume, session.volume, progress, cancel)
    return before, known


def compare(
    before: TimePoint,
    registration: Registration,
    session: Session,
    day: date | None,
    dice: float,
    progress: Progress,
    cancel: CancelToken,
) -> Comparison:
    """Compare a session's lesions with those of an earlier scan that is registered.

    ``dice`` is how well two outlines of one lesion agree. From then on the session's lesions are
    known by the UIDs of the earlier ones that they are.
    """
    from mois_core.followup.change import lesion_changes
    from mois_core.followup.course import follow_registered
    from mois_core.followup.identity import identify
    from mois_core.followup.time_point import TimePoint

    cancel.check()
    progress(0, 1, COMPARING)
    names = {lesion.id: lesion.name for lesion in session.lesions if lesion.name}
    uids = {lesion.id: lesion.uid for lesion in session.lesions if lesion.uid}
    now = TimePoint(session.volume, session.labels(), day, names, uids)
    follow_up = follow_registered([before, now], [registration])
    changes = lesion_changes(follow_up, dice)
    cancel.check()
    identify(session, {c.labels[1]: c.uid for c in follow_up.courses if 1 in c.labels})
    return Comparison(follow_up, changes, dice, session.lesions)

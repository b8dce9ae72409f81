"""The course of every lesion over all scans: which one it is in each, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mois_core.errors import BadInput
from mois_core.followup.matching import Matching, match
from mois_core.followup.registration import Registration, check, register
from mois_core.followup.time_point import TimePoint
from mois_core.geometry import SliceStack, Volume
from mois_core.progress import CancelToken, Progress, silent
from mois_core.results.dicom_equipment import derived_uid


@dataclass(eq=False)
class LesionCourse:
    """One lesion over time."""

    number: int
    """What it is called in tables and pictures: its label value in the first scan; those that
    are new later have the numbers after."""
    uid: str
    labels: dict[int, int] = field(default_factory=dict)
    """Its label value by the position of the scan, from 0; scans without it have none."""
    merged_into: int | None = None
    split_from: int | None = None
    """The number of the lesion that it is part of now, or was part of."""

    @property
    def part_of(self) -> int | None:
        """The number of the lesion that its volume is counted with, if it is not counted alone."""
        return self.split_from if self.merged_into is None else self.merged_into


@dataclass(frozen=True, eq=False)
class FollowUp:
    """Scans of one patient in the order of time, and the courses of all lesions."""

    points: tuple[TimePoint, ...]
    registrations: tuple[Registration, ...]
    """Of each scan to the one after."""
    courses: tuple[LesionCourse, ...]

    def family(self, course: LesionCourse) -> list[LesionCourse]:
        """Return the courses whose volumes count as one: a lesion, and what merged with it or was
        split off it."""
        by_number = {other.number: other for other in self.courses}

        def root(one: LesionCourse) -> int:
            seen = {one.number}
            while one.part_of is not None and one.part_of not in seen:
                one = by_number[one.part_of]
                seen.add(one.number)
            return one.number

        return [other for other in self.courses if root(other) == root(course)]

    def volume_cm3(self, course: LesionCourse, position: int) -> float | None:
        """Return the volume of one lesion in one scan, or None if it is not there."""
        value = course.labels.get(position)
        return None if value is None else self.points[position].rows[value].volume_cm3

    def family_cm3(self, course: LesionCourse) -> list[float | None]:
        """Return the volume of a lesion with all its parts in each scan."""
        family = self.family(course)
        volumes = []
        for position in range(len(self.points)):
            parts = [self.volume_cm3(part, position) for part in family]
            present = [part for part in parts if part is not None]
            volumes.append(sum(present) if present else None)
        return volumes


def follow(
    points: Sequence[TimePoint],
    progress: Progress = silent,
    cancel: CancelToken | None = None,
    checked: bool = True,
) -> FollowUp:
    """Follow all lesions through scans of one patient, given in the order of time.

    A registration that cannot be right is refused, unless it is not to be ``checked``.
    """
    _check(points)
    registrations = []
    for n, (before, after) in enumerate(zip(points[:-1], points[1:], strict=True)):

        def told(done: int, total: int, what: str, first: int = n) -> None:
            progress(first * total + done, (len(points) - 1) * total, what)

        registration = register(before.scan, after.scan, told, cancel)
        if checked:
            check(registration)
        registrations.append(registration)
    return follow_registered(points, registrations)


def follow_registered(
    points: Sequence[TimePoint], registrations: Sequence[Registration]
) -> FollowUp:
    """Follow all lesions through scans, each of which is registered onto the one after."""
    pairs = zip(points[:-1], points[1:], registrations, strict=True)
    matchings = [match_time_points(*pair) for pair in pairs]
    return FollowUp(tuple(points), tuple(registrations), tuple(courses(points, matchings)))


def match_time_points(before: TimePoint, after: TimePoint, registration: Registration) -> Matching:
    """Match the lesions of two scans."""
    moved = registration.labels_on_later(Volume(before.labels, before.scan.ijk_to_ras), after.scan)
    stack = SliceStack(after.scan)
    here, there = stack.from_volume(moved).copy(), stack.from_volume(after.labels)
    _keep_smallest(before, registration, stack, here)
    by_uid = {uid: value for value, uid in after.stored_uids.items()}
    known = {value: by_uid[uid] for value, uid in before.stored_uids.items() if uid in by_uid}
    return match(here, there, (stack.slice_spacing, *stack.pixel_spacing), known)


def _keep_smallest(before: TimePoint, registration: Registration, stack: SliceStack, moved) -> None:
    """Put a voxel of each lesion that lies between the later scan's voxels where its middle is."""
    missing = sorted(before.lesions.keys() - set(moved[moved > 0].tolist()))
    if not missing:
        return
    rows = (before.rows[value] for value in missing)
    middles = [(row.centroid_r, row.centroid_a, row.centroid_s) for row in rows]
    for value, ras in zip(missing, registration.ras_in_later(middles), strict=True):
        if stack.contains(ras):
            position, x, y = (int(part + 0.5) for part in stack.point_from_ras(ras))
            if not moved[position, y, x]:
                moved[position, y, x] = value


def courses(points: Sequence[TimePoint], matchings: Sequence[Matching]) -> list[LesionCourse]:
    """Return the courses of all lesions, given the matchings of each scan with the one after."""
    found = {
        value: LesionCourse(value, points[0].uid(value), {0: value}) for value in points[0].lesions
    }
    everything = list(found.values())
    # What is in files of several scans already outlives the UID of a number in one scan.
    settled = {course.number for course in everything if course.number in points[0].stored_uids}
    for position, matching in enumerate(matchings, start=1):
        point = points[position]
        found, before = {}, found
        for one, other in matching.pairs.items():
            found[other] = before[one]
            before[one].labels[position] = other
            if before[one].number not in settled and other in point.stored_uids:
                before[one].uid = point.stored_uids[other]
                settled.add(before[one].number)
        number = max((course.number for course in everything), default=0)
        taken = {course.uid for course in everything}
        for value in point.lesions:
            if value in found:
                continue
            number += 1
            uid = point.uid(value)
            if uid in taken:  # a stored one that the matching has given to another lesion
                uid = derived_uid(uid, str(position), str(value))
            found[value] = LesionCourse(number, uid, {position: value})
            if value in point.stored_uids:
                settled.add(number)
            everything.append(found[value])
        for one, other in matching.merged.items():
            before[one].merged_into = found[other].number
        for value, one in matching.split.items():
            found[value].split_from = before[one].number
    return everything


def _check(points: Sequence[TimePoint]) -> None:
    if len(points) < 2:
        raise BadInput("to compare takes two scans or more, the earliest first")
    days = [(n, point.day) for n, point in enumerate(points, start=1) if point.day is not None]
    for (one, earlier), (other, later) in zip(days[:-1], days[1:], strict=True):
        if later < earlier:
            raise BadInput(
                f"scan {other} was made before scan {one}; give the scans in the order of time, "
                "the earliest first"
            )
    if not any(point.lesions for point in points):
        raise BadInput("no scan has an outlined lesion, so there is nothing to compare")


def labels_of_courses(follow_up: FollowUp, position: int) -> Mapping[int, LesionCourse]:
    """Return the course of each label value of one scan."""
    return {
        course.labels[position]: course for course in follow_up.courses if position in course.labels
    }

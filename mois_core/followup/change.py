"""What became of a lesion: then, now and best, and the class that follows from these.

The rules are those of the REiNS collaboration for volumes: E. Dombi et al., "Recommendations for
imaging tumor response in neurofibromatosis clinical trials", Neurology 81 (2013) S33-S40. A change
by 20% of the volume counts; growth is told from the smallest volume so far, shrinkage from the
first; a lesion is measurable from 3 cm in length.
"""

from __future__ import annotations

from dataclasses import dataclass

from mois_core.followup.course import FollowUp, LesionCourse
from mois_core.followup.outline_uncertainty import READERS_DICE, change_interval, in_words

SOURCE = (
    "Dombi et al., Recommendations for imaging tumor response in neurofibromatosis clinical "
    "trials, Neurology 2013"
)
THRESHOLD = 0.20
MEASURABLE_MM = 30.0
_SAME = 1e-9
"""20% of a volume in voxels is hit exactly, but for rounding."""

CHANGES = ("grown", "shrunk", "stable", "new", "gone", "merged", "split")
RESPONSES = {
    "grown": "progression",
    "shrunk": "partial response",
    "stable": "stable disease",
    "gone": "complete response",
}


@dataclass(frozen=True)
class LesionChange:
    """One row of the comparison; the fields are the columns of the table, in their order.

    A lesion that merged with others, or fell apart, is compared with all its parts; those have
    rows of their own with volumes, but no class.
    """

    lesion: int
    name: str
    uid: str
    region: str
    """Part of the body in the first scan that has the lesion (`results/body_regions.py`)."""
    change: str
    """grown or shrunk since the first scan that has it, or stable; new, gone; merged (into
    another one) or split (off another one)."""
    part_of: int | None
    """The lesion that a merged or split one is counted with."""
    then_cm3: float | None
    now_cm3: float | None
    best_cm3: float | None
    """Smallest volume in any scan that has the lesion."""
    difference_cm3: float | None
    percent: float | None
    percent_low: float | None
    percent_high: float | None
    """95% interval, from what outlines vary."""
    percent_from_best: float | None
    certainty: str
    """sure, likely or uncertain: of the change being what it is called."""
    response: str
    """The class by REiNS; empty if the lesion is not measurable or new."""
    measurable: bool
    diameter_then_mm: float | None
    diameter_now_mm: float | None


def lesion_changes(follow_up: FollowUp, dice: float = READERS_DICE) -> list[LesionChange]:
    """Return what became of every lesion, in the order of their numbers."""
    return [_change(follow_up, course, dice) for course in follow_up.courses]


def classify(then_cm3: float, now_cm3: float, best_cm3: float) -> str:
    """Return whether a lesion has grown, shrunk or is stable.

    ``best_cm3`` is its smallest volume so far; one that shrank and grew again has grown.
    """
    if now_cm3 >= best_cm3 * (1 + THRESHOLD) - _SAME:
        return "grown"
    if now_cm3 <= then_cm3 * (1 - THRESHOLD) + _SAME:
        return "shrunk"
    return "stable"


def _change(follow_up: FollowUp, course: LesionCourse, dice: float) -> LesionChange:
    last = len(follow_up.points) - 1
    is_part = course.part_of is not None
    volumes = (
        [follow_up.volume_cm3(course, n) for n in range(last + 1)]
        if is_part
        else follow_up.family_cm3(course)
    )
    present = [volume for volume in volumes if volume is not None]
    now, best = volumes[last], min(present)
    is_new = volumes[0] is None
    then = None if now is not None and volumes[:-1].count(None) == last else present[0]
    diameters = [_diameter(follow_up, course, n) for n in (min(course.labels), last)]
    percents: list[float | None] = [None, None, None, None]
    certainty, response = "", ""
    if is_part:
        change = "split" if course.merged_into is None else "merged"
    elif now is None:
        change = "gone"
        percents[0] = -100.0
    elif then is None:
        change = "new"
    else:
        change = classify(then, now, best)
        interval = change_interval(then, now, dice)
        low, high = interval.bounds
        percents = [100 * (ratio - 1) for ratio in (now / then, low, high, now / best)]
        # Growth after a best scan is growth from there.
        since = change_interval(best, now, dice) if change == "grown" else interval
        certainty = in_words(since.chance(*_RATIOS[change]))
    measurable = (diameters[0] or 0) >= MEASURABLE_MM
    if measurable and not is_new:
        response = RESPONSES.get(change, "")
    point = follow_up.points[min(course.labels)]
    value = course.labels[min(course.labels)]
    return LesionChange(
        lesion=course.number,
        name=point.names.get(value, ""),
        uid=course.uid,
        region=point.regions[value].value,
        change=change,
        part_of=course.part_of,
        then_cm3=then,
        now_cm3=now,
        best_cm3=best,
        difference_cm3=None if then is None or is_part else (now or 0.0) - then,
        percent=percents[0],
        percent_low=percents[1],
        percent_high=percents[2],
        percent_from_best=percents[3],
        certainty=certainty,
        response=response,
        measurable=measurable,
        diameter_then_mm=diameters[0] if then is not None else None,
        diameter_now_mm=diameters[1],
    )


_RATIOS = {
    "grown": (1 + THRESHOLD, float("inf")),
    "shrunk": (0.0, 1 - THRESHOLD),
    "stable": (1 - THRESHOLD, 1 + THRESHOLD),
}


def _diameter(follow_up: FollowUp, course: LesionCourse, position: int) -> float | None:
    value = course.labels.get(position)
    return None if value is None else follow_up.points[position].rows[value].diameter_mm


@dataclass(frozen=True)
class Counts:
    """How many lesions became what."""

    grown: int
    shrunk: int
    stable: int
    new: int
    gone: int
    merged: int
    split: int


def count_changes(changes: list[LesionChange]) -> Counts:
    """Count what became of lesions."""
    return Counts(*(sum(row.change == kind for row in changes) for kind in CHANGES))

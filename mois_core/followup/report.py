"""The comparison as files: a table of lesions, and the same with sums and how it was made.

Neither names a patient, a file or a date: scans are counted, and the time between them is in days.
"""

from __future__ import annotations

import csv
import json
import os
from dataclasses import asdict, fields
from pathlib import Path

from mois_core import __version__
from mois_core.followup.change import (
    MEASURABLE_MM,
    SOURCE,
    THRESHOLD,
    LesionChange,
    count_changes,
    lesion_changes,
)
from mois_core.followup.course import FollowUp
from mois_core.followup.outline_uncertainty import (
    CORRELATION_MM,
    READERS_DICE,
    sd_of_log_volume,
)
from mois_core.io.atomic import atomic_write
from mois_core.results.lesion_report import rounded

COLUMNS = tuple(column.name for column in fields(LesionChange))


def write_table(
    path: str | os.PathLike[str], follow_up: FollowUp, dice: float = READERS_DICE
) -> None:
    """Write a CSV or a JSON file, whichever the path's ending says."""
    if Path(path).suffix.lower() == ".csv":
        _write_csv(path, follow_up, dice)
    else:
        text = json.dumps(document(follow_up, dice), indent=2) + "\n"
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _write_csv(path: str | os.PathLike[str], follow_up: FollowUp, dice: float) -> None:
    """Write one row for each lesion; the volumes of all scans are in columns at the end."""
    scans = range(len(follow_up.points))
    volumes = [f"scan_{n + 1}_cm3" for n in scans]
    with (
        atomic_write(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, (*COLUMNS, *volumes), lineterminator="\n")
        writer.writeheader()
        for change, course in zip(lesion_changes(follow_up, dice), follow_up.courses, strict=True):
            own = [follow_up.volume_cm3(course, n) for n in scans]
            writer.writerow(rounded({**asdict(change), **dict(zip(volumes, own, strict=True))}))


def document(follow_up: FollowUp, dice: float = READERS_DICE) -> dict[str, object]:
    """Return everything about a comparison as plain values."""
    changes = lesion_changes(follow_up, dice)
    burdens = [point.burden_cm3 for point in follow_up.points]
    return {
        "mois_version": __version__,
        "rules": {
            "source": SOURCE,
            "threshold_percent": 100 * THRESHOLD,
            "measurable_mm": MEASURABLE_MM,
        },
        "outlines": {"dice": dice, "correlation_mm": CORRELATION_MM},
        "scans": [
            {
                "scan": n + 1,
                "days_since_first": _days(follow_up, n),
                "lesions": len(point.lesions),
                "burden_cm3": rounded(point.burden_cm3),
                "burden_sd_cm3": rounded(_burden_sd(follow_up, n, dice)),
            }
            for n, point in enumerate(follow_up.points)
        ],
        "registrations": [rounded(asdict(one.quality)) for one in follow_up.registrations],
        "counts": asdict(count_changes(changes)),
        "burden_change_percent": rounded(_percent(burdens[0], burdens[-1])),
        "by_region": _by_region(follow_up, changes),
        "lesions": [
            {
                **rounded(asdict(change)),
                "label_in_scan": [course.labels.get(n) for n in range(len(follow_up.points))],
                "uid_in_scan": [
                    point.uid(course.labels[n]) if n in course.labels else None
                    for n, point in enumerate(follow_up.points)
                ],
                "volumes_cm3": [
                    rounded(follow_up.volume_cm3(course, n)) for n in range(len(follow_up.points))
                ],
            }
            for change, course in zip(changes, follow_up.courses, strict=True)
        ],
    }


def summary(follow_up: FollowUp, dice: float = READERS_DICE) -> str:
    """Return the comparison in a few lines for a terminal."""
    counts = asdict(count_changes(lesion_changes(follow_up, dice)))
    told = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    then, now = follow_up.points[0].burden_cm3, follow_up.points[-1].burden_cm3
    percent = _percent(then, now)
    burden = f"{then:,.1f} cm3 then, {now:,.1f} cm3 now"
    if percent is not None:
        burden += f" ({percent:+.0f}%)"
    return f"{told}\n{burden}"


def _by_region(follow_up: FollowUp, changes: list[LesionChange]) -> dict[str, object]:
    """Return the burden of each part of the body, the unknown one too."""
    last = len(follow_up.points) - 1
    table: dict[str, dict[str, float]] = {}
    for change, course in zip(changes, follow_up.courses, strict=True):
        sums = table.setdefault(change.region, {"then_cm3": 0.0, "now_cm3": 0.0})
        sums["then_cm3"] += follow_up.volume_cm3(course, 0) or 0.0
        sums["now_cm3"] += follow_up.volume_cm3(course, last) or 0.0
    return rounded(table)


def _burden_sd(follow_up: FollowUp, position: int, dice: float) -> float:
    """Return the standard deviation of all volumes together, each lesion's outline on its own."""
    volumes = [row.volume_cm3 for row in follow_up.points[position].rows.values()]
    return sum((v * sd_of_log_volume(v, dice)) ** 2 for v in volumes) ** 0.5


def _days(follow_up: FollowUp, position: int) -> int | None:
    first, own = follow_up.points[0].day, follow_up.points[position].day
    return None if first is None or own is None else (own - first).days


def _percent(then: float, now: float) -> float | None:
    return 100 * (now / then - 1) if then else None

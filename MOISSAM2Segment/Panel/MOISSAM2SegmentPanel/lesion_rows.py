"""Rows of the lesion table as text: which are shown, in which order, and their wording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from MOISSAM2SegmentLib.workspace.lesion_list import LesionEntry
from slicer.i18n import tr as _

FOUND, PROMPTED, ACCEPTED, REJECTED = "found", "prompted", "accepted", "rejected"
STATUSES = (FOUND, PROMPTED, ACCEPTED, REJECTED)
"""All statuses, those that the user has to look at first."""

COLUMNS = ("name", "status", "volume", "slices")


class RowFilter(NamedTuple):
    """Choice of the rows that are shown, and their order."""

    text: str = ""
    """Part of the name; all names if empty."""
    status: str = ""
    """The status; any if empty."""
    column: str = ""
    """Column by which rows are sorted; by the lesion's id if empty."""
    descending: bool = False


def status_text(status: str) -> str:
    """Return a status as a sign and a word, so that no colour is needed to tell them apart."""
    words = {
        FOUND: _("? To check"),
        PROMPTED: _("\u25cf Clicked"),
        ACCEPTED: _("\u2713 Accepted"),
        REJECTED: _("\u2717 Rejected"),
    }
    return words[status]


def filtered(entries: Sequence[LesionEntry], row_filter: RowFilter) -> list[LesionEntry]:
    """Return the entries that a filter shows in its order; equal ones in the order of their ids."""
    text = row_filter.text.strip().casefold()
    chosen = [
        entry
        for entry in sorted(entries, key=lambda entry: entry.lesion_id)
        if text in entry.name.casefold() and row_filter.status in ("", entry.status)
    ]
    keys = {
        "name": lambda entry: _natural(entry.name),
        "status": lambda entry: STATUSES.index(entry.status),
        "volume": lambda entry: entry.volume_cm3,
        "slices": lambda entry: entry.slices,
    }
    if row_filter.column:
        chosen.sort(key=keys[row_filter.column], reverse=row_filter.descending)
    return chosen


def cells(entry: LesionEntry) -> tuple[str, ...]:
    """Return the texts of a row."""
    return entry.name, status_text(entry.status), f"{entry.volume_cm3:.2f}", str(entry.slices)


def count_text(count: int) -> str:
    """Return a number of lesions in words."""
    return _("1 lesion") if count == 1 else _("{count} lesions").format(count=count)


def findings_text(rows: Sequence[LesionEntry], chosen: Sequence[int]) -> str:
    """Return which of the findings is chosen, such as 3 of 17."""
    findings = [entry.lesion_id for entry in rows if entry.status != PROMPTED]
    if not findings:
        return ""
    place = findings.index(chosen[0]) + 1 if chosen and chosen[0] in findings else "\u2013"
    return _("{place} of {count}").format(place=place, count=len(findings))


def totals_text(entries: Sequence[LesionEntry]) -> str:
    """Return number and volume of all lesions that count."""
    counting = [entry for entry in entries if entry.status != REJECTED and entry.slices]
    volume = sum(entry.volume_cm3 for entry in counting)
    return _("{lesions}, {volume:.2f} cm\u00b3").format(
        lesions=count_text(len(counting)), volume=volume
    )


def _natural(name: str) -> tuple:
    """Return a key that sorts Lesion 2 before Lesion 10."""
    digits = "".join(character if character.isdigit() else " " for character in name).split()
    letters = "".join(character for character in name.casefold() if not character.isdigit())
    return letters, [int(number) for number in digits]

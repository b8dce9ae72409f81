"""Rows of the lesion table as text: which are shown, in which order, and their wording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from MOISSAM2SegmentLib.workspace.lesion_list import LesionEntry
from slicer.i18n import tr as _

FOUND, PROMPTED, ACCEPTED, REJECTED = "found", "prompted", "accepted", "rejected"
STATUSES = (FOUND, PROMPTED, ACCEPTED, REJECTED)
"""All statuses, those that the user has to look at first."""

COLUMNS = ("name", "status", "confidence", "volume", "slices")
"""The columns of the table, by which its titles sort."""

SUREST, LARGEST, DOWNWARDS = "surest", "largest", "downwards"
ORDERS = ("", SUREST, LARGEST, DOWNWARDS)
"""Orders for going through findings; the first one leaves it to the columns."""


class RowFilter(NamedTuple):
    """Choice of the rows that are shown, and their order."""

    text: str = ""
    """Part of the name; all names if empty."""
    status: str = ""
    """The status; any if empty."""
    column: str = ""
    """Column by which rows are sorted; by the lesion's id if empty."""
    descending: bool = False
    order: str = ""
    """One of `ORDERS`, before the column; equal ones in the order of their ids."""


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
        "confidence": confidence_of,
        "volume": lambda entry: entry.volume_cm3,
        "slices": lambda entry: entry.slices,
    }
    orders = {
        SUREST: lambda entry: -confidence_of(entry),
        LARGEST: lambda entry: -entry.volume_cm3,
        DOWNWARDS: lambda entry: -entry.height_mm,
    }
    if row_filter.order:
        chosen.sort(key=orders[row_filter.order])
    elif row_filter.column:
        chosen.sort(key=keys[row_filter.column], reverse=row_filter.descending)
    return chosen


def order_text(order: str) -> str:
    """Return the name of one of `ORDERS`."""
    words = {
        "": _("Column"),
        SUREST: _("Surest"),
        LARGEST: _("Largest"),
        DOWNWARDS: _("Head first"),
    }
    return words[order]


def confidence_of(entry: LesionEntry) -> float:
    """Return how confident the search was of a lesion; -1 if no search told."""
    return -1.0 if entry.confidence is None else entry.confidence


def percent(entry: LesionEntry) -> int:
    """Return how confident the search was of a lesion in percent; 0 if no search told."""
    return round(100 * max(confidence_of(entry), 0.0))


def cells(entry: LesionEntry) -> tuple[str, ...]:
    """Return the texts of a row."""
    confidence = "" if entry.confidence is None else str(percent(entry))
    numbers = f"{entry.volume_cm3:.2f}", str(entry.slices)
    return entry.name, status_text(entry.status), confidence, *numbers


def surer_than(entries: Sequence[LesionEntry], least: int) -> list[int]:
    """Return the ids of the findings to check that are at least so sure, in percent."""
    return [e.lesion_id for e in entries if e.status == FOUND and percent(e) >= least]


def count_text(count: int) -> str:
    """Return a number of lesions in words."""
    return _("1 lesion") if count == 1 else _("{count} lesions").format(count=count)


def left_text(entries: Sequence[LesionEntry]) -> str:
    """Return how many of the findings are still to be checked, such as 12 of 17 left."""
    # A finding that was refined is decided, and was a finding nevertheless.
    count = sum(e.status != PROMPTED or e.confidence is not None for e in entries)
    left = sum(entry.status == FOUND for entry in entries)
    return _("{left} of {count} left").format(left=left, count=count) if count else ""


def summary_text(entries: Sequence[LesionEntry]) -> str:
    """Return what became of the findings, and the volume of all lesions that count."""
    statuses = [entry.status for entry in entries]
    text = _("{accepted} accepted, {rejected} rejected, {left} left; {volume:.2f} cm\u00b3 in all.")
    return text.format(
        accepted=statuses.count(ACCEPTED),
        rejected=statuses.count(REJECTED),
        left=statuses.count(FOUND),
        volume=sum(entry.volume_cm3 for entry in entries if entry.status != REJECTED),
    )


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

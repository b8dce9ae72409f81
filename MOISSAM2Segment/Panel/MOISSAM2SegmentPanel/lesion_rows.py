"""Which lesions the table shows, in which order and in which words. No Qt here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from MOISSAM2SegmentLib.workspace.lesion_list import LesionEntry
from slicer.i18n import tr as _

FOUND, PROMPTED, ACCEPTED, REJECTED = "found", "prompted", "accepted", "rejected"
STATUSES = (FOUND, PROMPTED, ACCEPTED, REJECTED)
"""In the order in which they want attention."""

COLUMNS = ("name", "status", "volume", "slices")


class View(NamedTuple):
    """How the table is to be looked at."""

    text: str = ""
    status: str = ""
    column: str = ""
    """What it is sorted by; the number if empty."""
    descending: bool = False


def in_words(status: str) -> str:
    """A status as a sign and a word, so that no colour is needed to tell them apart."""
    words = {
        FOUND: _("? To check"),
        PROMPTED: _("\u25cf Clicked"),
        ACCEPTED: _("\u2713 Accepted"),
        REJECTED: _("\u2717 Rejected"),
    }
    return words[status]


def shown(entries: Sequence[LesionEntry], view: View) -> list[LesionEntry]:
    """The entries that a view shows, in its order; equal ones in the order of their numbers."""
    text = view.text.strip().casefold()
    chosen = [
        entry
        for entry in sorted(entries, key=lambda entry: entry.lesion_id)
        if text in entry.name.casefold() and view.status in ("", entry.status)
    ]
    keys = {
        "name": lambda entry: _natural(entry.name),
        "status": lambda entry: STATUSES.index(entry.status),
        "volume": lambda entry: entry.volume_cm3,
        "slices": lambda entry: entry.slices,
    }
    if view.column:
        chosen.sort(key=keys[view.column], reverse=view.descending)
    return chosen


def cells(entry: LesionEntry) -> tuple[str, ...]:
    """A row's texts."""
    return entry.name, in_words(entry.status), f"{entry.volume_cm3:.2f}", str(entry.slices)


def lesions(count: int) -> str:
    """How many lesions, in words."""
    return _("1 lesion") if count == 1 else _("{count} lesions").format(count=count)


def totals(entries: Sequence[LesionEntry]) -> str:
    """What all lesions that count come to."""
    counting = [entry for entry in entries if entry.status != REJECTED and entry.slices]
    volume = sum(entry.volume_cm3 for entry in counting)
    text = _("{lesions}, {volume:.2f} cm\u00b3 in total").format(
        lesions=lesions(len(counting)), volume=volume
    )
    waiting = sum(entry.status == FOUND for entry in counting)
    if waiting:
        text = _("{totals}; {waiting} still to be checked").format(totals=text, waiting=waiting)
    return text


def _natural(name: str) -> tuple:
    """Lesion 2 before Lesion 10."""
    digits = "".join(character if character.isdigit() else " " for character in name).split()
    letters = "".join(character for character in name.casefold() if not character.isdigit())
    return letters, [int(number) for number in digits]

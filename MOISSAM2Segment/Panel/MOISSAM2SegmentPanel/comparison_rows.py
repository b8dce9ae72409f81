"""What became of lesions, as texts: the rows of the comparison's table, and one row at length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from MOISSAM2SegmentLib.scene.segment_tags import default_name
from MOISSAM2SegmentLib.worker.comparison import Comparison
from slicer.i18n import tr as _

if TYPE_CHECKING:
    from mois_core.followup.change import LesionChange
    from mois_core.results.colours import Colour

_LAST = "stable"
NONE = "\u2013"
"""Shown where a lesion has no volume, or no percentage."""
_SIGNS = {
    "grown": "\u25b2",
    "shrunk": "\u25bc",
    "stable": "=",
    "new": "+",
    "gone": "\u2212",
    "merged": "\u2192",
    "split": "\u2192",
}


class Row(NamedTuple):
    """One lesion of a comparison, then or now."""

    change: LesionChange
    name: str
    """What it is called on the scan that is open, or was called before if it is not there."""
    colour: Colour | None
    """Its colour on both scans; None if it is gone."""
    whole: str
    """The lesion that it is part of now, or was part of; empty if it is counted alone."""


def rows_of(comparison: Comparison, colour: Callable[[int], Colour | None]) -> list[Row]:
    """Return the lesions of a comparison: what changed most first, what is stable last.

    ``colour`` is asked for with their numbers in the comparison.
    """

    def row(change: LesionChange) -> Row:
        whole = "" if change.part_of is None else _name(comparison, change.part_of)
        name = _name(comparison, change.lesion)
        return Row(change, name, colour(change.lesion), whole)

    def key(change: LesionChange) -> tuple:
        changed = change.difference_cm3 if change.difference_cm3 is not None else change.now_cm3
        return change.change == _LAST, -abs(changed or 0.0), change.lesion

    return [row(change) for change in sorted(comparison.changes, key=key)]


def _name(comparison: Comparison, number: int) -> str:
    labels = comparison.course(number).labels
    before, now = comparison.follow_up.points
    if 1 in labels:
        return now.names.get(labels[1]) or default_name(labels[1])
    number = labels[0]
    return before.names.get(number) or _("Lesion {number} before").format(number=number)


def change_text(change: str) -> str:
    """Return what became of a lesion in a word."""
    words = {
        "grown": _("grown"),
        "shrunk": _("shrunk"),
        "stable": _("stable"),
        "new": _("new"),
        "gone": _("gone"),
        "merged": _("merged"),
        "split": _("split off"),
    }
    return words[change]


def cells(row: Row) -> tuple[str, ...]:
    """Return the texts of a row."""
    change = row.change
    # A sign and a word, so that no colour is needed to tell them apart.
    told = f"{_SIGNS[change.change]} {change_text(change.change)}"
    volumes = (_volume(change.then_cm3), _volume(change.now_cm3))
    return row.name, told, *volumes, _percent(change.percent)


def detail_text(row: Row) -> str:
    """Return all that is told of one lesion."""
    change = row.change
    volumes = {"then": _volume(change.then_cm3), "now": _volume(change.now_cm3)}
    parts = [_("{then} \u2192 {now} cm\u00b3").format(**volumes)]
    if change.percent_low is not None and change.percent_high is not None:
        text = _("{percent}% (95%: {low} to {high})")
        low, high = _percent(change.percent_low), _percent(change.percent_high)
        parts.append(text.format(percent=_percent(change.percent), low=low, high=high))
    if row.whole:
        parts.append(_("counted with {name}").format(name=row.whole))
    certainties = {"sure": _("sure"), "likely": _("likely"), "uncertain": _("uncertain")}
    if change.certainty:
        parts.append(certainties[change.certainty])
    if not change.measurable:
        parts.append(_("below 3 cm"))
    return f"{row.name}: {change_text(change.change)}, {', '.join(parts)}"


def summary_text(changes: Sequence[LesionChange], then_cm3: float, now_cm3: float) -> str:
    """Return how many lesions became what, and the volume of all of them."""
    counts = Counter(change.change for change in changes)
    told = ", ".join(f"{counts[kind]} {change_text(kind)}" for kind in _SIGNS if counts[kind])
    text = _("{changes}. All: {then:.1f} \u2192 {now:.1f} cm\u00b3{percent}.")
    percent = f" ({_percent(100 * (now_cm3 / then_cm3 - 1))}%)" if then_cm3 else ""
    return text.format(changes=told, then=then_cm3, now=now_cm3, percent=percent)


def _volume(volume: float | None) -> str:
    return NONE if volume is None else f"{volume:.2f}"


def _percent(percent: float | None) -> str:
    return NONE if percent is None else f"{percent:+.0f}".replace("-", "\u2212")

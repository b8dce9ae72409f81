"""Slicer's error log, for self tests that must not add to it.

`slicer.app.errorLogModel()` tells Python the texts of its entries, not how bad they are. The file
that it writes has both: an entry begins with ``[LEVEL][origin]``, goes on with the time and the
place, and may have several lines. What Python prints to the standard error output, such as the
traceback of an exception in a slot, comes line by line, with the level CRITICAL.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from unittest import SkipTest

import slicer

_ENTRY = re.compile(r"^\[(?P<level>[A-Z]+)\]\[(?P<origin>[^\]]*)\] ")
_BAD = {"WARNING", "ERROR", "CRITICAL", "FATAL"}
_OURS = re.compile(r"moissam2|mois_core", re.IGNORECASE)


class Entry(NamedTuple):
    """An entry of the log."""

    level: str
    origin: str
    text: str

    @property
    def is_bad(self) -> bool:
        """Whether it tells of something that is wrong."""
        return self.level in _BAD

    @property
    def is_ours(self) -> bool:
        """Whether it comes from our code: tracebacks and warnings name the file.

        Warnings of Slicer and Qt are not ours: they name every folder that Slicer looks into.
        """
        is_theirs = self.level == "WARNING" and self.origin != "Python"
        return not is_theirs and _OURS.search(self.text) is not None


def bad_entries() -> list[Entry]:
    """Return what the log says is wrong since Slicer's start."""
    # Entries are queued, and written by the event loop.
    slicer.app.processEvents()
    path = slicer.app.errorLogModel().filePath
    if not path or not Path(path).is_file():
        raise SkipTest("Slicer writes no log file")
    # Qt writes it in the encoding of the system.
    return [one for one in parse(Path(path).read_text(errors="replace")) if one.is_bad]


def parse(text: str) -> list[Entry]:
    """Return the entries of a log file."""
    entries: list[Entry] = []
    for line in text.splitlines():
        begins = _ENTRY.match(line)
        if begins is not None:
            entries.append(Entry(begins["level"], begins["origin"], line))
        elif entries:
            entries[-1] = entries[-1]._replace(text=f"{entries[-1].text}\n{line}")
    return entries

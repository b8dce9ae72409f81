"""Read point lists in Slicer's older format (.fcsv).

It is a table of comma-separated values without units (always millimetres), below comment lines
that tell the version, the coordinate system and the columns.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np

from mois_core.errors import BadInput

LabelledPoint = tuple[str, tuple[float, float, float]]
"""A point's label and its place in RAS millimetres."""

FIRST_WORDS = "# Markups fiducial file"
_SYSTEM = re.compile(r"#\s*CoordinateSystem\s*=\s*(\S+)")
# Slicer has written both the names and its own codes for them.
_TO_RAS = {"RAS": (1, 1, 1), "0": (1, 1, 1), "LPS": (-1, -1, 1), "1": (-1, -1, 1)}
_POSITION, _LABEL, _STATUS = slice(1, 4), 11, 14
_DEFINED = "2"


def read_fiducial_csv(text: str, path: Path) -> list[LabelledPoint]:
    """Return the placed points in the text of a file; `path` is for messages."""
    lines = text.splitlines()
    if not lines or not lines[0].startswith(FIRST_WORDS):
        raise BadInput(
            f"{path} does not begin as Slicer's point lists (.fcsv) do; open it in Slicer and save "
            "it as .mrk.json."
        )
    to_ras = signs_to_ras(_system([line for line in lines if line.startswith("#")], path), path)
    points = []
    rows = csv.reader(line for line in lines if line.strip() and not line.startswith("#"))
    for number, row in enumerate(rows, start=1):
        if len(row) > _STATUS and row[_STATUS].strip() not in ("", _DEFINED):
            continue
        label = row[_LABEL] if len(row) > _LABEL else ""
        position = _numbers(row[_POSITION])
        if position is None:
            raise BadInput(f"{path}: point {number}, {label!r}, has no position of three numbers.")
        r, a, s = (sign * mm for sign, mm in zip(to_ras, position, strict=True))
        points.append((label, (r, a, s)))
    return points


def signs_to_ras(system: str, path: Path) -> tuple[int, int, int]:
    """Return what to multiply positions with that are given in a coordinate system."""
    if system not in _TO_RAS:
        raise BadInput(f"{path} uses the coordinate system {system!r}; save it in LPS or RAS.")
    return _TO_RAS[system]


def _system(comments: list[str], path: Path) -> str:
    systems = [match[1] for line in comments if (match := _SYSTEM.match(line))]
    if not systems:
        raise BadInput(
            f"{path} does not say whether its points are in LPS or RAS; open it in Slicer and save "
            "it as .mrk.json."
        )
    return systems[0]


def _numbers(texts: list[str]) -> list[float] | None:
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return None
    return numbers if len(numbers) == 3 and np.isfinite(numbers).all() else None

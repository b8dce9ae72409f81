"""Clicks to and from Slicer Markups files (.mrk.json).

A control point labelled ``7+`` is a positive click for lesion 7, ``7-`` a negative one. Any
other label, such as the ``F-1`` that Slicer gives by itself, starts a lesion of its own.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from mois_core.errors import BadInput
from mois_core.io.atomic import atomic_write
from mois_core.io.scan import HIGHEST_LABEL

_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/"
    "Schema/markups-schema-v1.0.3.json#"
)
_LESION_CLICK = re.compile(r"\s*0*([1-9][0-9]*)\s*([+-])\s*")
# Slicer has written both the names and its own numbers for them. Without either it means LPS.
_TO_RAS = {
    "RAS": (1, 1, 1),
    "0": (1, 1, 1),
    "LPS": (-1, -1, 1),
    "1": (-1, -1, 1),
}


@dataclass(frozen=True)
class Click:
    """One click: this point belongs to a lesion or, if not positive, does not."""

    lesion: int
    positive: bool
    ras: tuple[float, float, float]
    label: str = field(default="", compare=False)
    """What the file calls the point, for messages about it."""


def click_label(lesion: int, positive: bool) -> str:
    """How a click's control point is labelled, in files and in the Slicer scene."""
    return f"{lesion}{'+' if positive else '-'}"


def read_points(path: str | os.PathLike) -> list[Click]:
    """The clicks of a Markups file in file order; points not yet placed are skipped."""
    path = Path(path)
    labelled = []
    for markup in _read_markups(path):
        to_ras = _to_ras(markup, path)
        points = markup.get("controlPoints") or []
        if not isinstance(points, list) or not all(isinstance(point, dict) for point in points):
            raise BadInput(f"{path} is damaged: its control points are not a list of points.")
        for point in points:
            if point.get("positionStatus", "defined") == "defined":
                ras = tuple(a * b for a, b in zip(to_ras, _position(point, path), strict=True))
                labelled.append((str(point.get("label") or ""), ras))
    if not labelled:
        raise BadInput(f"{path} holds no placed points; place at least one in a lesion.")
    return _number_lesions(labelled, path)


def _number_lesions(labelled: list[tuple[str, tuple]], path: Path) -> list[Click]:
    matches = [_LESION_CLICK.fullmatch(label) for label, _ in labelled]
    taken = {int(match[1]) for match in matches if match}
    if taken and max(taken) > HIGHEST_LABEL:
        raise BadInput(f"{path} has lesion number {max(taken)}; the highest is {HIGHEST_LABEL}.")
    free = (number for number in count(1) if number not in taken)
    return [
        Click(int(match[1]), match[2] == "+", ras, label)
        if match
        else Click(next(free), True, ras, label)
        for match, (label, ras) in zip(matches, labelled, strict=True)
    ]


def _read_markups(path: Path) -> list[dict[str, Any]]:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadInput(f"{path} cannot be opened ({error.strerror}).") from error
    except ValueError as error:
        raise BadInput(
            f"{path} is not a Markups file (.mrk.json): it is not valid JSON."
        ) from error
    markups = document.get("markups") if isinstance(document, dict) else None
    if not isinstance(markups, list) or not all(isinstance(markup, dict) for markup in markups):
        raise BadInput(f"{path} is not a Markups file (.mrk.json): it has no list of markups.")
    for markup in markups:
        if markup.get("type") != "Fiducial":
            raise BadInput(
                f"{path} holds a markup of type {markup.get('type')!r}; save the clicks as a "
                "point list."
            )
    return markups


def _to_ras(markup: dict[str, Any], path: Path) -> tuple[int, int, int]:
    system = markup.get("coordinateSystem", "LPS")
    if str(system) not in _TO_RAS:
        raise BadInput(f"{path} uses the coordinate system {system!r}; save it in LPS or RAS.")
    return _TO_RAS[str(system)]


def _position(point: dict[str, Any], path: Path) -> list[float]:
    try:
        position = np.array(point.get("position"), dtype=np.float64)
    except (TypeError, ValueError):
        position = np.empty(0)
    if position.shape != (3,) or not np.isfinite(position).all():
        raise BadInput(
            f"{path}: the point {str(point.get('label'))!r} has no position of three numbers."
        )
    return position.tolist()


def write_points(path: str | os.PathLike, clicks: Iterable[Click]) -> None:
    """Write clicks as a point list that Slicer opens and `read_points` reads."""
    points = [
        {
            "id": str(n),
            "label": click_label(click.lesion, click.positive),
            "description": "",
            "associatedNodeID": "",
            "position": [-click.ras[0], -click.ras[1], click.ras[2]],
            "selected": True,
            "locked": False,
            "visibility": True,
            "positionStatus": "defined",
        }
        for n, click in enumerate(clicks, start=1)
    ]
    markup = {
        "type": "Fiducial",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "controlPoints": points,
    }
    document = {"@schema": _SCHEMA, "markups": [markup]}
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

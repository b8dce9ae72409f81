"""Clicks to and from Slicer Markups files (.mrk.json), and from the older .fcsv.

A control point labelled as `click_labels` says is a click for that lesion. Any other label,
such as the ``F-1`` that Slicer gives by itself, starts a lesion of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from mois_core.errors import BadInput
from mois_core.io.atomic import atomic_write
from mois_core.io.click_labels import read_click_label, write_click_label
from mois_core.io.fiducial_csv import (
    FIRST_WORDS,
    LabelledPoint,
    read_fiducial_csv,
    signs_to_ras,
)
from mois_core.io.scan import HIGHEST_LABEL

_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/"
    "Schema/markups-schema-v1.0.3.json#"
)
_MILLIMETRES = {
    "nm": 1e-6,
    "um": 1e-3,
    "mm": 1.0,
    "cm": 10.0,
    "dm": 100.0,
    "m": 1000.0,
    "[in_i]": 25.4,
}
_FIDUCIAL_CSV = ".fcsv"


@dataclass(frozen=True)
class RasClick:
    """A click in patient coordinates (RAS): inside a lesion or, if not positive, outside of it."""

    lesion_id: int
    positive: bool
    ras: tuple[float, float, float]
    label: str = field(default="", compare=False)
    """Label of the point in the file, for messages about it."""


def read_points(path: str | os.PathLike) -> list[RasClick]:
    """Return the clicks of a point list in file order, without points that are not yet placed."""
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be opened ({error.strerror}).") from error
    text = _decoded(content)
    if path.suffix.lower() == _FIDUCIAL_CSV or (text or "").startswith(FIRST_WORDS):
        if text is None:
            raise BadInput(f"{path} is not a point list: it is not text in UTF-8.")
        labelled = read_fiducial_csv(text, path)
    else:
        labelled = _read_markups(text, path)
    if not labelled:
        raise BadInput(f"{path} holds no placed points; place at least one in a lesion.")
    return _assign_lesions(labelled, path)


def _decoded(content: bytes) -> str | None:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _read_markups(text: str | None, path: Path) -> list[LabelledPoint]:
    labelled = []
    for markup in _markups_in(text, path):
        system = str(markup.get("coordinateSystem", "LPS"))
        to_ras = np.array(signs_to_ras(system, path)) * _millimetres(markup, path)
        points = markup.get("controlPoints") or []
        if not isinstance(points, list) or not all(isinstance(point, dict) for point in points):
            raise BadInput(f"{path} is damaged: its control points are not a list of points.")
        for point in points:
            if point.get("positionStatus", "defined") == "defined":
                r, a, s = (to_ras * _position(point, path)).tolist()
                labelled.append((str(point.get("label") or ""), (r, a, s)))
    return labelled


def _assign_lesions(labelled: list[LabelledPoint], path: Path) -> list[RasClick]:
    """Return clicks of labelled points; one whose label names no lesion gets the next free one."""
    meanings = [read_click_label(label) for label, _ in labelled]
    taken = {meant.lesion_id for meant in meanings if meant}
    if taken and max(taken) > HIGHEST_LABEL:
        raise BadInput(f"{path} has lesion number {max(taken)}; the highest is {HIGHEST_LABEL}.")
    free = (lesion_id for lesion_id in count(1) if lesion_id not in taken)
    return [
        RasClick(*meant, ras, label) if meant else RasClick(next(free), True, ras, label)
        for meant, (label, ras) in zip(meanings, labelled, strict=True)
    ]


def _markups_in(text: str | None, path: Path) -> list[dict[str, Any]]:
    try:
        document = json.loads(text or "")
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


def _millimetres(markup: dict[str, Any], path: Path) -> float:
    """Return how many millimetres the unit of a list is; it is a UCUM code, alone or with more."""
    unit = markup.get("coordinateUnits") or "mm"
    code = unit[0] if isinstance(unit, list) and unit else unit
    if not isinstance(code, str) or code not in _MILLIMETRES:
        raise BadInput(
            f"{path} gives its positions in {code!r}, which is no length that can be read; save it "
            "in mm."
        )
    return _MILLIMETRES[code]


def _position(point: dict[str, Any], path: Path) -> np.ndarray:
    try:
        position = np.array(point.get("position"), dtype=np.float64)
    except (TypeError, ValueError):
        position = np.empty(0)
    if position.shape != (3,) or not np.isfinite(position).all():
        raise BadInput(
            f"{path}: the point {str(point.get('label'))!r} has no position of three numbers."
        )
    return position


def write_points(path: str | os.PathLike, clicks: Iterable[RasClick]) -> None:
    """Write clicks as a point list that Slicer opens and `read_points` reads."""
    points = [
        {
            "id": str(point_id),
            "label": write_click_label(click.lesion_id, click.positive),
            "description": "",
            "associatedNodeID": "",
            "position": [-click.ras[0], -click.ras[1], click.ras[2]],
            "selected": True,
            "locked": False,
            "visibility": True,
            "positionStatus": "defined",
        }
        for point_id, click in enumerate(clicks, start=1)
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

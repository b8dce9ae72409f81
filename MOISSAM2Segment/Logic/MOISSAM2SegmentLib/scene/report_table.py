"""Lesion reports as table nodes, with typed columns so that Slicer sorts numbers as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from typing import TYPE_CHECKING, Any, get_type_hints

import vtk

from MOISSAM2SegmentLib.messages import tr as _

if TYPE_CHECKING:
    from mois_core.followup.change import LesionChange
    from mois_core.followup.registration_quality import RegistrationQuality
    from mois_core.results.lesion_report import LesionRow, Provenance

CLASS = "vtkMRMLTableNode"
COMPARED_BY = _(
    "MOISSAM2 {version}; registration: correlation {correlation:.2f}, bodies {overlap:.0%}; a "
    "change counts from {threshold:.0%}, a lesion is measurable from {length:g} mm ({source}); "
    "intervals for outlines of a Dice of {dice:g}"
)
_ARRAYS = {str: vtk.vtkStringArray, int: vtk.vtkIntArray, bool: vtk.vtkIntArray}
"""Arrays by the type of a column; anything else is a floating-point number or missing."""


def fill_table(node: Any, rows: Sequence[LesionRow], provenance: Provenance) -> None:
    """Fill a table node with a report, and write the report's provenance into its description."""
    from mois_core.results.lesion_report import LesionRow

    _fill(node, LesionRow, rows, _made_by(provenance))


def fill_comparison(
    node: Any, rows: Sequence[LesionChange], quality: RegistrationQuality, dice: float
) -> None:
    """Fill a table node with a comparison; its description says how it was made."""
    from mois_core import __version__
    from mois_core.followup.change import MEASURABLE_MM, SOURCE, THRESHOLD, LesionChange

    made_by = COMPARED_BY.format(
        version=__version__,
        correlation=quality.correlation,
        overlap=quality.body_overlap,
        threshold=THRESHOLD,
        length=MEASURABLE_MM,
        source=SOURCE,
        dice=dice,
    )
    _fill(node, LesionChange, rows, made_by)


def _fill(node: Any, kind: type, rows: Sequence[Any], description: str) -> None:
    types = get_type_hints(kind)
    table = vtk.vtkTable()
    for (name, hint), values in zip(types.items(), _columns(rows, len(types)), strict=True):
        table.AddColumn(_column(name, hint, values))
    was_modifying = node.StartModify()
    node.SetAndObserveTable(table)
    node.SetUseColumnTitleAsColumnHeader(False)
    node.SetLocked(True)
    node.SetDescription(description)
    node.EndModify(was_modifying)


def _columns(rows: Sequence[LesionRow], count: int) -> list[Sequence[Any]]:
    return list(zip(*map(astuple, rows), strict=True)) if rows else [()] * count


def _column(name: str, kind: type, values: Sequence[Any]) -> Any:
    column = _ARRAYS.get(kind, vtk.vtkDoubleArray)()
    column.SetName(name)
    for value in values:
        column.InsertNextValue(float("nan") if value is None else value)
    return column


def _made_by(provenance: Provenance) -> str:
    from mois_core import __version__

    model = provenance.model
    parts = [f"MOISSAM2 {__version__}", f"model {model.preset}"]
    if model.sha256:
        parts.append(f"SHA-256 {model.sha256}")
    parts += [f"{key} {value}" for key, value in provenance.parameters.items()]
    return ", ".join(parts)

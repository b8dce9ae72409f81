"""The lesion report as a table node, with typed columns so that Slicer sorts numbers as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from typing import TYPE_CHECKING, Any, get_type_hints

import vtk

if TYPE_CHECKING:
    from mois_core.results.lesion_report import LesionRow, Provenance

CLASS = "vtkMRMLTableNode"
_ARRAYS = {str: vtk.vtkStringArray, int: vtk.vtkIntArray}
"""Arrays by the type of a column; anything else is a floating-point number or missing."""


def fill_table(node: Any, rows: Sequence[LesionRow], provenance: Provenance) -> None:
    """Fill a table node with a report, and write the report's provenance into its description."""
    from mois_core.results.lesion_report import LesionRow

    types = get_type_hints(LesionRow)
    table = vtk.vtkTable()
    for (name, kind), values in zip(types.items(), _columns(rows, len(types)), strict=True):
        table.AddColumn(_column(name, kind, values))
    was_modifying = node.StartModify()
    node.SetAndObserveTable(table)
    node.SetUseColumnTitleAsColumnHeader(False)
    node.SetLocked(True)
    node.SetDescription(_made_by(provenance))
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

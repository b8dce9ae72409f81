"""The lesion report as a table node, with typed columns so that Slicer sorts numbers as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

import vtk

if TYPE_CHECKING:
    from mois_core.results.lesion_report import LesionRow, Provenance

CLASS = "vtkMRMLTableNode"
_WHOLE = ("lesion", "voxels", "slices", "clicks")
_TEXT = ("status",)


def fill_table(node: Any, rows: Sequence[LesionRow], provenance: Provenance) -> None:
    """Fill a table node with a report, and write the report's provenance into its description."""
    from mois_core.results.lesion_report import COLUMNS

    table = vtk.vtkTable()
    for name, values in zip(COLUMNS, _columns(rows, len(COLUMNS)), strict=True):
        table.AddColumn(_column(name, values))
    was_modifying = node.StartModify()
    node.SetAndObserveTable(table)
    node.SetUseColumnTitleAsColumnHeader(False)
    node.SetLocked(True)
    node.SetDescription(_made_by(provenance))
    node.EndModify(was_modifying)


def _columns(rows: Sequence[LesionRow], count: int) -> list[Sequence[Any]]:
    return list(zip(*map(astuple, rows), strict=True)) if rows else [()] * count


def _column(name: str, values: Sequence[Any]) -> Any:
    if name in _TEXT:
        column = vtk.vtkStringArray()
    elif name in _WHOLE:
        column = vtk.vtkIntArray()
    else:
        column = vtk.vtkDoubleArray()
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

"""The table that names a study's scans: one row for each, with the label map that belongs to it."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mois_core.errors import BadInput

REQUIRED = ("scan", "labels")

READER = "reader:"
"""Columns that begin with this name label maps of further readers of the same scans."""


@dataclass(frozen=True)
class ScanTableRow:
    """One scan of a table or of a folder. Text is empty where there is nothing to be said."""

    scan: Path
    labels: Path
    scan_text: str
    """The scan's file as the table writes it."""
    name: str
    """The column ``name``, or else a name made of the scan's file."""
    test_set: str = ""
    """The column ``set``."""
    patient: str = ""
    fold: str = ""
    readers: tuple[tuple[str, Path], ...] = ()
    """Name of a further reader, and the label map that reader drew."""


def read_scan_table(path: Path) -> list[ScanTableRow]:
    """Read a CSV whose columns ``scan`` and ``labels`` are filled in every row.

    File names are relative to the table's folder. Columns may be written large or small, and lines
    without any text are none.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file)
            columns = [_column(text) for text in next(lines, [])]
            rows = [
                (lines.line_num, dict(zip(columns, line, strict=False)))
                for line in lines
                if any(map(str.strip, line))
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path} cannot be read as a table: {error}") from error
    for column in REQUIRED:
        if column not in columns:
            there = ", ".join(columns) or "none"
            raise BadInput(
                f"{path}: the first line must name the columns {' and '.join(REQUIRED)}, with "
                f"commas between them; there are: {there}"
            )
    if not rows:
        raise BadInput(f"{path} names no scans")
    for number, cells in rows:
        for column in REQUIRED:
            if not cells.get(column):
                raise BadInput(f"{path}, line {number}: column '{column}' is empty")
    return [_row(path.parent, cells) for _, cells in rows]


def _column(text: str) -> str:
    """Return the name of a column as it is looked for; a reader's own name stays as it is."""
    text = text.strip()
    if text.lower().startswith(READER):
        return READER + text[len(READER) :].strip()
    return text.lower()


def _row(folder: Path, cells: Mapping[str, str]) -> ScanTableRow:
    readers = {
        column.removeprefix(READER): folder / cell
        for column, cell in cells.items()
        if column.startswith(READER) and cell
    }
    return ScanTableRow(
        scan=folder / cells["scan"],
        labels=folder / cells["labels"],
        scan_text=cells["scan"],
        name=cells.get("name") or _name_of(cells["scan"]),
        test_set=cells.get("set") or "",
        patient=cells.get("patient") or "",
        fold=cells.get("fold") or "",
        readers=tuple(sorted(readers.items())),
    )


def _name_of(scan: str) -> str:
    """Return a scan's name: its file's, or its folder's where every file has the same name."""
    path = Path(scan)
    plain = (path.stem if path.suffix.lower() == ".gz" else path.name).rsplit(".", 1)[0]
    return path.parent.name if plain == "scan" and path.parent.name else plain

"""The table that names a study's scans: one row for each, with the label map that belongs to it."""

from __future__ import annotations

import csv
from pathlib import Path

from mois_core.errors import BadInput

REQUIRED = ("scan", "labels")


def read_scan_table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV whose columns ``scan`` and ``labels`` are filled in every one of them."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path} cannot be read as a table: {error}") from error
    if not rows:
        raise BadInput(f"{path} names no scans; its first line must hold {','.join(REQUIRED)}")
    for column in REQUIRED:
        if not all(row.get(column) for row in rows):
            raise BadInput(f"{path}: column '{column}' is missing or not filled in every row")
    return rows

"""The table of the comparison: one row for each lesion then or now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from MOISSAM2SegmentPanel import comparison_rows
from MOISSAM2SegmentPanel.comparison_rows import Row
from MOISSAM2SegmentPanel.lesion_table import (
    CELL_PADDING,
    ROW_PADDING,
    ROWS_AT_ONCE,
    TITLE_PADDING,
    new_swatch,
)
from MOISSAM2SegmentPanel.message_line import MessageLine

NAME = 0


class ComparisonTable:
    """The table widget. ``chosen`` is called with the number of the lesion that was chosen."""

    def __init__(self, ui: Any, message_line: MessageLine, chosen: Callable[[int], None]) -> None:
        self._table = ui.comparisonTable
        self._tell_chosen = chosen
        self.rows: list[Row] = []
        self._written = 0
        self._is_filling = False
        self._later = qt.QTimer(self._table)
        self._later.setSingleShot(True)
        self._later.connect("timeout()", message_line.guard(self._fill))
        self._table.connect("itemSelectionChanged()", message_line.guard(self._selected))
        self._set_up()

    def _set_up(self) -> None:
        table = self._table
        self._titles = [_("Lesion"), _("Change"), _("Then"), _("Now"), _("%")]
        table.setColumnCount(len(self._titles))
        table.setHorizontalHeaderLabels(self._titles)
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setDefaultSectionSize(table.fontMetrics().height() + ROW_PADDING)
        table.horizontalHeader().setStretchLastSection(False)
        table.horizontalHeader().setSectionResizeMode(NAME, qt.QHeaderView.Stretch)

    def _widen(self) -> None:
        """Make the columns as wide as their texts, so that names have the rest."""
        width = self._table.fontMetrics().horizontalAdvance
        columns = zip(self._titles, *map(comparison_rows.cells, self.rows), strict=True)
        for column, (title, *texts) in enumerate(columns):
            # Few texts are the longest, and only these need be measured.
            longest = max(map(len, texts), default=0)
            widest = max((width(text) for text in texts if len(text) == longest), default=0)
            if column != NAME:
                needed = max(widest + CELL_PADDING, width(title) + TITLE_PADDING)
                self._table.setColumnWidth(column, needed)

    def show(self, rows: Sequence[Row]) -> None:
        """Show the lesions of a comparison."""
        self._is_filling = True
        try:
            self.rows, self._written = list(rows), 0
            self._widen()
            self._table.setRowCount(0)
            self._table.setRowCount(len(self.rows))
            self._fill()
        finally:
            self._is_filling = False

    def _fill(self) -> None:
        """Write some rows; the others follow, so that hundreds do not block the program."""
        end = min(self._written + ROWS_AT_ONCE, len(self.rows))
        for row in range(self._written, end):
            self._write(row)
        self._written = end
        if end < len(self.rows):
            self._later.start(0)

    def _write(self, row: int) -> None:
        entry = self.rows[row]
        for column, text in enumerate(comparison_rows.cells(entry)):
            item = qt.QTableWidgetItem(text)
            item.setFlags(qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled)
            if column > 1:
                item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            self._table.setItem(row, column, item)
        if entry.colour is not None:
            self._table.item(row, NAME).setIcon(new_swatch(entry.colour))

    # ---- choosing --------------------------------------------------------------------------

    @property
    def position(self) -> int | None:
        """The row that is chosen; None if none is."""
        chosen = [index.row() for index in self._table.selectionModel().selectedRows()]
        return chosen[0] if chosen and chosen[0] < len(self.rows) else None

    def go_on(self, step: int) -> None:
        """Choose the next row or the previous one; after the last comes the first."""
        if not self.rows:
            return
        here = self.position
        first = 0 if step > 0 else len(self.rows) - 1
        self.choose(first if here is None else (here + step) % len(self.rows))

    def choose(self, row: int) -> None:
        """Choose a row, and have its lesion shown."""
        model, selection = self._table.model(), self._table.selectionModel()
        index = model.index(row, NAME)
        how = qt.QItemSelectionModel.Select | qt.QItemSelectionModel.Rows
        self._is_filling = True
        try:
            self._table.clearSelection()
            selection.select(index, how)
            selection.setCurrentIndex(index, qt.QItemSelectionModel.NoUpdate)
            self._table.scrollTo(index)
        finally:
            self._is_filling = False
        self._selected()

    def _selected(self) -> None:
        if not self._is_filling and self.position is not None:
            self._tell_chosen(self.rows[self.position].change.lesion)

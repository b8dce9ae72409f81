"""The table of lesions: rows, their order and filters, and which of them are chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
from MOISSAM2SegmentLib.workspace.lesion_list import LesionEntry
from MOISSAM2SegmentLib.workspace.workspace import Workspace
from slicer.i18n import tr as _

from MOISSAM2SegmentPanel import lesion_rows
from MOISSAM2SegmentPanel.lesion_rows import FOUND, RowFilter
from MOISSAM2SegmentPanel.message_line import MessageLine

NAME, STATUS = 0, 1
ROWS_AT_ONCE = 24
"""Rows are written in portions, so that hundreds of findings do not block the program."""

ROW_PADDING = 4
"""Height of a row above that of its text, in pixels."""

CELL_PADDING, TITLE_PADDING = 12, 10
"""Room beside the text of a cell and of a title, in pixels."""

SWATCH = 14
"""Side of the square with a lesion's colour beside its name, in pixels."""


def new_swatch(colour: Sequence[float]) -> Any:
    """Return a square of a lesion's colour as an icon."""
    pixmap = qt.QPixmap(SWATCH, SWATCH)
    pixmap.fill(qt.QColor.fromRgbF(*colour))
    return qt.QIcon(pixmap)


class LesionTable:
    """The table widget and its filters.

    Cells that did not change are not written, so that an edit in progress and the selection stay.
    ``selected`` is called when other rows were chosen.
    """

    def __init__(
        self,
        ui: Any,
        workspace: Workspace,
        message_line: MessageLine,
        selected: Callable[[], None],
    ) -> None:
        self._ui = ui
        self._table = ui.lesionTable
        self._workspace = workspace
        self._tell_selected = selected
        self.entries: list[LesionEntry] = []
        """All lesions."""
        self.rows: list[LesionEntry] = []
        """Those that the filters leave, in the order of the rows."""
        self._written: list[LesionEntry | None] = []
        """What the cells of each row show; None for a row that has no cells yet."""
        self._filter = RowFilter()
        self._is_filling = False
        self._swatches: dict[tuple, Any] = {}
        self._longest: dict[int, int] = {}
        self._widths: dict[int, int] = {}
        self._later = qt.QTimer(self._table)
        self._later.setSingleShot(True)
        self._set_up()
        guard = message_line.guard
        self._later.connect("timeout()", guard(self._fill))
        self._table.connect("itemSelectionChanged()", guard(self._selected))
        self._table.connect("cellActivated(int,int)", guard(lambda row, column: self.jump()))
        self._table.connect("cellChanged(int,int)", guard(self._edited))
        header = self._table.horizontalHeader()
        header.connect("sectionClicked(int)", guard(self._sort_by))
        ui.filterBox.connect("textChanged(QString)", guard(self._filter_changed))
        ui.statusBox.connect("currentIndexChanged(int)", guard(self._filter_changed))
        ui.orderBox.connect("currentIndexChanged(int)", guard(self._order_changed))

    def _set_up(self) -> None:
        table = self._table
        self._titles = [_("Lesion"), _("Status"), _("%"), _("cm\u00b3"), _("Slices")]
        table.setColumnCount(len(self._titles))
        table.setHorizontalHeaderLabels(self._titles)
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setDefaultSectionSize(table.fontMetrics().height() + ROW_PADDING)
        header = table.horizontalHeader()
        header.setStretchLastSection(False)
        header.setSectionsClickable(True)
        header.setSortIndicatorShown(True)
        header.setSortIndicator(NAME, qt.Qt.AscendingOrder)
        header.setSectionResizeMode(NAME, qt.QHeaderView.Stretch)
        statuses = [lesion_rows.status_text(status) for status in lesion_rows.STATUSES]
        self._widen(STATUS, max(statuses, key=table.fontMetrics().horizontalAdvance))
        for column in range(STATUS + 1, len(self._titles)):
            self._widen(column, "")
        self._ui.statusBox.addItem(_("All"))
        for text in statuses:
            self._ui.statusBox.addItem(text)
        for order in lesion_rows.ORDERS:
            self._ui.orderBox.addItem(lesion_rows.order_text(order))

    def _widen(self, column: int, text: str) -> None:
        """Make a column wide enough for a text.

        Qt could see to that, but looks at all rows again for each cell that is written. Only texts
        with more letters than those before are measured.
        """
        if len(text) <= self._longest.get(column, -1):
            return
        self._longest[column] = len(text)
        metrics = self._table.fontMetrics()
        needed = max(
            metrics.horizontalAdvance(text) + CELL_PADDING,
            metrics.horizontalAdvance(self._titles[column]) + TITLE_PADDING,
        )
        if needed > self._widths.get(column, 0):
            self._widths[column] = needed
            self._table.setColumnWidth(column, needed)

    # ---- showing ---------------------------------------------------------------------------

    def show(self, entries: Sequence[LesionEntry]) -> None:
        """Update the rows and the totals."""
        self.entries = list(entries)
        self._show_rows()
        self._ui.totalsLabel.text = lesion_rows.totals_text(entries) if entries else ""

    @property
    def is_filling(self) -> bool:
        """Whether rows wait to be written."""
        return self._later.isActive()

    def _show_rows(self) -> None:
        rows = lesion_rows.filtered(self.entries, self._filter)
        is_other = [row.lesion_id for row in rows] != [row.lesion_id for row in self.rows]
        chosen = self.chosen if is_other else []
        self.rows = rows
        was_filling, self._is_filling = self._is_filling, True
        try:
            if len(self._written) != len(rows):
                self._table.setRowCount(len(rows))
                self._written = [*self._written, *[None] * len(rows)][: len(rows)]
            if not self.is_filling:
                self._fill()
            if is_other:
                self._choose(chosen)
        finally:
            self._is_filling = was_filling

    def _fill(self) -> None:
        """Write rows that are not as they should be: first those around the current one."""
        was_filling, self._is_filling = self._is_filling, True
        try:
            wrong = [n for n, row in enumerate(self.rows) if self._written[n] != row]
            if len(wrong) > ROWS_AT_ONCE:
                here = self._table.currentRow()
                wrong.sort(key=lambda row: abs(row - here))
            for row in wrong[:ROWS_AT_ONCE]:
                self._write(row)
        finally:
            self._is_filling = was_filling
        if len(wrong) > ROWS_AT_ONCE:
            self._later.start(0)

    def _write(self, row: int) -> None:
        entry, was = self.rows[row], self._written[row]
        texts = lesion_rows.cells(entry)
        old = lesion_rows.cells(was) if was is not None else (None,) * len(texts)
        for column, text in enumerate(texts):
            if was is None:
                self._table.setItem(row, column, self._new_item(column, text))
            elif text != old[column]:
                self._table.item(row, column).setText(text)
            if column > STATUS and text != old[column]:
                self._widen(column, text)
        if was is None or was.colour != entry.colour:
            self._table.item(row, NAME).setIcon(self._swatch(entry.colour))
        self._written[row] = entry

    def _new_item(self, column: int, text: str) -> Any:
        item = qt.QTableWidgetItem(text)
        flags = qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled
        item.setFlags(flags | qt.Qt.ItemIsEditable if column == NAME else flags)
        if column > STATUS:
            item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
        return item

    def _swatch(self, colour: tuple) -> Any:
        if colour not in self._swatches:
            self._swatches[colour] = new_swatch(colour)
        return self._swatches[colour]

    # ---- choosing --------------------------------------------------------------------------

    @property
    def chosen(self) -> list[int]:
        """The ids of the lesions whose rows are selected."""
        rows = sorted({index.row() for index in self._table.selectionModel().selectedRows()})
        return [self.rows[row].lesion_id for row in rows if row < len(self.rows)]

    def choose(self, *lesion_ids: int) -> None:
        """Select lesions' rows, and show the first lesion in the views."""
        self._choose(lesion_ids)
        self._selected()

    def choose_next(self, step: int = 1) -> None:
        """Choose the next finding that has to be checked; after the last row comes the first."""
        following = self.following(step)
        if following is not None:
            self.choose(following)

    def following(self, step: int = 1, chosen: Sequence[int] | None = None) -> int | None:
        """Return the next finding to be checked that is not chosen; None if there is none."""
        chosen = self.chosen if chosen is None else chosen
        lesion_ids = [entry.lesion_id for entry in self.rows]
        here = lesion_ids.index(chosen[-1]) if chosen else -1 if step > 0 else 0
        for distance in range(1, len(lesion_ids) + 1):
            entry = self.rows[(here + step * distance) % len(lesion_ids)]
            if entry.status == FOUND and entry.lesion_id not in chosen:
                return entry.lesion_id
        return None

    def choose_first(self) -> None:
        """Choose the first finding that has to be checked, in the order of the rows."""
        first = next((row.lesion_id for row in self.rows if row.status == FOUND), None)
        if first is not None:
            self.choose(first)

    def _choose(self, lesion_ids: Sequence[int]) -> None:
        was_filling, self._is_filling = self._is_filling, True
        try:
            self._table.clearSelection()
            wanted = set(lesion_ids)
            model, selection = self._table.model(), self._table.selectionModel()
            how = qt.QItemSelectionModel.Select | qt.QItemSelectionModel.Rows
            first = None
            for row, entry in enumerate(self.rows):
                if entry.lesion_id in wanted:
                    index = model.index(row, NAME)
                    first = first or index
                    selection.select(index, how)
            if first is not None:
                selection.setCurrentIndex(first, qt.QItemSelectionModel.NoUpdate)
                self._table.scrollTo(first)
        finally:
            self._is_filling = was_filling

    def _selected(self) -> None:
        if not self._is_filling:
            self.jump()
            self._tell_selected()

    def jump(self) -> None:
        """Show the first chosen lesion in the views."""
        chosen = self.chosen
        if chosen and self._workspace.is_open:
            self._workspace.views.follow(chosen[0])

    # ---- order and filters -----------------------------------------------------------------

    def _sort_by(self, column: int) -> None:
        name = lesion_rows.COLUMNS[column]
        is_again = self._filter.column == name and not self._filter.order
        descending = is_again and not self._filter.descending
        self._filter = self._filter._replace(column=name, descending=descending, order="")
        self._ui.orderBox.setCurrentIndex(0)
        self._show_order()

    def _order_changed(self, *_: Any) -> None:
        order = lesion_rows.ORDERS[max(self._ui.orderBox.currentIndex, 0)]
        if order != self._filter.order:
            self._filter = self._filter._replace(order=order)
            self._show_order()

    def _show_order(self) -> None:
        column = lesion_rows.COLUMNS.index(self._filter.column) if self._filter.column else NAME
        order = qt.Qt.DescendingOrder if self._filter.descending else qt.Qt.AscendingOrder
        header = self._table.horizontalHeader()
        header.setSortIndicator(column, order)
        header.setSortIndicatorShown(not self._filter.order)
        self._show_rows()
        self._tell_selected()

    def _filter_changed(self, *_: Any) -> None:
        index = self._ui.statusBox.currentIndex
        status = lesion_rows.STATUSES[index - 1] if index > 0 else ""
        self._filter = self._filter._replace(text=self._ui.filterBox.text, status=status)
        self._show_rows()
        self._tell_selected()

    # ---- names -----------------------------------------------------------------------------

    def rename(self) -> None:
        """Begin to edit the chosen lesion's name in its row."""
        lesion_ids = [entry.lesion_id for entry in self.rows]
        chosen = self.chosen
        if len(chosen) == 1:
            self._table.editItem(self._table.item(lesion_ids.index(chosen[0]), NAME))

    def _edited(self, row: int, column: int) -> None:
        if self._is_filling or column != NAME or row >= len(self.rows):
            return
        entry, item = self.rows[row], self._table.item(row, NAME)
        text = item.text().strip()
        if text and text != entry.name:
            self.rows[row] = self._written[row] = entry._replace(name=text)
            self._workspace.commands.rename(entry.lesion_id, text)
        elif text != entry.name:
            self._is_filling = True
            item.setText(entry.name)
            self._is_filling = False

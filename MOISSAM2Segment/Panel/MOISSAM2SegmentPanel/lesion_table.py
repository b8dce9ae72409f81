"""The table of lesions: rows, sorting and filters, and the decisions on chosen rows."""

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
ROWS_AT_ONCE = 60
"""New rows are made in portions, so that hundreds of findings do not block the program."""

ROW_PADDING = 4
"""Height of a row above that of its text, in pixels."""

SWATCH = 14
"""Side of the square with a lesion's colour beside its name, in pixels."""


class LesionTable:
    """The table widget, its filters, and the buttons below it.

    Cells that did not change are not written, so that an edit in progress and the selection stay.
    ``refine`` is called with the id of a lesion that is to be corrected with points.
    """

    def __init__(
        self,
        ui: Any,
        workspace: Workspace,
        message_line: MessageLine,
        refine: Callable[[int], None],
    ) -> None:
        self._ui = ui
        self._table = ui.lesionTable
        self._workspace = workspace
        self._message_line = message_line
        self._refine = refine
        self._entries: list[LesionEntry] = []
        self._rows: list[LesionEntry] = []
        self._filter = RowFilter()
        self._is_filling = False
        self._swatches: dict[tuple, Any] = {}
        self._later = qt.QTimer(self._table)
        self._later.setSingleShot(True)
        self._set_up()
        guard = message_line.guard
        self._later.connect("timeout()", guard(self._fill_on))
        self._table.connect("itemSelectionChanged()", guard(self._selected))
        self._table.connect("cellActivated(int,int)", guard(lambda row, column: self.jump()))
        self._table.connect("cellChanged(int,int)", guard(self._edited))
        header = self._table.horizontalHeader()
        header.connect("sectionClicked(int)", guard(self._sort_by))
        ui.filterBox.connect("textChanged(QString)", guard(self._filter_changed))
        ui.statusBox.connect("currentIndexChanged(int)", guard(self._filter_changed))
        ui.acceptButton.connect("clicked()", message_line.guard_and_clear(self.accept))
        ui.rejectButton.connect("clicked()", message_line.guard_and_clear(self.reject))
        ui.refineButton.connect("clicked()", message_line.guard_and_clear(self.refine))
        ui.previousButton.connect("clicked()", guard(lambda: self.choose_next(-1)))
        ui.nextButton.connect("clicked()", guard(lambda: self.choose_next()))
        ui.acceptAllButton.connect("clicked()", message_line.guard_and_clear(self._accept_all))

    def _set_up(self) -> None:
        table = self._table
        titles = [_("Lesion"), _("Status"), _("cm\u00b3"), _("Slices")]
        table.setColumnCount(len(titles))
        table.setHorizontalHeaderLabels(titles)
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setDefaultSectionSize(table.fontMetrics().height() + ROW_PADDING)
        header = table.horizontalHeader()
        header.setStretchLastSection(False)
        header.setSectionsClickable(True)
        header.setSortIndicatorShown(True)
        header.setSortIndicator(NAME, qt.Qt.AscendingOrder)
        header.setSectionResizeMode(NAME, qt.QHeaderView.Stretch)
        for column in range(STATUS, len(titles)):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        box = self._ui.statusBox
        box.addItem(_("All"))
        for status in lesion_rows.STATUSES:
            box.addItem(lesion_rows.status_text(status))

    # ---- showing ---------------------------------------------------------------------------

    def show(self, entries: Sequence[LesionEntry]) -> None:
        """Update the rows, the totals and the buttons."""
        self._entries = list(entries)
        chosen = self.chosen
        rows = lesion_rows.filtered(entries, self._filter)
        self._is_filling = True
        try:
            self._fill(rows)
            if [entry.lesion_id for entry in rows] != [entry.lesion_id for entry in self._rows]:
                self._rows = rows
                self._choose(chosen)
            self._rows = rows
        finally:
            self._is_filling = False
        self._ui.totalsLabel.text = lesion_rows.totals_text(entries) if entries else ""
        self.show_buttons()

    def show_buttons(self) -> None:
        """Enable the buttons that suit the rows that are chosen."""
        is_open = self._workspace.is_open
        chosen = self.chosen if is_open else []
        self._ui.acceptButton.enabled = self._ui.rejectButton.enabled = bool(chosen)
        self._ui.refineButton.enabled = len(chosen) == 1
        self._ui.acceptAllButton.enabled = is_open and any(e.status == FOUND for e in self._entries)
        for button in (self._ui.previousButton, self._ui.nextButton):
            button.enabled = is_open and self._following() is not None
        self._ui.findingLabel.text = lesion_rows.findings_text(self._rows, chosen)
        self._ui.moreButton.enabled = bool(chosen)

    def _fill(self, rows: Sequence[LesionEntry]) -> None:
        before = self._rows
        if self._table.rowCount != len(rows):
            self._table.setRowCount(len(rows))
        made = 0
        for row, entry in enumerate(rows):
            is_new = self._table.item(row, NAME) is None
            was = before[row] if row < len(before) and not is_new else None
            made += is_new
            if entry == was or (is_new and made > ROWS_AT_ONCE):
                continue
            old = lesion_rows.cells(was) if was else (None,) * len(lesion_rows.COLUMNS)
            for column, text in enumerate(lesion_rows.cells(entry)):
                item = self._table.item(row, column)
                if item is None:
                    self._table.setItem(row, column, self._new_item(column, text))
                elif text != old[column]:
                    item.setText(text)
            if was is None or was.colour != entry.colour:
                self._table.item(row, NAME).setIcon(self._swatch(entry.colour))
        if made > ROWS_AT_ONCE:
            self._later.start(0)

    def _fill_on(self) -> None:
        self._is_filling = True
        try:
            self._fill(self._rows)
        finally:
            self._is_filling = False

    def _new_item(self, column: int, text: str) -> Any:
        item = qt.QTableWidgetItem(text)
        flags = qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled
        item.setFlags(flags | qt.Qt.ItemIsEditable if column == NAME else flags)
        if column > STATUS:
            item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
        return item

    def _swatch(self, colour: tuple) -> Any:
        if colour not in self._swatches:
            pixmap = qt.QPixmap(SWATCH, SWATCH)
            pixmap.fill(qt.QColor.fromRgbF(*colour))
            self._swatches[colour] = qt.QIcon(pixmap)
        return self._swatches[colour]

    # ---- choosing --------------------------------------------------------------------------

    @property
    def chosen(self) -> list[int]:
        """The ids of the lesions whose rows are selected."""
        rows = sorted({index.row() for index in self._table.selectionModel().selectedRows()})
        return [self._rows[row].lesion_id for row in rows if row < len(self._rows)]

    def choose(self, *lesion_ids: int) -> None:
        """Select lesions' rows, and show the first lesion in the views."""
        self._choose(lesion_ids)
        self._selected()

    def choose_next(self, step: int = 1) -> None:
        """Choose the next finding that has to be checked; after the last row comes the first."""
        following = self._following(step)
        if following is not None:
            self.choose(following)

    def _following(self, step: int = 1) -> int | None:
        """Return the next finding to be checked that is not chosen; None if there is none."""
        chosen = self.chosen
        lesion_ids = [entry.lesion_id for entry in self._rows]
        here = lesion_ids.index(chosen[-1]) if chosen else -1 if step > 0 else 0
        for distance in range(1, len(lesion_ids) + 1):
            entry = self._rows[(here + step * distance) % len(lesion_ids)]
            if entry.status == FOUND and entry.lesion_id not in chosen:
                return entry.lesion_id
        return None

    def _choose(self, lesion_ids: Sequence[int]) -> None:
        was_filling, self._is_filling = self._is_filling, True
        try:
            self._table.clearSelection()
            model, selection = self._table.model(), self._table.selectionModel()
            how = qt.QItemSelectionModel.Select | qt.QItemSelectionModel.Rows
            first = None
            for row, entry in enumerate(self._rows):
                if entry.lesion_id in lesion_ids:
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
            self.show_buttons()
            self.jump()

    def jump(self) -> None:
        """Show the first chosen lesion in the views."""
        chosen = self.chosen
        if chosen and self._workspace.is_open:
            self._workspace.views.follow(chosen[0])

    def _sort_by(self, column: int) -> None:
        name = lesion_rows.COLUMNS[column]
        descending = self._filter.column == name and not self._filter.descending
        self._filter = self._filter._replace(column=name, descending=descending)
        order = qt.Qt.DescendingOrder if descending else qt.Qt.AscendingOrder
        self._table.horizontalHeader().setSortIndicator(column, order)
        self.show(self._entries)

    def _filter_changed(self, *_: Any) -> None:
        index = self._ui.statusBox.currentIndex
        status = lesion_rows.STATUSES[index - 1] if index > 0 else ""
        self._filter = self._filter._replace(text=self._ui.filterBox.text, status=status)
        self.show(self._entries)

    # ---- deciding --------------------------------------------------------------------------

    def accept(self) -> None:
        """Accept the chosen findings, and choose the next one."""
        self._decide(self._workspace.commands.accept)

    def reject(self) -> None:
        """Reject the chosen findings, and choose the next one."""
        self._decide(self._workspace.commands.reject)

    def _decide(self, step: Callable[..., Any]) -> None:
        chosen = self.chosen
        if not chosen or not self._workspace.is_open:
            return
        following = self._following()
        step(*chosen)
        if following is not None:
            self.choose(following)

    def refine(self) -> None:
        """Begin to correct the chosen lesion with points."""
        chosen = self.chosen
        if len(chosen) == 1 and self._workspace.is_open:
            self._refine(chosen[0])

    def rename(self) -> None:
        """Begin to edit the chosen lesion's name in its row."""
        lesion_ids = [entry.lesion_id for entry in self._rows]
        chosen = self.chosen
        if len(chosen) == 1:
            self._table.editItem(self._table.item(lesion_ids.index(chosen[0]), NAME))

    def _accept_all(self) -> None:
        self._workspace.commands.accept()

    def _edited(self, row: int, column: int) -> None:
        if self._is_filling or column != NAME or row >= len(self._rows):
            return
        entry, item = self._rows[row], self._table.item(row, NAME)
        text = item.text().strip()
        if text and text != entry.name:
            self._rows[row] = entry._replace(name=text)
            self._workspace.commands.rename(entry.lesion_id, text)
        elif text != entry.name:
            self._is_filling = True
            item.setText(entry.name)
            self._is_filling = False

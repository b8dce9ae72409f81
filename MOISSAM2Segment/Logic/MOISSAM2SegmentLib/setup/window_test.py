"""Self test of what is seen in Slicer's main window: the lesion table, the report, the layout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import slicer

from MOISSAM2SegmentLib.scene.stored_session import TABLE
from MOISSAM2SegmentLib.setup.application_test import MODULE, main_window, panel_of_module, wait_for
from MOISSAM2SegmentLib.setup.sample_data import add_volume
from MOISSAM2SegmentLib.setup.self_test import Wait, check, click_into, give_model, small_phantom

WINDOW = (1280, 800)
"""Size of a window on a small laptop."""

ROWS_SEEN = 2
"""Rows of the lesion table that have to be seen there without scrolling."""


def run_in_window() -> list[str]:
    """Work on a phantom in the module's panel, and check what the window shows."""
    window = main_window()
    size = window.size
    window.resize(*WINDOW)
    slicer.util.selectModule(MODULE)
    panel = panel_of_module()
    wait = wait_for(panel)
    give_model(panel.engine)
    wait()
    try:
        return list(_look(panel, wait))
    finally:
        panel.workspace.end()
        panel.engine.unload()
        window.resize(size.width(), size.height())


def _look(panel: Any, wait: Wait) -> Iterator[str]:
    workspace = panel.workspace
    volume, _, places = small_phantom()
    workspace.start(add_volume(slicer.mrmlScene, volume, "Window test"))
    wait()
    for place in places:
        click_into(workspace, place, wait)
    slicer.app.processEvents()
    table = panel.ui.lesionTable
    check(table.rowCount == len(places), "the table has a row for each lesion")
    check(table.isVisible(), "the table is shown")
    seen = table.viewport().visibleRegion().boundingRect().height()
    needed = ROWS_SEEN * table.rowHeight(0)
    check(seen >= needed, f"{needed} pixels of the table's rows are seen; they are {seen}")
    yield "The lesion table is seen"

    layout = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
    before = layout.GetViewArrangement()
    panel.ui.reportButton.click()
    wait()
    slicer.app.processEvents()
    check(layout.GetViewArrangement() != before, "the layout changes for the report")
    report = workspace.work.saver.referenced(TABLE)
    check(report is not None, "the report's table is in the scene")
    view = _table_view()
    check(view.isVisible(), "the table view is shown")
    check(view.mrmlTableNode() is report, "the table view shows the report")
    check(report.GetNumberOfRows() == len(places), "the report has a row for each lesion")
    yield "The report is seen in the table view"

    panel.ui.reportButton.click()
    wait()
    check(layout.GetViewArrangement() == before, "the layout from before is back")
    yield "The layout from before is back"


def _table_view() -> Any:
    manager = slicer.app.layoutManager()
    check(manager.tableViewCount > 0, "there is a table view")
    return manager.tableWidget(0).tableView()

"""Self test of what is seen in Slicer's main window: scan, lesions, their table, the report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import slicer

from MOISSAM2SegmentLib.scene.scan_layout import SCAN, VIEW_OF_AXIS
from MOISSAM2SegmentLib.scene.slice_views import large_axis, slice_views, spread_of_scan
from MOISSAM2SegmentLib.scene.stored_session import TABLE
from MOISSAM2SegmentLib.scene.transforms import matrix_to_numpy, to_world
from MOISSAM2SegmentLib.setup.application_test import MODULE, main_window, panel_of_module, wait_for
from MOISSAM2SegmentLib.setup.sample_data import add_volume
from MOISSAM2SegmentLib.setup.self_test import Wait, check, click_into, give_model, small_phantom

WINDOW = (1280, 800)
"""Size of a window on a small laptop."""

ROWS_SEEN = 2
"""Rows of the lesion table that have to be seen there without scrolling."""

ZOOM = 6
"""A reader who looks closely, and would lose sight of most lesions."""


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
    layout = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
    own = layout.GetViewArrangement()
    volume, _, places = small_phantom()
    scan = add_volume(slicer.mrmlScene, volume, "Window test")
    workspace.start(scan, arrange_views=True)
    slicer.app.processEvents()
    wait()
    check(layout.GetViewArrangement() == SCAN, "the views are laid out for the scan")
    widths = {view.GetLayoutName(): view.GetDimensions()[0] for view in _scan_views()}
    large = VIEW_OF_AXIS[large_axis(scan)]
    check(max(widths, key=widths.get) == large, f"the view {large} is the widest; {widths}")
    corners = spread_of_scan(scan).points
    check(all(_is_seen(view, corners) for view in _scan_views()), "all of the scan is seen")
    yield "The scan is seen in its own layout"

    for place in places:
        click_into(workspace, place, wait)
    for view in _scan_views():
        view.SetFieldOfView(*(part / ZOOM for part in view.GetFieldOfView()[:2]), 1.0)
    lesion_id = workspace.entries()[-1].lesion_id
    check(workspace.views.follow(lesion_id), "the lesion is shown")
    ras = workspace.work.middle_of(workspace.state.lesion(lesion_id))
    middle = to_world(scan, ras)
    check(all(_is_seen(view, middle) for view in _scan_views()), "the lesion is seen")
    slicer.app.processEvents()
    yield "The lesion is seen in views that were zoomed"

    table = panel.ui.lesionTable
    check(table.rowCount == len(places), "the table has a row for each lesion")
    check(table.isVisible(), "the table is shown")
    seen = table.viewport().visibleRegion().boundingRect().height()
    needed = ROWS_SEEN * table.rowHeight(0)
    check(seen >= needed, f"{needed} pixels of the table's rows are seen; they are {seen}")
    yield "The lesion table is seen"

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

    workspace.end()
    check(layout.GetViewArrangement() == own, "the reader's own layout is back")
    yield "The reader's own layout is back"


def _scan_views() -> list[Any]:
    """Return the slice views of the layout for a scan."""
    names = VIEW_OF_AXIS.values()
    return [view for view in slice_views(slicer.mrmlScene) if view.GetLayoutName() in names]


def _is_seen(view: Any, places: np.ndarray) -> bool:
    """Return whether all of some places of the world lie within a view."""
    to_xy = np.linalg.inv(matrix_to_numpy(view.GetXYToRAS()))
    pixels = places @ to_xy[:2, :3].T + to_xy[:2, 3]
    return bool((pixels > -1).all() and (pixels < np.array(view.GetDimensions()[:2]) + 1).all())


def _table_view() -> Any:
    manager = slicer.app.layoutManager()
    check(manager.tableViewCount > 0, "there is a table view")
    return manager.tableWidget(0).tableView()

"""What the window shows: the layout for the scan and the reader's own, the panel in two sizes."""

from __future__ import annotations

from typing import Any
from unittest import SkipTest

import slicer
from MOISSAM2SegmentLib.scene.scan_layout import OURS, VIEW_OF_AXIS
from MOISSAM2SegmentLib.setup.self_test import check
from MOISSAM2SegmentLib.setup.window_test import ROWS_SEEN, WINDOW

from application_scenarios import mouse
from application_scenarios.reader import DESKTOP, Reader

BEFORE = ("modelBox", "scanBox", "startButton", "sampleButton")
AT_WORK = (
    "newLesionButton",
    "placeButton",
    "insideButton",
    "outsideButton",
    "undoButton",
    "redoButton",
    "searchButton",
    "acceptButton",
    "rejectButton",
    "refineButton",
    "reportButton",
)
"""Widgets that have to be seen whole, without scrolling."""
SECTION_TOLERANCE = 1


def layout(reader: Reader) -> None:
    """See the views laid out at the start, and as they were at the end."""
    reader.open()
    arrangement = _layout_node().GetViewArrangement
    own = arrangement()
    scan, places = reader.quick_scan()
    reader.start(scan)
    check(arrangement() in OURS, "the views are laid out for the scan")
    for view in VIEW_OF_AXIS.values():
        slice_widget = mouse.slice_widget_of(view)
        shown = slice_widget.mrmlSliceCompositeNode().GetBackgroundVolumeID()
        check(shown == scan.GetID(), f"the view {view} shows the scan")
    reader.step("The views are laid out for the scan")

    reader.click_into(places[0])
    reader.press("reportButton")
    reader.wait()
    check(_layout_node().GetViewArrangement() in OURS, "the table is beside the views")
    reader.step("The report's table is beside them")
    reader.press("reportButton")
    reader.wait()

    reader.choose(None)
    check(not reader.workspace.is_open, "the work has ended")
    check(arrangement() == own, f"the reader's layout {own} is back; it is {arrangement()}")
    reader.step("The reader's own layout is back")

    reader.start(scan)
    check(len(reader.workspace.state.lesions) == 1, "the work goes on")
    slicer.mrmlScene.Clear(0)
    reader.wait()
    check(arrangement() not in OURS, "our layout does not outlive the scan")
    reader.step("It is back after the scene was closed, too")


def panel_in_two_sizes(reader: Reader) -> None:
    """See all that is needed on a small laptop and on a desktop, without scrolling."""
    reader.open(WINDOW)
    scan, places = reader.quick_scan()
    reader.choose(scan)
    for size in (WINDOW, DESKTOP):
        _resize(reader, size)
        _check_seen(reader, BEFORE, size)
        reader.step(f"{_named(size)}: the choices are seen")
    reader.start(scan)
    for place in places:
        reader.click_into(place)
    for size in (WINDOW, DESKTOP):
        _resize(reader, size)
        _check_seen(reader, AT_WORK, size)
        rows = _rows_seen(reader.ui.lesionTable)
        reader.record.figure(f"rows of the table at {_named(size)}", round(rows, 1))
        check(rows >= ROWS_SEEN, f"{ROWS_SEEN} rows of the table are seen; they are {rows:.1f}")
        reader.step(f"{_named(size)}: the work is seen")


def _layout_node() -> Any:
    return slicer.app.layoutManager().layoutLogic().GetLayoutNode()


def _resize(reader: Reader, size: tuple[int, int]) -> None:
    reader.window.resize(*size)
    reader.let_pass(0.5)
    now = (reader.window.width, reader.window.height)
    if now != size:
        raise SkipTest(f"needs a screen for a window of {_named(size)}; it is {_named(now)} here")


def _check_seen(reader: Reader, names: tuple[str, ...], size: tuple[int, int]) -> None:
    hidden = []
    for name in names:
        widget = getattr(reader.ui, name)
        seen = widget.visibleRegion().boundingRect()
        missing = (widget.width - seen.width(), widget.height - seen.height())
        if not widget.isVisible() or max(missing) > SECTION_TOLERANCE:
            hidden.append(name)
    check(not hidden, f"at {_named(size)} all of these is seen: {', '.join(hidden)}")


def _rows_seen(table: Any) -> float:
    return table.viewport().visibleRegion().boundingRect().height() / table.rowHeight(0)


def _named(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"

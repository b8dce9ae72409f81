"""What happens to the work when something else is done in the middle of a search."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numpy as np
import slicer
from MOISSAM2SegmentLib.scene.transforms import to_world
from MOISSAM2SegmentLib.setup.application_test import MODULE
from MOISSAM2SegmentLib.setup.self_test import check, give_model

from application_scenarios.reader import Reader, Sample

ELSEWHERE = "Markups"
"""A module to go to when ours is left."""


def scene_closed(reader: Reader) -> None:
    """Close the scene in the middle of a search, and begin anew."""
    _search(reader)
    slicer.mrmlScene.Clear(0)
    reader.wait()
    _check_ended(reader)
    check(reader.ui.scanBox.currentNode() is None, "no scan is chosen")
    reader.step("The scene is closed")
    _begin_anew(reader, reader.quick_scan())


def scan_deleted(reader: Reader) -> None:
    """Delete the scan in the middle of a search, and begin anew with another."""
    search = _search(reader)
    slicer.mrmlScene.RemoveNode(search.node)
    reader.wait()
    _check_ended(reader)
    check(bool(reader.message), "the panel says why")
    reader.step(f"The scan is deleted. The panel says: {reader.message}")
    _begin_anew(reader, reader.quick_scan())


def segmentation_deleted(reader: Reader) -> None:
    """Delete the segmentation in the middle of a search, and get the lesions back."""
    search = _search(reader)
    mask = reader.mask(1)
    slicer.mrmlScene.RemoveNode(reader.workspace.segments_node)
    reader.wait()
    _check_ended(reader)
    check(bool(reader.message), "the panel says why")
    reader.step(f"The segmentation is deleted. The panel says: {reader.message}")
    reader.start(search.node)
    check(np.array_equal(reader.mask(1), mask), "the lesion is back")
    reader.check_segments()
    reader.step("The lesions are back in a new segmentation")


def points_deleted(reader: Reader) -> None:
    """Delete the list of points in the middle of a search, and place points on."""
    search = _search(reader)
    slicer.mrmlScene.RemoveNode(reader.workspace.points_node)
    reader.let_pass(0.5)
    search.go_on.set()
    reader.wait()
    check(reader.workspace.is_open, "the work goes on")
    check(1 in reader.workspace.state.lesions, "the lesion is still there")
    reader.step(f"The points are deleted. The panel says: {reader.message}")
    place = to_world(search.node, search.places[1])[0]
    lesion_id = reader.click_into(place)
    check(reader.points[-1].label == f"{lesion_id}+", "a point is placed in the new list")
    reader.check_segments()
    reader.step("A point is placed in a new list")


def another_scan(reader: Reader) -> None:
    """Choose and start another scan in the middle of a search, and go back to the first."""
    search = _search(reader)
    mask = reader.mask(1)
    other = reader.quick_scan()
    reader.start(other.node)
    check(not reader.workspace.state.lesions, "the other scan has no lesions yet")
    lesion_id = reader.click_into(to_world(other.node, other.places[0])[0])
    check(reader.mask(lesion_id).any(), "it can be worked on")
    reader.step("Another scan is open")
    reader.start(search.node)
    check(np.array_equal(reader.mask(1), mask), "the work on the first one is as it was")
    reader.check_segments()
    reader.step("The first scan is open again")


def reloaded(reader: Reader) -> None:
    """Reload the module in the middle of a search, and go on."""
    search = _search(reader)
    mask, before = reader.mask(1), reader.panel
    slicer.util.reloadScriptedModule(MODULE)
    check(reader.panel is not before, "there is a new panel")
    slicer.util.selectModule(ELSEWHERE)
    slicer.util.selectModule(MODULE)
    give_model(reader.panel.engine)
    reader.wait()
    reader.step("The module is reloaded")
    reader.start(search.node)
    check(np.array_equal(reader.mask(1), mask), "the lesion is still there")
    reader.check_segments()
    reader.press("searchButton")
    reader.wait()
    reader.step(f"A search works. The panel says: {reader.message}")


def module_left(reader: Reader) -> None:
    """Leave the module in the middle of a search, and come back."""
    search = _search(reader)
    slicer.util.selectModule(ELSEWHERE)
    check(reader.panel.shortcuts.keys == [], "the panel's keys are given back")
    check(not reader.ui.placeWidget.placeModeEnabled, "the mouse is given back")
    search.go_on.set()
    reader.wait()
    reader.step("The module is left; the search comes to its end")
    slicer.util.selectModule(MODULE)
    reader.wait()
    check(len(reader.panel.shortcuts.keys) > 0, "the panel's keys are there again")
    check(reader.workspace.is_open, "the scan is still open")
    check(1 in reader.workspace.state.lesions, "the lesion is still there")
    reader.check_segments()
    reader.step("The module is there again, with what was found")


class _Search(NamedTuple):
    """A search that waits in its middle until it may go on."""

    node: Any
    places: list[np.ndarray]
    go_on: threading.Event


def _search(reader: Reader) -> _Search:
    """Open the sample scan, click into a lesion, and come back in the middle of a search."""
    reader.open()
    sample = reader.sample_scan()
    reader.start(sample.node)
    reader.click_into(to_world(sample.node, sample.places[0])[0])
    reader.step("A lesion is clicked")
    go_on = reader.begin_search()
    reader.step("A search is running")
    check(reader.panel.engine.is_busy, "the search is still running")
    return _Search(*sample, go_on)


def _check_ended(reader: Reader) -> None:
    check(not reader.workspace.is_open, "the work has ended")
    check(reader.ui.lesionTable.rowCount == 0, "the table is empty")
    check(not reader.panel.engine.is_busy, "nothing is computed any more")
    check(not reader.ui.placeWidget.placeModeEnabled, "the mouse is given back")


def _begin_anew(reader: Reader, sample: Sample) -> None:
    reader.start(sample.node)
    reader.click_into(to_world(sample.node, sample.places[0])[0])
    reader.check_segments()
    reader.step("Another scan is worked on")

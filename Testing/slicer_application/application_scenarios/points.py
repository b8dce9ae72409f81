"""Points with the mouse in all slice views, and a scan under a transform."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from MOISSAM2SegmentLib.scene.transforms import to_world
from MOISSAM2SegmentLib.setup.self_test import check

from application_scenarios import mouse
from application_scenarios.reader import Reader, is_near

TURNED_BY = 20.0
TURNED = "Green"
NEAR_PIXELS = 2.0
"""How far from the pointer a point may come to lie, in pixels of the view."""
DRAGGED = 12
"""Pixels by which a point is dragged at most: further than Slicer takes for a click."""


def points_in_views(reader: Reader) -> None:
    """Place, drag and delete points with the mouse in each view, and in one that was turned."""
    reader.open()
    scan, places = reader.sample_scan()
    reader.start(scan)
    reader.step("A scan is open")
    for number, (view, world) in enumerate(zip([*mouse.VIEWS, TURNED], places, strict=True), 1):
        is_turned = number > len(mouse.VIEWS)
        name = f"{mouse.VIEWS[view]}{' and turned' if is_turned else ''}"
        if is_turned:
            mouse.turn(view, TURNED_BY)
        _place(reader, view, to_world(scan, world)[0], number)
        reader.step(f"{name}: a click places a point, which outlines a lesion")
        _drag_and_take_back(reader, view, name)
        _delete_and_take_back(reader, view, name)
    reader.check_segments()
    reader.press("placeButton")
    check(reader.ui.placeWidget.placeModeEnabled, "the button begins to place points")
    reader.press("placeButton")
    check(not reader.ui.placeWidget.placeModeEnabled, "the button ends it")
    reader.step("Placing is switched on and off")


def _place(reader: Reader, view: str, world: np.ndarray, lesion_id: int) -> None:
    mouse.look_at(view, world)
    reader.press("newLesionButton")
    check(reader.ui.placeWidget.placeModeEnabled, "a new lesion begins with placing points")
    mouse.click(view, world)
    reader.wait()
    check(len(reader.points) == lesion_id, f"there are {lesion_id} points, one more than before")
    point = reader.points[-1]
    check(
        point.label == f"{lesion_id}+", f"the point is labelled {lesion_id}+; it is {point.label}"
    )
    _check_near(view, point.world, world)
    check(reader.mask(lesion_id).any(), "the click outlines something")
    _stop_placing(reader)


def _drag_and_take_back(reader: Reader, view: str, name: str) -> None:
    before, state = reader.points[-1], reader.workspace.state
    # The views may have moved on to the middle of the lesion.
    mouse.look_at(view, before.world)
    start = mouse.pixel_of(view, before.world)
    end = _towards(start, mouse.pixel_of(view, _middle(reader.workspace.volume_node)))
    mouse.drag(view, start, end)
    reader.wait()
    _check_near(view, reader.points[-1].world, mouse.world_of(view, end))
    check(reader.workspace.state is not state, "the lesion follows its point")
    reader.step(f"{name}: a point is dragged")
    reader.press("undoButton")
    reader.wait()
    _check_near(view, reader.points[-1].world, before.world)


def _delete_and_take_back(reader: Reader, view: str, name: str) -> None:
    before = reader.points
    mouse.look_at(view, before[-1].world)
    mouse.press_delete(view, before[-1].world)
    reader.wait()
    left = [point.label for point in reader.points]
    check(left == [point.label for point in before[:-1]], f"the point is deleted; left are {left}")
    reader.step(f"{name}: a point is deleted with the key")
    reader.press("undoButton")
    reader.wait()
    check(len(reader.points) == len(before), "an undo brings the point back")


def _middle(scan: Any) -> np.ndarray:
    """Return the middle of a scan in the world."""
    bounds = np.zeros(6)
    scan.GetRASBounds(bounds)
    return bounds.reshape(3, 2).mean(axis=1)


def _towards(start: tuple[int, int], goal: tuple[int, int]) -> tuple[int, int]:
    """Return a pixel on the way to another one: what is dragged there stays in the scan."""
    way = np.subtract(goal, start)
    length = float(np.hypot(*way))
    x, y = np.add(start, way * min(1.0, DRAGGED / max(length, 1.0)))
    return round(float(x)), round(float(y))


def _stop_placing(reader: Reader) -> None:
    if reader.ui.placeButton.checked:
        reader.press("placeButton")


def _check_near(view: str, place: np.ndarray, expected: np.ndarray) -> None:
    distance = NEAR_PIXELS * mouse.pixel_size_mm(view)
    text = f"{np.round(place, 2).tolist()} is within {distance:.2f} mm of "
    check(is_near(place, expected, distance), text + str(np.round(expected, 2).tolist()))


# ---- a transform ---------------------------------------------------------------------------


def scan_under_transform(reader: Reader) -> None:
    """Work on a scan under a linear transform, harden it, and go on."""
    reader.open()
    scan, places = reader.quick_scan()
    moved = vtk.vtkTransform()
    moved.Translate(30.0, -20.0, 10.0)
    moved.RotateWXYZ(10.0, 0.3, 0.5, 0.8)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Moved")
    transform.SetMatrixTransformToParent(moved.GetMatrix())
    scan.SetAndObserveTransformNodeID(transform.GetID())
    reader.start(scan)
    worlds = [to_world(scan, place)[0] for place in places]
    _place(reader, TURNED, worlds[0], 1)
    reader.check_segments()
    reader.step("A click outlines a lesion on a scan under a transform")

    mask = reader.mask(1)
    check(scan.HardenTransform(), "the transform is hardened")
    reader.wait()
    check(reader.workspace.is_open, f"the work goes on; the panel says: {reader.message}")
    check(scan.GetTransformNodeID() is None, "the scan is under no transform any more")
    check(np.array_equal(reader.mask(1), mask), "the lesion has the same voxels")
    reader.check_segments()
    reader.step(f"The transform is hardened. The panel says: {reader.message}")

    _place_on(reader, worlds[1])
    reader.check_segments()
    reader.step("The work goes on at the same place in the world")


def _place_on(reader: Reader, world: np.ndarray) -> None:
    mouse.look_at(TURNED, world)
    count = len(reader.points)
    reader.press("newLesionButton")
    mouse.click(TURNED, world)
    reader.wait()
    check(len(reader.points) == count + 1, "a point is placed")
    _check_near(TURNED, reader.points[-1].world, world)
    lesion_id = reader.workspace.commands.active_lesion
    check(reader.mask(lesion_id).any(), "the click outlines something")
    _stop_placing(reader)

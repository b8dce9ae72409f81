"""Self tests that need the Slicer application: modules, event loop, Segment Editor, mouse.

Slicer can run without a main window. It has no views then, and no layout manager: what needs them
raises `unittest.SkipTest`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from unittest import SkipTest

import numpy as np
import slicer
import vtk

from MOISSAM2SegmentLib.scene.transforms import to_world
from MOISSAM2SegmentLib.setup import sample_data
from MOISSAM2SegmentLib.setup.error_log import bad_entries
from MOISSAM2SegmentLib.setup.sample_data import add_volume
from MOISSAM2SegmentLib.setup.self_test import (
    PATIENCE_S,
    Wait,
    check,
    give_model,
    run_storyboard,
    small_phantom,
)

MODULE = "MOISSAM2Segment"
EFFECT = "MOISSAM2"
SCRIBBLE = 1
"""The index of the effect's choice with which the mouse scribbles."""
SCRIBBLE_MM = 6.0
STEPS = 5
"""Moves of the mouse while it is dragged."""
SCAN = "vtkMRMLScalarVolumeNode"
VIEW = "Red"
LINES = 20
"""Entries of the log that are told at most."""
_PAUSE_S = 0.002


def run_sample_data() -> list[str]:
    """Press the button for our phantom in Slicer's module Sample Data; return the steps."""
    return list(_sample_data(slicer.mrmlScene))


def _sample_data(scene: Any) -> Iterator[str]:
    import SampleData

    source = SampleData.SampleDataLogic().sourceForSampleName(sample_data.NAME)
    check(source is not None, "Sample Data offers the phantom")
    widget = slicer.util.getModuleWidget("SampleData")
    button = slicer.util.findChild(widget.parent, f"{sample_data.NAME}PushButton")
    yield "Sample Data offers the phantom"

    before = slicer.util.getNodesByClass(SCAN)
    button.click()
    new = [node for node in slicer.util.getNodesByClass(SCAN) if node not in before]
    check(len(new) == 1, "the button brings a scan")
    (scan,) = new
    check(bool(slicer.util.arrayFromVolume(scan).any()), "the scan shows something")
    views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    shown = {view.GetBackgroundVolumeID() for view in views}
    check(shown <= {scan.GetID()}, "all slice views show the scan")
    scene.RemoveNode(scan)
    yield "Its button brings a scan into the views"


def check_error_log() -> list[str]:
    """Fail if our code has put anything into Slicer's error log; return what others have."""
    entries = bad_entries()
    ours = [entry.text for entry in entries if entry.is_ours]
    check(not ours, "\n".join(["the error log has nothing from us; it has:", *ours[:LINES]]))
    return [entry.text for entry in entries]


def run_in_panel() -> list[str]:
    """Run the storyboard in the workspace of the module's panel, pumped by the panel's timer."""
    panel = panel_of_module()
    try:
        return run_storyboard(panel.workspace, wait_for(panel))
    finally:
        panel.engine.unload()


def run_in_segment_editor() -> list[str]:
    """Run clicks and a scribble in a Segment Editor, with undo and redo; return the steps."""
    main_window()
    panel = panel_of_module()
    wait = wait_for(panel)
    give_model(panel.engine)
    wait()
    editor = slicer.qMRMLSegmentEditorWidget()
    try:
        return list(_clicks(panel.workspace, editor, wait))
    finally:
        # Slicer crashes at its end if such a widget is left to Python.
        editor.setActiveEffectByName("")
        editor.setMRMLSegmentEditorNode(None)
        editor.deleteLater()
        panel.workspace.end()
        panel.engine.unload()


def wait_for(panel: Any) -> Wait:
    """Return a function that runs Qt's event loop until the panel has nothing left to do."""

    def wait() -> None:
        end = time.monotonic() + PATIENCE_S
        while panel.workspace.needs_pump:
            slicer.app.processEvents()
            time.sleep(_PAUSE_S)
            check(time.monotonic() < end, "the panel comes to rest")

    return wait


def main_window() -> Any:
    """Return Slicer's main window; `unittest.SkipTest` if it runs without one."""
    window = slicer.util.mainWindow()
    if window is None:
        raise SkipTest("needs Slicer's main window")
    return window


def panel_of_module() -> Any:
    """Return the panel of the module, which is made if it was not opened yet."""
    panel = slicer.util.getModuleWidget(MODULE).panel
    check(panel.has_packages, "the packages that the engine needs are installed")
    return panel


def _clicks(workspace: Any, editor: Any, wait: Wait) -> Iterator[str]:
    from mois_core.session.scribble import CLICKS

    scene = slicer.mrmlScene
    volume, _, places = small_phantom()
    scan = add_volume(scene, volume, "Effect test")
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Effect test segments")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(scan)
    segment_id = node.GetSegmentation().AddEmptySegment("effect-test", "Mine")
    editor.setMRMLScene(scene)
    editor.setMRMLSegmentEditorNode(scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    editor.setSegmentationNode(node)
    editor.setSourceVolumeNode(scan)
    editor.setCurrentSegmentID(segment_id)
    editor.setActiveEffectByName(EFFECT)
    check(editor.activeEffect() is not None, "the Segment Editor knows the effect")
    wait()
    check(workspace.is_open and workspace.volume_node is scan, "the effect opens the scan")
    yield "The effect is chosen"

    place = to_world(scan, places[0][1])[0]
    _drag(place, place)
    wait()
    check(workspace.segments_node is node, "the work is in the user's segmentation")
    mask = workspace.session.mask(1)
    check(bool(mask.any()), "a click outlines something")
    check(np.array_equal(workspace.segments.read(segment_id), mask), "the segment shows it")
    yield "A click with the mouse fills the segment"

    editor.undo()
    wait()
    check(not workspace.state.lesions, "the editor's undo takes the lesion back")
    check(not workspace.segments.read(segment_id).any(), "and empties the segment")
    editor.redo()
    wait()
    check(np.array_equal(workspace.segments.read(segment_id), mask), "redo brings it back")
    yield "Undo and redo of the Segment Editor are followed"

    mouse = editor.activeEffect().self().mouseBox
    mouse.currentIndex = SCRIBBLE
    along = np.array([SCRIBBLE_MM / 2, 0.0, 0.0])
    _drag(place - along, place + along)
    wait()
    mouse.currentIndex = 0
    check(len(workspace.state.lesion(1).clicks) == 1 + CLICKS, "a scribble is points along it")
    mask = workspace.session.mask(1)
    check(np.array_equal(workspace.segments.read(segment_id), mask), "the segment shows it")
    yield "A scribble with the mouse corrects the segment"

    editor.setActiveEffectByName("")
    wait()
    check(np.array_equal(workspace.segments.read(segment_id), mask), "leaving changes nothing")
    yield "The effect is left"


def _drag(start: np.ndarray, end: np.ndarray) -> None:
    """Drag with the left button from a place to another in a coronal slice view, or click."""
    manager = slicer.app.layoutManager()
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    widget = manager.sliceWidget(VIEW)
    view = widget.mrmlSliceNode()
    view.SetOrientationToCoronal()
    view.JumpSliceByCentering(*start.tolist())
    slicer.app.processEvents()
    inverse = vtk.vtkMatrix4x4()
    inverse.DeepCopy(view.GetXYToRAS())
    inverse.Invert()
    seen = [inverse.MultiplyPoint((*world.tolist(), 1.0)) for world in (start, end)]
    first, last = ((round(x), round(y)) for x, y, _, _ in seen)
    slicer.util.clickAndDrag(widget, start=first, end=last, steps=1 if first == last else STEPS)

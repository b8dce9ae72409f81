"""Comparing with an earlier scan: side by side, linked, lesion by lesion, and back."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import slicer
from MOISSAM2SegmentLib.scene.scan_layout import (
    COMPARISON,
    COMPARISON_AND_TABLE,
    EARLIER,
    layout_node,
)
from MOISSAM2SegmentLib.scene.transforms import from_world, matrix_to_numpy
from MOISSAM2SegmentLib.setup.self_test import check

from application_scenarios import mouse
from application_scenarios.load import FREEZE_S, Pauses
from application_scenarios.reader import Reader

SEED = 100_005
SIZE, SLICES, LESIONS = (256, 80), 20, 12
NEAR_MM, SAME_MM = 3.0, 0.01
LEFT_OUT = 2
SCROLLED_MM = 15.6
SHOWN = 5
LARGE = "Green"
"""The view of the open scan that has its own plane."""


class Visits(NamedTuple):
    """Two scans of a patient in the scene, and the lesions of the earlier one."""

    earlier: Any
    segments: Any
    now: Any
    labels: np.ndarray
    """The lesions of the later scan, in the order of its node."""


def earlier_scan(reader: Reader) -> None:
    """Compare, go through lesions, scroll, propose, show the table, and end."""
    reader.open()
    own = layout_node(slicer.mrmlScene).GetViewArrangement()
    visits = add_visits()
    reader.start(visits.now)
    labels = np.where(visits.labels <= visits.labels.max() - LEFT_OUT, visits.labels, 0)
    reader.workspace.work.run("Outline", lambda session, *_: session.add_lesions(labels))
    reader.wait()
    arranged = layout_node(slicer.mrmlScene).GetViewArrangement()
    reader.press("changeButton")
    reader.ui.compareSection.collapsed = False
    reader.ui.earlierScanBox.setCurrentNode(visits.earlier)
    chosen = reader.ui.earlierLesionsBox.currentNode()
    check(chosen is visits.segments, "the lesions come along with their scan")
    reader.let_pass(0.3)
    check(not reader.ui.uncheckedButton.isVisible(), "nothing was refused")
    reader.step("The earlier scan and its lesions are chosen")

    with Pauses() as pauses:
        reader.press("compareButton")
        reader.wait()
    reader.record.figure("pauses while scans are compared", pauses.text)
    check(pauses.longest_s < FREEZE_S, f"the window never stands still; it did {pauses.text}")
    comparison = reader.workspace.comparison
    check(comparison.result is not None, f"they are compared; the panel says: {reader.message}")
    quality = comparison.result.registration.quality
    reader.record.figure("correlation after the registration", round(quality.correlation, 3))
    check_side_by_side(visits)
    reader.step(f"Both scans are side by side. The panel says: {reader.message}")

    check_linked()
    reader.step("Scrolling one scan scrolls the other one")
    for _ in range(min(SHOWN, len(comparison.result.changes))):
        reader.press_key("J")
        check_same_place(reader, visits)
    reader.step(f"J goes on. The panel says: {reader.ui.comparisonLabel.text}")

    reader.press("reportButton")
    reader.wait()
    shown = layout_node(slicer.mrmlScene).GetViewArrangement()
    check(shown == COMPARISON_AND_TABLE, "the table is below both scans")
    reader.step("The comparison is a table, too")
    reader.press("reportButton")

    count = len(reader.workspace.state.lesions)
    reader.press("proposeButton")
    reader.wait()
    check(len(reader.workspace.state.lesions) > count, "missing lesions are proposed")
    check(reader.ui.lesionTable.isVisible(), "they are in the list of lesions")
    reader.step(f"Missing lesions are proposed. The panel says: {reader.message}")

    reader.press("changeButton")
    reader.press("endComparisonButton")
    reader.wait()
    check(layout_node(slicer.mrmlScene).GetViewArrangement() == arranged, "the layout is back")
    check(visits.earlier.GetTransformNodeID() is None, "the earlier scan lies where it lay")
    check(visits.segments.GetDisplayNode().GetVisibility(), "its lesions are drawn again")
    reader.step("The end brings everything back")

    reader.choose(None)
    check(
        layout_node(slicer.mrmlScene).GetViewArrangement() == own, "so is the reader's own layout"
    )


def add_visits() -> Visits:
    """Add phantoms of two visits, the earlier one with its lesions as segments."""
    from MOISSAM2SegmentLib.scene.transforms import numpy_to_matrix, right_handed

    from mois_core.geometry import Volume
    from mois_core.phantom import make_follow_up, make_phantom

    def add(phantom: Any, array: np.ndarray, kind: str, name: str) -> Any:
        volume = right_handed(Volume(array, phantom.ijk_to_ras))
        node = slicer.mrmlScene.AddNewNodeByClass(kind, name)
        slicer.util.updateVolumeFromArray(node, volume.array)
        node.SetIJKToRASMatrix(numpy_to_matrix(volume.ijk_to_ras))
        return node

    scan, label_map = "vtkMRMLScalarVolumeNode", "vtkMRMLLabelMapVolumeNode"
    first = make_phantom(SEED, size=SIZE, slices=SLICES, lesions=LESIONS)
    second, _ = make_follow_up(first, 1, posture=0.7)
    earlier = add(first, first.scan, scan, "Earlier")
    earlier.CreateDefaultDisplayNodes()
    now = add(second, second.scan, scan, "Now")
    now.CreateDefaultDisplayNodes()
    outlined = add(first, first.instances.astype(np.int16), label_map, "labels")
    segments = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Earlier lesions")
    segments.CreateDefaultDisplayNodes()
    segments.SetReferenceImageGeometryParameterFromVolumeNode(earlier)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    check(logic.ImportLabelmapToSegmentationNode(outlined, segments), "the lesions are segments")
    slicer.mrmlScene.RemoveNode(outlined)
    labels = right_handed(Volume(second.instances, second.ijk_to_ras)).array
    return Visits(earlier, segments, now, labels)


def check_side_by_side(visits: Visits) -> None:
    """Check that both scans are shown, each in its views, and their lesions on them only."""
    arrangement = layout_node(slicer.mrmlScene).GetViewArrangement()
    check(arrangement == COMPARISON, "the layout is that of a comparison")
    for axis, own in (("coronal", "Green"), ("axial", "Red")):
        for view, scan in ((EARLIER[axis], visits.earlier), (own, visits.now)):
            shown = slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(mouse.slice_node_of(view))
            check(shown.GetBackgroundVolumeID() == scan.GetID(), f"{view} shows its scan")
            check(bool(shown.GetLinkedControl()), f"{view} is linked")


def check_linked() -> None:
    """Check that the earlier scan follows the slider of the open one."""
    here, there = mouse.slice_node_of(LARGE), mouse.slice_node_of(EARLIER["coronal"])
    before = there.GetSliceOffset()
    logic = mouse.slice_widget_of(LARGE).sliceLogic()
    logic.StartSliceOffsetInteraction()
    logic.SetSliceOffset(here.GetSliceOffset() + SCROLLED_MM)
    logic.EndSliceOffsetInteraction()
    slicer.app.processEvents()
    moved = there.GetSliceOffset() - before
    check(abs(moved - SCROLLED_MM) < SAME_MM, f"the earlier scan follows; it moved by {moved} mm")


def check_same_place(reader: Reader, visits: Visits) -> None:
    """Check that the middle of both large views is one place, as the registration tells."""
    middles = []
    for view in (EARLIER["coronal"], LARGE):
        node = mouse.slice_node_of(view)
        size = np.array(node.GetDimensions()[:2]) / 2
        middles.append((matrix_to_numpy(node.GetXYToRAS()) @ (*size, 0, 1))[:3])
    apart = float(np.linalg.norm(middles[0] - middles[1]))
    check(apart < NEAR_MM, f"both views show one place of the scene; they are {apart:.2f} mm apart")
    place = from_world(visits.now, middles[1])
    expected = reader.workspace.comparison.result.registration.ras_in_earlier(place)[0]
    off = float(np.linalg.norm(from_world(visits.earlier, middles[0])[0] - expected))
    check(off < NEAR_MM, f"it is the place that the registration tells; it is {off:.2f} mm off")

"""Tests of regions that limit a search, and of exemplars that are read from segmentations."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import slicer
import vtk
from compared_scans import segments_of
from engine_fixtures import CORONAL, FIRST, SECOND, THIRD, painted, scan_of
from MOISSAM2SegmentLib.scene.exemplar_segments import outlined_segments
from MOISSAM2SegmentLib.scene.regions import region_of
from MOISSAM2SegmentLib.scene.transforms import right_handed, view_of
from MOISSAM2SegmentLib.worker.jobs import Job
from scans import (
    MOST_S,
    clinical_scan_node,
    linear_transform,
    place,
    scan_node,
    settle,
    timed,
    volume_node,
    warp,
    world_of,
)

from mois_core.errors import BadInput
from mois_core.geometry import Volume


def roi(scene, centre, size, transform=None):
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    node.SetXYZ(*np.asarray(centre, dtype=float).tolist())
    node.SetSize(*size)
    if transform is not None:
        node.SetAndObserveTransformNodeID(transform.GetID())
    return node


def in_region(roi_node, volume_node_) -> np.ndarray:
    """Return the voxels that lie in a region according to Slicer itself."""
    volume = view_of(volume_node_)
    parent = volume_node_.GetParentTransformNode()
    to_world = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(parent, None, to_world)
    planes = vtk.vtkPlanes()
    roi_node.GetTransformedPlanes(planes)
    inside = np.zeros(volume.array.shape, dtype=bool)
    for k, j, i in np.ndindex(*inside.shape):
        ras = volume.ijk_to_ras @ (i, j, k, 1)
        inside[k, j, i] = planes.EvaluateFunction(to_world.TransformPoint(ras[:3].tolist())) <= 0
    return inside


@pytest.mark.parametrize("scan_under", ["nothing", "linear", "warp"])
@pytest.mark.parametrize("roi_under", ["nothing", "linear"])
def test_a_region_is_the_voxels_that_slicer_says_lie_in_it(
    a_scene, a_volume_node, scan_under, roi_under
):
    if scan_under != "nothing":
        transform = linear_transform(a_scene) if scan_under == "linear" else warp(a_scene)
        a_volume_node.SetAndObserveTransformNodeID(transform.GetID())
    turned = linear_transform(a_scene, shift=(1, 2, 3), degrees=30)
    node = roi(a_scene, (-8, 40, -9), (9.3, 50.1, 11.7), turned if roi_under == "linear" else None)
    if scan_under == "linear":
        node.SetXYZ(20, 30, 10)
        node.SetSize(40, 60, 40)

    mask = region_of(node, a_volume_node).mask()

    expected = in_region(node, a_volume_node)
    assert expected.any() and not expected.all()
    assert (mask != expected).mean() <= (0 if scan_under != "warp" else 0.001)
    node.SetInsideOut(True)
    assert np.array_equal(region_of(node, a_volume_node).mask(), ~mask)


def test_a_search_keeps_to_its_regions(an_open_workspace):
    workspace = an_open_workspace
    place(workspace, FIRST)
    settle(workspace)
    around = [roi(workspace.scene, world_of(workspace, *b.middle), (12, 60, 12)) for b in (SECOND,)]

    found = []
    workspace.commands.find_similar(inside=around, then=found.append)
    settle(workspace)
    assert len(found[0]) == 1
    assert workspace.session.lesion(found[0][0]).mask.voxels == SECOND.voxels
    workspace.commands.find_similar(outside=around, then=found.append)
    settle(workspace)
    assert [workspace.session.lesion(n).mask.voxels for n in found[1]] == [THIRD.voxels]
    workspace.commands.find_similar(inside=around, outside=around)
    settle(workspace)
    assert "nothing of the scan" in workspace.messages[-1]


def outlined(scene, scan, block, name="outlined"):
    """Return a segmentation with one segment, on the scan's own grid."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.SetReferenceImageGeometryParameterFromVolumeNode(scan)
    segment_id = node.GetSegmentation().AddEmptySegment("own", "Tumour")
    mask = painted(block)
    if scan.GetTransformNodeID():
        node.SetAndObserveTransformNodeID(scan.GetTransformNodeID())
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, segment_id, scan)
    return node


def test_segments_on_the_scan_serve_as_exemplars(an_open_workspace):
    workspace = an_open_workspace
    node = outlined(workspace.scene, workspace.volume_node, SECOND)
    counts, found = [], []

    workspace.commands.add_exemplars(node, then=counts.append)
    workspace.commands.find_similar(then=found.extend)
    settle(workspace)

    assert counts == [1]
    assert len(found) == 3
    workspace.commands.delete(*found)
    workspace.commands.clear_exemplars()
    workspace.commands.find_similar()
    settle(workspace)
    assert "nothing to search for" in workspace.messages[-1]


@pytest.mark.parametrize("moved", [False, True])
def test_segments_on_an_earlier_scan_serve_as_exemplars(an_open_workspace, moved):
    workspace = an_open_workspace
    earlier = scan_node(workspace.scene, FIRST)
    if moved:
        earlier.SetAndObserveTransformNodeID(linear_transform(workspace.scene).GetID())
    node = outlined(workspace.scene, earlier, FIRST)
    found = []

    workspace.commands.add_exemplars(node, ["own"], earlier)
    workspace.commands.find_similar(then=found.extend)
    settle(workspace)

    assert workspace.messages == []
    assert len(found) == 3


def test_a_scan_with_exemplars_is_copied_on_the_worker_as_it_is_then(
    an_open_workspace, an_engine, monkeypatch
):
    workspace = an_open_workspace
    earlier = scan_node(workspace.scene, FIRST)
    node = outlined(workspace.scene, earlier, FIRST)
    given = []
    monkeypatch.setattr(
        workspace.session, "add_exemplars", lambda labels, volume: given.append(volume)
    )
    is_free = threading.Event()
    an_engine.worker.submit(Job("Other work", lambda *how: is_free.wait(5)))
    workspace.commands.add_exemplars(node, ["own"], earlier)
    slicer.util.arrayFromVolume(earlier)[0] += 1
    slicer.util.arrayFromVolumeModified(earlier)
    is_free.set()
    settle(workspace)

    voxels = view_of(earlier).array
    assert np.array_equal(given[0].array, voxels)
    assert not np.shares_memory(given[0].array, voxels)


def test_where_segments_overlap_the_later_one_is_the_exemplar(a_scene, a_volume_node):
    node = outlined(a_scene, a_volume_node, FIRST)
    both = painted(FIRST) + painted(SECOND)
    for name, mask in (("second", painted(SECOND)), ("both", both)):
        segment_id = node.GetSegmentation().AddEmptySegment(name, name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            mask.astype(np.uint8), node, segment_id, a_volume_node
        )

    labels = outlined_segments(node, a_volume_node, ["second", "both", "own"]).labels()

    expected = 2 * painted(SECOND).astype(np.uint16) + 3 * painted(FIRST)
    assert np.array_equal(labels, right_handed(Volume(expected, CORONAL)).array)


@pytest.mark.alone
def test_reading_a_hundred_segments_does_not_hold_the_main_thread(a_scene):
    scan = clinical_scan_node(a_scene, FIRST)
    labels = np.zeros(slicer.util.arrayFromVolume(scan).shape, dtype=np.uint16)
    for value in range(1, 101):
        labels[value % 40, 3 * value : 3 * value + 2, 20:300] = value
    node = segments_of(a_scene, scan, labels)
    read = []

    turn = timed(lambda: read.append(outlined_segments(node, scan)))

    assert np.array_equal(read[0].labels(), labels)
    print(f"{1000 * turn.worked:.1f} ms")
    assert turn.worked < MOST_S


def test_segments_are_read_on_the_scans_grid_and_refused_in_words(a_scene, a_volume_node):
    node = outlined(a_scene, a_volume_node, FIRST)
    labels = outlined_segments(node, a_volume_node).labels()
    expected = right_handed(Volume(painted(FIRST).astype(np.uint16), CORONAL)).array
    assert np.array_equal(labels, expected)

    empty = a_scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    empty.GetSegmentation().AddEmptySegment("nothing")
    with pytest.raises(BadInput, match="empty"):
        outlined_segments(empty, a_volume_node).labels()
    node.SetAndObserveTransformNodeID(linear_transform(a_scene).GetID())
    with pytest.raises(BadInput, match="transform"):
        outlined_segments(node, a_volume_node).labels()


def test_surfaces_are_read_too_and_left_as_they_are(a_scene, a_volume_node):
    """As a file of surfaces (.stl) brings them: Slicer makes no labelmaps of them by itself."""
    surfaces = "Closed surface"
    drawn = outlined(a_scene, a_volume_node, FIRST)
    wanted = outlined_segments(drawn, a_volume_node).labels()
    drawn.CreateClosedSurfaceRepresentation()
    surface = vtk.vtkPolyData()
    drawn.GetClosedSurfaceRepresentation("own", surface)
    node = a_scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.GetSegmentation().SetSourceRepresentationName(surfaces)
    node.AddSegmentFromClosedSurfaceRepresentation(surface, "Tumour", [1, 0, 0])
    assert not node.GetSegmentation().ContainsRepresentation("Binary labelmap")

    labels = outlined_segments(node, a_volume_node).labels()

    both = np.logical_and(labels, wanted).sum()
    assert 2 * both / (np.count_nonzero(labels) + np.count_nonzero(wanted)) > 0.7
    assert not node.GetSegmentation().ContainsRepresentation("Binary labelmap")


def test_what_is_no_scan_is_refused_in_words(a_scene, a_workspace):
    empty = a_scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "leer")
    with pytest.raises(BadInput, match="leer has no image"):
        a_workspace.start(empty)
    colour = a_scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "RGB")
    slicer.util.updateVolumeFromArray(colour, np.zeros((3, 4, 5, 3), dtype=np.uint8))
    with pytest.raises(BadInput, match="dimensions"):
        a_workspace.start(colour)
    assert not a_workspace.is_open
    flat = volume_node(a_scene, scan_of(slices=1), CORONAL)
    a_workspace.start(flat)
    settle(a_workspace)
    assert a_workspace.is_open

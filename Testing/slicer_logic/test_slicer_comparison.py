"""Comparing the open scan with an earlier one, on phantoms of two visits and the stub network."""

from __future__ import annotations

import csv
import json
import threading

import numpy as np
import pytest
import slicer
from compared_scans import (
    Reader,
    composite,
    labels_of_visit,
    picture_of,
)
from MOISSAM2SegmentLib.scene.scan_layout import COMPARISON, EARLIER, SCAN
from MOISSAM2SegmentLib.scene.segment_tags import uid_of
from MOISSAM2SegmentLib.scene.transforms import from_world, matrix_to_numpy, to_world
from MOISSAM2SegmentLib.worker.jobs import Job
from scans import MOST_S, linear_transform, settle


def test_lesions_are_told_with_their_volumes_on_the_scans_own_voxels(a_reader):
    a_reader.compare()

    assert a_reader.workspace.messages == []
    sizes = [np.bincount(labels_of_visit(visit).ravel()) for visit in (0, 1)]
    voxel_cm3 = a_reader.workspace.session.volume.voxel_volume_cm3
    told = 0
    for course in a_reader.comparison.result.follow_up.courses:
        for position, value in course.labels.items():
            volume = a_reader.comparison.result.follow_up.volume_cm3(course, position)
            assert volume == pytest.approx(sizes[position][value] * voxel_cm3, rel=1e-9)
            told += 1
    assert told > 12
    gone = [row for row in a_reader.rows().values() if row.change == "gone"]
    assert {int(row.name.removeprefix("Tumour ")) for row in gone} >= set(a_reader.left_out)


def test_the_registration_is_kept_while_lesions_are_edited(a_reader, registrations):
    a_reader.compare()
    assert a_reader.comparison.is_current
    lesion_id = next(iter(a_reader.workspace.state.lesions))
    a_reader.workspace.commands.delete(lesion_id)
    settle(a_reader.workspace)
    assert not a_reader.comparison.is_current

    a_reader.compare()

    assert a_reader.comparison.is_current
    assert len(registrations) == 1
    voxels = slicer.util.arrayFromVolume(a_reader.earlier)
    voxels[0, 0, 0] += 1
    a_reader.compare()
    assert len(registrations) == 2


# ---- views -------------------------------------------------------------------------------------


def views(reader, axis: str = "coronal"):
    there = reader.scene.GetSingletonNode(EARLIER[axis], "vtkMRMLSliceNode")
    here = {"coronal": "Green", "axial": "Red"}[axis]
    return there, reader.scene.GetSingletonNode(here, "vtkMRMLSliceNode")


def test_both_scans_are_side_by_side_in_linked_views(a_reader, a_linked_window):
    a_reader.compare()

    assert a_linked_window.arrangement == COMPARISON
    assert a_linked_window.shown() == ["EarlierCoronal", "Green", "EarlierAxial", "Red"]
    for axis in ("coronal", "axial"):
        there, here = views(a_reader, axis)
        assert composite(there).GetBackgroundVolumeID() == a_reader.earlier.GetID()
        assert composite(here).GetBackgroundVolumeID() == a_reader.scan.GetID()
        assert composite(there).GetLinkedControl() and composite(here).GetLinkedControl()
        # Slicer links views of one group that look in the same direction.
        turned = [matrix_to_numpy(view.GetSliceToRAS())[:3, :3] for view in (there, here)]
        assert turned[0] == pytest.approx(turned[1], abs=1e-6)
        assert there.GetViewGroup() == here.GetViewGroup()


def test_who_scrolls_one_scan_scrolls_the_other_one_too(a_reader, a_linked_window):
    """By Slicer's own logics, as its slider and the mouse wheel do."""
    a_reader.compare()
    there, here = views(a_reader)
    a_linked_window.lay_out()
    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLScene(a_reader.scene)
    logic.SetSliceNode(here)
    before = there.GetSliceOffset()
    assert before == pytest.approx(here.GetSliceOffset())

    logic.StartSliceOffsetInteraction()
    logic.SetSliceOffset(before + 15.6)
    logic.EndSliceOffsetInteraction()

    assert here.GetSliceOffset() == pytest.approx(before + 15.6)
    assert there.GetSliceOffset() == pytest.approx(before + 15.6)
    logic.SetMRMLScene(None)


def test_a_lesion_is_in_the_middle_of_the_views_on_both_scans(a_reader):
    a_reader.compare()
    result = a_reader.comparison.result
    for course in result.follow_up.courses:
        a_reader.comparison.show(course.number)
        there, here = views(a_reader)
        centres = [
            (
                matrix_to_numpy(view.GetXYToRAS())
                @ (*(n / 2 for n in view.GetDimensions()[:2]), 0, 1)
            )
            for view in (there, here)
        ]
        assert centres[0] == pytest.approx(centres[1], abs=1.0)
        # What is in the middle of the left view is the earlier place that the registration tells.
        own = np.linalg.inv(_to_world_matrix(a_reader.earlier)) @ centres[0]
        place = from_world(a_reader.scan, centres[1][None, :3])
        expected = result.registration.ras_in_earlier(place)[0]
        assert own[:3] == pytest.approx(expected, abs=1.5)
        if set(course.labels) == {0, 1}:
            row = result.follow_up.points[0].rows[course.labels[0]]
            middle = (row.centroid_r, row.centroid_a, row.centroid_s)
            assert np.linalg.norm(own[:3] - middle) < max(25.0, row.diameter_mm)
    assert a_reader.comparison.current == course.number


def _to_world_matrix(node) -> np.ndarray:
    points = np.vstack([np.zeros(3), np.eye(3)])
    world = to_world(node, points)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = (world[1:] - world[0]).T, world[0]
    return matrix


def test_a_scan_under_a_transform_is_compared_where_it_is(a_reader):
    transform = linear_transform(a_reader.scene)
    a_reader.scan.SetAndObserveTransformNodeID(transform.GetID())
    settle(a_reader.workspace)

    test_a_lesion_is_in_the_middle_of_the_views_on_both_scans(a_reader)


def test_a_lesion_has_the_same_colour_on_both_scans(a_reader):
    a_reader.compare()
    display = a_reader.segments.GetNthDisplayNode(1)
    own = a_reader.segments.GetNthDisplayNode(0)
    compared = 0
    for course in a_reader.comparison.result.follow_up.courses:
        if set(course.labels) == {0, 1}:
            segment_id = segment_of_value(a_reader.segments, course.labels[0])
            present = a_reader.workspace.segments.index.segment(course.labels[1]).GetColor()
            assert display.GetSegmentColor(segment_id) == pytest.approx(present)
            compared += 1
    assert compared > 5
    assert display.GetVisibility() and not own.GetVisibility()
    earlier_views = {views(a_reader, axis)[0].GetID() for axis in ("coronal", "axial")}
    assert set(display.GetViewNodeIDs()) == earlier_views
    present_display = a_reader.workspace.segments_node.GetDisplayNode()
    a_reader.comparison.show(a_reader.comparison.result.changes[0].lesion)
    assert earlier_views.isdisjoint(present_display.GetViewNodeIDs())
    assert present_display.GetNumberOfViewNodeIDs() > 0


def segment_of_value(node, value: int) -> str:
    segmentation = node.GetSegmentation()
    return next(
        segment_id
        for segment_id in segmentation.GetSegmentIDs()
        if segmentation.GetSegment(segment_id).GetName() == f"Tumour {value}"
    )


@pytest.mark.parametrize("arranged", [True, False])
def test_the_end_leaves_everything_as_it_was(a_reader, a_linked_window, arranged):
    if arranged:
        a_reader.workspace.views.arrange(a_reader.scan)
    settle(a_reader.workspace)
    a_linked_window.lay_out()
    layout, before = a_linked_window.arrangement, picture_of(a_reader)
    assert (layout == SCAN) is arranged
    a_reader.compare()
    a_reader.comparison.show(a_reader.comparison.result.changes[0].lesion)
    assert picture_of(a_reader) != before

    a_reader.comparison.end()

    assert a_linked_window.arrangement == layout
    assert picture_of(a_reader) == before
    assert a_reader.comparison.result is None


def test_the_end_of_the_work_ends_the_comparison(a_reader, a_linked_window):
    layout, before = a_linked_window.arrangement, picture_of(a_reader)
    a_reader.compare()
    segments, points = a_reader.workspace.segments_node, a_reader.workspace.points_node
    a_reader.workspace.end()

    assert a_linked_window.arrangement == layout
    assert a_reader.earlier.GetTransformNodeID() == before["transforms"][0]
    for node in (segments, points):
        assert node.GetDisplayNode().GetNumberOfViewNodeIDs() == 0


def test_a_scene_that_is_saved_meanwhile_keeps_nothing_of_the_views(a_reader, tmp_path):
    a_reader.compare()
    a_reader.comparison.show(a_reader.comparison.result.changes[0].lesion)
    count = a_reader.segments.GetSegmentation().GetNumberOfSegments()
    bundle = tmp_path / "scene.mrb"
    scene = a_reader.scene
    assert scene.WriteToMRB(str(bundle))
    assert a_reader.comparison.result is not None
    scene.Clear(0)
    assert scene.ReadFromMRB(str(bundle))

    (earlier,) = [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene)
        if node.GetName() == "earlier"
    ]
    (segments,) = [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode", scene)
        if node.GetName() == "earlier lesions"
    ]
    assert earlier.GetTransformNodeID() is None
    assert earlier.GetParentTransformNode() is None
    assert segments.GetParentTransformNode() is None
    assert scene.GetNumberOfNodesByClass("vtkMRMLTransformNode") == 0
    assert segments.GetSegmentation().GetNumberOfSegments() == count
    assert segments.GetDisplayNode().GetNumberOfViewNodeIDs() == 0
    a_reader.workspace.start(slicer.util.getNode("now"))
    settle(a_reader.workspace)
    for node in (a_reader.workspace.segments_node, a_reader.workspace.points_node):
        assert node.GetDisplayNode().GetNumberOfViewNodeIDs() == 0


def test_a_scan_that_is_removed_while_it_is_registered_is_said(a_reader):
    a_reader.comparison.compare(a_reader.earlier, a_reader.segments)
    a_reader.scene.RemoveNode(a_reader.earlier)
    settle(a_reader.workspace)
    assert a_reader.comparison.result is None
    assert "removed" in a_reader.workspace.messages[-1]
    assert a_reader.workspace.is_open


@pytest.mark.parametrize("which", ["earlier", "segments"])
def test_a_removed_earlier_scan_ends_the_comparison_and_nothing_else(
    a_reader, a_linked_window, which
):
    layout = a_linked_window.arrangement
    a_reader.compare()
    lesions = len(a_reader.workspace.state.lesions)
    a_reader.scene.RemoveNode(getattr(a_reader, which))
    settle(a_reader.workspace)

    assert a_reader.comparison.result is None
    assert "comparison ended" in a_reader.workspace.messages[-1]
    assert len(a_reader.workspace.state.lesions) == lesions
    assert a_linked_window.arrangement == layout


def test_a_scene_that_closes_ends_the_comparison(a_reader):
    a_reader.compare()
    a_reader.scene.Clear(0)
    settle(a_reader.workspace)
    assert a_reader.comparison.result is None
    assert not a_reader.workspace.is_open


def test_without_a_window_lesions_are_compared_all_the_same(a_workspace, a_scene, registrations):
    reader = Reader(a_workspace, a_scene)
    assert len(reader.compare().changes) > 10
    reader.comparison.show(reader.comparison.result.changes[0].lesion)
    reader.comparison.end()
    assert reader.earlier.GetTransformNodeID() is None


# ---- proposals and identity --------------------------------------------------------------------


def test_lesions_carry_what_they_are_known_by_to_the_next_comparison(a_reader):
    courses = [c for c in a_reader.compare().follow_up.courses if 1 in c.labels]
    uids = {course.labels[1]: course.uid for course in courses}

    workspace, segments = a_reader.workspace, a_reader.workspace.segments
    assert {n: lesion.uid for n, lesion in workspace.state.lesions.items()} == uids
    assert {n: uid_of(segments.index.segment(n)) for n in segments.index.lesions()} == uids
    again = [c for c in a_reader.compare().follow_up.courses if 1 in c.labels]
    assert {course.labels[1]: course.uid for course in again} == uids

    workspace.end()
    workspace.start(a_reader.scan)
    settle(workspace)
    assert {n: lesion.uid for n, lesion in workspace.state.lesions.items()} == uids


def test_the_comparison_is_no_step_that_undo_takes_back(a_reader):
    before = a_reader.workspace.commands.undo_name
    a_reader.compare()
    assert a_reader.workspace.commands.undo_name == before
    assert a_reader.workspace.commands.script().is_complete is False  # the outlines themselves
    assert "Compare" not in a_reader.workspace.commands.script().text


def test_lesions_that_are_not_found_yet_are_proposed_as_findings(a_reader):
    a_reader.compare()
    workspace = a_reader.workspace
    missing = a_reader.comparison.result.missing
    before = set(workspace.state.lesions)
    proposed: list[int] = []

    a_reader.comparison.propose(proposed.extend)
    settle(workspace)

    assert workspace.messages == []
    before_uids = {a_reader.comparison.result.follow_up.points[0].uid(value) for value in missing}
    assert {workspace.state.lesions[n].uid for n in proposed} <= before_uids
    assert proposed and set(proposed) == set(workspace.state.lesions) - before
    assert len(proposed) <= len(missing)
    lesions = [workspace.state.lesions[n] for n in proposed]
    assert {lesion.status.value for lesion in lesions} == {"found"}
    assert {lesion.name for lesion in lesions} <= {f"Tumour {value}" for value in missing}
    workspace.commands.accept(*proposed)
    settle(workspace)
    result = a_reader.compare()
    assert set(result.missing) <= set(missing) - {
        result.course(row.lesion).labels[0]
        for row in result.changes
        if result.course(row.lesion).labels.get(1) in proposed
    }
    assert all(workspace.state.lesions[n].uid for n in proposed)


def test_a_new_scan_can_be_begun_with_the_earlier_lesions_alone(
    a_workspace, a_scene, registrations
):
    reader = Reader(a_workspace, a_scene)
    everything = list(a_workspace.state.lesions)
    a_workspace.commands.delete(*everything)
    settle(a_workspace)
    result = reader.compare()
    assert {row.change for row in result.changes} == {"gone"}
    reader.comparison.propose()
    settle(a_workspace)
    assert len(a_workspace.state.lesions) > 5
    assert a_workspace.commands.undo_name == "propose lesions"


# ---- results -----------------------------------------------------------------------------------


def test_the_comparison_is_a_table_of_the_scene(a_reader):
    a_reader.compare()
    node = a_reader.comparison.table()

    table, rows = node.GetTable(), list(a_reader.rows().values())
    assert table.GetNumberOfRows() == len(rows)
    wanted = {
        "then_cm3", "now_cm3", "best_cm3", "difference_cm3", "percent", "percent_low",
        "percent_high", "change", "uid", "response",
    }  # fmt: skip
    names = [table.GetColumnName(n) for n in range(table.GetNumberOfColumns())]
    assert wanted <= set(names)
    for n, row in enumerate(rows):
        then = table.GetColumnByName("then_cm3").GetValue(n)
        assert np.isnan(then) if row.then_cm3 is None else then == pytest.approx(row.then_cm3)
        assert table.GetColumnByName("change").GetValue(n) == row.change
    assert "correlation" in node.GetDescription()
    assert a_reader.comparison.table() is node
    assert a_reader.comparison.result.registration.quality.correlation > 0.7


def test_the_comparison_is_written_as_a_table_and_as_a_picture(a_reader, tmp_path):
    a_reader.compare()
    written: list[str] = []
    for ending in ("csv", "json", "png"):
        a_reader.comparison.write(str(tmp_path / f"change.{ending}"), written.append)
        settle(a_reader.workspace)

    assert len(written) == 3
    with open(tmp_path / "change.csv", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(a_reader.rows())
    assert json.loads((tmp_path / "change.json").read_text("utf-8"))["counts"]
    assert (tmp_path / "change.png").read_bytes()[:4] == b"\x89PNG"


def test_a_file_that_cannot_be_written_is_said(a_reader, tmp_path):
    a_reader.compare()
    a_reader.comparison.write(str(tmp_path / "no folder" / "change.csv"))
    settle(a_reader.workspace)
    assert a_reader.workspace.messages


# ---- the worker --------------------------------------------------------------------------------


@pytest.fixture
def a_slow_reader(a_workspace, a_scene, a_linked_window):
    return Reader(a_workspace, a_scene)


def test_an_earlier_scan_is_copied_on_the_worker_as_it_is_when_its_turn_comes(a_reader):
    """On a slow computer to copy it holds up the window."""
    is_free = threading.Event()
    a_reader.workspace.engine.worker.submit(Job("Other work", lambda *how: is_free.wait(5)))
    a_reader.comparison.compare(a_reader.earlier, a_reader.segments)
    voxels = slicer.util.arrayFromVolume(a_reader.earlier)
    voxels[0] += 1
    slicer.util.arrayFromVolumeModified(a_reader.earlier)
    segment_id = a_reader.segments.GetSegmentation().GetNthSegmentID(0)
    labels = slicer.util.arrayFromSegmentInternalBinaryLabelmap(a_reader.segments, segment_id)
    labels[labels == 1] = 0
    is_free.set()
    settle(a_reader.workspace)

    compared = a_reader.comparison.result.follow_up.points[0]
    assert np.array_equal(compared.scan.array, voxels)
    assert not np.shares_memory(compared.scan.array, voxels)
    assert 1 not in compared.labels


@pytest.mark.alone
def test_registering_never_holds_up_the_main_thread(a_slow_reader):
    reader = a_slow_reader
    steps: list[str] = []
    reader.workspace.engine.worker.progressed.connect(lambda job, *told: steps.append(told[-1]))
    reader.comparison.compare(reader.earlier, reader.segments)
    turns = settle(reader.workspace)

    assert reader.comparison.result is not None
    assert any("Registering" in step for step in steps)
    assert len(turns) > 100
    assert max(turn.worked for turn in turns) < MOST_S


def test_a_cancelled_registration_leaves_everything_as_it_was(a_slow_reader):
    reader = a_slow_reader
    before = picture_of(reader)
    reader.comparison.compare(reader.earlier, reader.segments)
    while reader.workspace.engine.worker.current is None:
        reader.workspace.pump()
    for _ in range(30):
        reader.workspace.pump()
    reader.workspace.cancel()
    settle(reader.workspace)

    assert reader.comparison.result is None
    assert "Stopped" in reader.workspace.notices[-1]
    assert picture_of(reader) == before

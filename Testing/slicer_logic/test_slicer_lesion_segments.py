"""Tests of lesions as segments, and of segments that the user changes elsewhere in Slicer."""

from __future__ import annotations

import time
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
import slicer
from engine_fixtures import CORONAL, FIRST, SCENE, SECOND, THIRD
from MOISSAM2SegmentLib.scene.grid_images import image_labels
from MOISSAM2SegmentLib.scene.lesion_segments import LesionSegments
from MOISSAM2SegmentLib.worker.label_updates import LabelUpdates
from scans import paint, place, segment_mask, settle, shows_exactly_its_session, volume_node
from stub_sessions import is_exactly, stack_of
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from mois_core.geometry import SliceStack, Volume
from mois_core.results.colours import lesion_colour
from mois_core.session.lesion import Lesion, Status
from mois_core.session.masks import Mask, Plane
from mois_core.session.state import State


def two_lesions(workspace):
    place(workspace, FIRST, "1+")
    place(workspace, SECOND, "2+")
    settle(workspace)
    return workspace.segments_node.GetSegmentation()


def steps_of(workspace) -> list[str]:
    return [what for what, _ in workspace.session.history.past]


def test_a_painted_segment_becomes_the_lesions_mask_once(an_open_workspace):
    workspace = an_open_workspace
    two_lesions(workspace)
    others = workspace.session.lesion(2)

    mask = paint(workspace, 1, np.s_[3:8, 6:10, 12:15])
    settle(workspace)

    assert np.array_equal(workspace.session.mask(1), mask)
    assert workspace.session.lesion(2) is others
    assert steps_of(workspace).count("paint") == 1
    assert shows_exactly_its_session(workspace)
    assert workspace.segments_node.GetSegmentation().GetNumberOfLayers() == 1


def test_a_stroke_of_the_segment_editor_becomes_the_lesions_mask(an_open_workspace):
    """The editor changes the shared label map in place and cuts it down to what is on it."""
    workspace = an_open_workspace
    segmentation = two_lesions(workspace)
    stroke = slicer.vtkOrientedImageData()
    stroke.DeepCopy(segmentation.GetSegment("MOISSAM2_1").GetRepresentation("Binary labelmap"))
    array = vtk_to_numpy(stroke.GetPointData().GetScalars()).reshape(12, 32, 32)
    array[:] = 0
    array[4:6, 14:18, 5:9] = 1
    array[4:6, 20:22, 4:7] = 1

    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetBinaryLabelmapToSegment(
        stroke,
        workspace.segments_node,
        "MOISSAM2_1",
        logic.MODE_MERGE_MASK,
        stroke.GetExtent(),
        False,
        ["MOISSAM2_2"],
    )
    layer = segmentation.GetSegment("MOISSAM2_2").GetRepresentation("Binary labelmap")
    assert layer.GetExtent() != (0, 31, 0, 31, 0, 11)
    settle(workspace)

    assert workspace.session.mask(1)[4:6, 14:18, 5:9].all()
    assert workspace.session.mask(1)[4:6, 20:22, 4:7].all()
    assert not workspace.session.mask(2)[4:6, 20:22, 4:7].any()
    assert steps_of(workspace).count("paint") == 2
    assert shows_exactly_its_session(workspace)
    place(workspace, THIRD, "3+")
    settle(workspace)
    assert shows_exactly_its_session(workspace)
    assert segmentation.GetNumberOfLayers() == 1


def test_a_lesion_that_is_erased_with_the_part_of_the_layer_it_was_on_is_known_to_be_empty(
    an_open_workspace,
):
    """The editor cuts the layer down to the lesions that are left; the erased one lay beside."""
    workspace = an_open_workspace
    segmentation = two_lesions(workspace)
    nothing = slicer.vtkOrientedImageData()
    nothing.DeepCopy(segmentation.GetSegment("MOISSAM2_2").GetRepresentation("Binary labelmap"))
    nothing.GetPointData().GetScalars().Fill(0)

    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetBinaryLabelmapToSegment(
        nothing, workspace.segments_node, "MOISSAM2_2", logic.MODE_MERGE_MIN
    )
    layer = segmentation.GetSegment("MOISSAM2_1").GetRepresentation("Binary labelmap")
    box, _ = image_labels(layer)
    outside = workspace.segments.shared.written.copy()
    outside[box] = 0
    assert outside.any()
    settle(workspace)

    assert not workspace.session.mask(2).any()
    assert is_exactly(workspace.session, 1, FIRST)
    assert shows_exactly_its_session(workspace)


def test_edits_in_a_layer_of_another_number_format_are_read(an_open_workspace):
    workspace = an_open_workspace
    segmentation = two_lesions(workspace)
    layer = segmentation.GetSegment("MOISSAM2_1").GetRepresentation("Binary labelmap")
    _, labels = image_labels(layer)
    erased = np.where(labels == 2, 0, labels).astype(np.uint8)
    layer.GetPointData().SetScalars(numpy_to_vtk(erased.ravel(), deep=True))
    segmentation.InvokeEvent(slicer.vtkSegmentation.SourceRepresentationModified)
    settle(workspace)

    assert not workspace.session.mask(2).any()
    assert is_exactly(workspace.session, 1, FIRST)
    assert shows_exactly_its_session(workspace)


def test_a_lesion_painted_over_another_keeps_what_was_painted_and_so_does_the_other(
    an_open_workspace,
):
    workspace = an_open_workspace
    segmentation = two_lesions(workspace)

    mask = paint(workspace, 1, np.s_[4:6, 20:24, 4:8])
    settle(workspace)

    assert np.array_equal(workspace.session.mask(1), mask)
    assert is_exactly(workspace.session, 2, SECOND)
    assert segmentation.GetNumberOfLayers() == 2
    assert np.array_equal(segment_mask(workspace, 1), mask)
    assert np.array_equal(segment_mask(workspace, 2), workspace.session.mask(2))
    steps = steps_of(workspace)
    place(workspace, THIRD, "3+")
    settle(workspace)
    assert steps_of(workspace) == [*steps, "click"]
    assert np.array_equal(segment_mask(workspace, 1), mask)
    workspace.commands.delete(2)
    settle(workspace)
    assert np.array_equal(segment_mask(workspace, 1), mask)
    workspace.commands.undo()
    workspace.commands.undo()
    workspace.commands.undo()
    settle(workspace)
    assert shows_exactly_its_session(workspace)
    assert segmentation.GetNumberOfLayers() == 1


def test_a_lesion_in_a_layer_of_its_own_can_become_empty(an_open_workspace):
    workspace = an_open_workspace
    two_lesions(workspace)
    paint(workspace, 1, SECOND.where)
    settle(workspace)
    assert workspace.segments.separate.lesions() == {1}
    nothing = np.zeros(workspace.session.volume.array.shape, dtype=bool)

    workspace.work.run("Empty", lambda session, *_: session.set_mask(1, nothing))
    settle(workspace)

    assert not segment_mask(workspace, 1).any()
    assert is_exactly(workspace.session, 2, SECOND)
    assert workspace.segments_node.GetSegmentation().GetNumberOfLayers() == 1


def test_a_renamed_segment_renames_the_lesion_and_back(an_open_workspace):
    workspace = an_open_workspace
    segmentation = two_lesions(workspace)

    segmentation.GetSegment("MOISSAM2_2").SetName("Plexiform")
    settle(workspace)
    assert workspace.session.lesion(2).name == "Plexiform"
    workspace.commands.undo()
    settle(workspace)

    assert workspace.session.lesion(2).name == ""
    assert segmentation.GetSegment("MOISSAM2_2").GetName() == "Lesion 2"
    assert steps_of(workspace) == ["clicks"]


def test_a_colour_that_the_user_chose_stays(an_open_workspace):
    workspace = an_open_workspace
    segmentation = two_lesions(workspace)

    segmentation.GetSegment("MOISSAM2_1").SetColor(0.1, 0.2, 0.3)
    settle(workspace)
    workspace.commands.delete(1)
    settle(workspace)
    workspace.commands.undo()
    settle(workspace)

    assert np.allclose(segmentation.GetSegment("MOISSAM2_1").GetColor(), (0.1, 0.2, 0.3))
    assert np.allclose(workspace.entries()[0].colour, (0.1, 0.2, 0.3))
    assert np.allclose(segmentation.GetSegment("MOISSAM2_2").GetColor(), lesion_colour(2))


def test_a_deleted_segment_deletes_the_lesion_and_its_points(an_open_workspace):
    workspace = an_open_workspace
    segmentation = two_lesions(workspace)

    segmentation.RemoveSegment("MOISSAM2_1")
    settle(workspace)

    assert [lesion.id for lesion in workspace.session.lesions] == [2]
    assert workspace.points_node.GetNumberOfControlPoints() == 1
    assert shows_exactly_its_session(workspace)
    workspace.commands.undo()
    settle(workspace)
    assert shows_exactly_its_session(workspace)
    assert workspace.points_node.GetNumberOfControlPoints() == 2


def test_segments_of_the_users_own_are_left_alone(an_open_workspace):
    workspace = an_open_workspace
    segmentation = two_lesions(workspace)
    own = segmentation.AddEmptySegment("own", "Liver")
    liver = np.zeros((12, 32, 32), dtype=np.uint8)
    liver[8:11, 5:15, 18:30] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        liver, workspace.segments_node, own, workspace.volume_node
    )
    settle(workspace)

    place(workspace, THIRD, "3+")
    settle(workspace)
    workspace.commands.delete(1)
    settle(workspace)

    shown = slicer.util.arrayFromSegmentBinaryLabelmap(
        workspace.segments_node, own, workspace.volume_node
    )
    assert np.array_equal(shown, liver)
    assert is_exactly(workspace.session, 3, THIRD)
    assert np.array_equal(segment_mask(workspace, 3), workspace.session.mask(3))


def test_what_we_write_ourselves_is_no_edit(an_open_workspace):
    workspace = an_open_workspace
    two_lesions(workspace)
    workspace.commands.find_similar()
    settle(workspace)
    steps = steps_of(workspace)

    for _ in range(3):
        workspace.work.events.segments_changed = workspace.work.events.points_changed = True
        settle(workspace)

    assert steps_of(workspace) == steps == ["clicks", "find similar"]


def test_one_changed_lesion_touches_only_its_box(an_open_workspace, monkeypatch):
    workspace = an_open_workspace
    two_lesions(workspace)
    boxes = []
    show = workspace.segments.show
    monkeypatch.setattr(
        workspace.segments,
        "show",
        lambda update: (boxes.extend(patch.box for patch in update.patches), show(update)),
    )

    place(workspace, THIRD, "3+")
    settle(workspace)

    volume = workspace.session.stack.to_volume(stack_of(workspace.session, 3))
    extent = [(int(axis.min()), int(axis.max()) + 1) for axis in np.nonzero(volume)]
    clicked, propagated = boxes
    assert [(part.start, part.stop) for part in propagated] == extent
    assert [(part.start, part.stop) for part in clicked][1:] == extent[1:]
    assert clicked[0].stop - clicked[0].start == 1


def test_surfaces_in_3d_are_made_again_only_for_lesions_that_changed(an_open_workspace):
    workspace = an_open_workspace
    segmentation = two_lesions(workspace)
    segmentation.CreateRepresentation("Closed surface")
    surfaces = [
        segmentation.GetSegment(f"MOISSAM2_{n}").GetRepresentation("Closed surface") for n in (1, 2)
    ]
    extent = surfaces[1].GetBounds()

    place(workspace, THIRD, "2+")
    settle(workspace)
    place(workspace, SCENE[4], "3+")
    settle(workspace)

    now = [
        segmentation.GetSegment(f"MOISSAM2_{n}").GetRepresentation("Closed surface")
        for n in (1, 2, 3)
    ]
    assert now[0] is surfaces[0]
    assert now[1].GetBounds() != extent
    assert now[2].GetNumberOfPoints() > 0
    assert shows_exactly_its_session(workspace)


def many_lesions(shape: tuple[int, int, int], count: int) -> State:
    """Return lesions of some hundred voxels each, all over a scan [slices, rows, columns]."""
    random = np.random.default_rng(0)
    lesions = {}
    for lesion_id in range(1, count + 1):
        size = random.integers(4, 12, size=2)
        row, column = (int(random.integers(0, n - 12)) for n in shape[1:])
        first = int(random.integers(0, shape[0] - 4))
        pixels = np.ones(size, dtype=bool)
        planes = {first + n: Plane(row, column, pixels) for n in range(4)}
        mask = Mask(shape[1:], MappingProxyType(planes))
        lesions[lesion_id] = Lesion(lesion_id, Status.FOUND, mask)
    return State(lesions=MappingProxyType(lesions), last_id=count)


class PretendSession:
    """The part of a session that `LabelUpdates` uses."""

    def __init__(self, volume: Volume, state: State) -> None:
        self.stack = SliceStack(volume)
        self.state = state


@pytest.mark.alone
def test_300_findings_reach_the_scene_in_time_in_one_layer(a_scene, record_property):
    shape = (40, 1024, 320)
    node = volume_node(a_scene, np.zeros(shape, dtype=np.int16), CORONAL)
    volume = Volume(slicer.util.arrayFromVolume(node), CORONAL)
    session = PretendSession(volume, many_lesions(shape, 300))
    segments_node = a_scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segments_node.CreateDefaultDisplayNodes()
    segments = LesionSegments(segments_node, volume)
    label_updates = LabelUpdates(session)
    segmentation = segments_node.GetSegmentation()

    start = time.perf_counter()
    update = label_updates.update()
    painted = time.perf_counter()
    segments.show(update)
    segments.add_rest()
    shown = time.perf_counter()

    assert segmentation.GetNumberOfSegments() == 300
    assert segmentation.GetNumberOfLayers() == 1
    for lesion_id in (1, 256, 257, 300):
        segment = segmentation.GetSegment(f"MOISSAM2_{lesion_id}")
        assert segment.GetName() == f"Lesion {lesion_id}"
        assert np.allclose(segment.GetColor(), lesion_colour(lesion_id))
        assert segment.GetLabelValue() == lesion_id
    assert shown - start < 3.0

    state = session.state
    lesion = state.lesion(257)
    session.state = state.with_lesions(
        replace(lesion, mask=lesion.mask.with_slice(lesion.mask.slices[0], None))
    )
    start_one = time.perf_counter()
    segments.show(label_updates.update())
    one = time.perf_counter() - start_one
    session.state = state.without_lesions(*range(100, 200))
    start_removal = time.perf_counter()
    segments.show(label_updates.update())
    removal = time.perf_counter() - start_removal
    assert segmentation.GetNumberOfSegments() == 200
    start_check = time.perf_counter()
    assert segments.edits() == []
    check = time.perf_counter() - start_check
    start_closing = time.perf_counter()
    segments.empty_for_closing()
    a_scene.Clear(0)
    closing = time.perf_counter() - start_closing
    figures = {
        "close the scene": closing,
        "paint 300 (worker)": painted - start,
        "show 300": shown - painted,
        "one lesion": one,
        "remove 100": removal,
        "look for edits": check,
    }
    for what, seconds in figures.items():
        record_property(what, f"{seconds * 1000:.0f} ms")
    print({what: f"{seconds * 1000:.1f} ms" for what, seconds in figures.items()})
    assert one < 0.05
    assert removal < 1.0
    assert closing < 3.0


def test_all_five_lesions_of_the_scan_can_be_shown_at_once(an_open_workspace):
    workspace = an_open_workspace
    for lesion_id, block in enumerate(SCENE, start=1):
        place(workspace, block, f"{lesion_id}+")
    settle(workspace)

    assert shows_exactly_its_session(workspace)

"""Tests of boxes and scribbles that are drawn in slice views, and of what becomes of them."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk
from engine_fixtures import FIRST, LESION, SECOND, SIDE, Block
from MOISSAM2SegmentLib.scene.transforms import matrix_to_numpy
from MOISSAM2SegmentLib.scene.view_drawing import MOVE, PRESS, RELEASE, Shape, View, ViewDrawing
from scans import (
    labels_in,
    linear_transform,
    place,
    scan_node,
    settle,
    shows_exactly_its_session,
    world_of,
)
from small_networks import SLM, lively
from stub_sessions import is_exactly

from mois_core.errors import BadInput
from mois_core.network.model_info import ModelInfo
from mois_core.session.state import Settings

pytestmark = pytest.mark.usefixtures("one_thread")

LONG = Block((0, 12), (8, 16), (8, 16), LESION)


def corners(workspace, block, margin: float = 1.0) -> list[np.ndarray]:
    """Return opposite corners of a box around a lesion, on its middle slice, in the world."""
    n = block.middle[0]
    (top, bottom), (left, right) = block.rows, block.columns
    ends = [(top - margin, left - margin), (bottom - 1 + margin, right - 1 + margin)]
    return [world_of(workspace, n, row, column) for row, column in ends]


# ---- boxes ---------------------------------------------------------------------------------


def test_a_box_is_a_lesion_and_one_step(an_open_workspace):
    workspace = an_open_workspace

    workspace.commands.draw_box(corners(workspace, FIRST))
    settle(workspace)

    assert is_exactly(workspace.session, 1, FIRST)
    assert shows_exactly_its_session(workspace)
    assert workspace.commands.active_lesion == 1
    assert workspace.commands.undo_name == "box"
    workspace.commands.undo()
    settle(workspace)
    assert not workspace.state.lesions
    assert workspace.messages == []


def test_a_box_belongs_to_the_lesion_that_is_worked_on(an_open_workspace):
    workspace = an_open_workspace
    place(workspace, SECOND, "7+")
    settle(workspace)
    workspace.commands.work_on(7)

    workspace.commands.draw_box(corners(workspace, FIRST))
    settle(workspace)

    assert list(workspace.state.lesions) == [7]
    assert len(workspace.state.lesion(7).boxes) == 1
    assert labels_in(workspace.points_node) == ["7+"]


def test_a_box_lies_where_a_scan_under_a_transform_is_seen(a_workspace, a_volume_node):
    a_volume_node.SetAndObserveTransformNodeID(linear_transform(a_workspace.scene).GetID())
    a_workspace.start(a_volume_node)
    settle(a_workspace)

    a_workspace.commands.draw_box(corners(a_workspace, FIRST))
    settle(a_workspace)

    assert is_exactly(a_workspace.session, 1, FIRST)


def test_a_box_that_reaches_over_the_edge_ends_there(an_open_workspace):
    workspace = an_open_workspace
    n = FIRST.middle[0]
    ends = [world_of(workspace, n, -5, -40), world_of(workspace, n, SIDE + 9, SIDE + 3)]

    workspace.commands.draw_box(ends)
    settle(workspace)

    (box,) = workspace.state.lesion(1).boxes
    assert -0.5 <= box.x0 < box.x1 < SIDE - 0.5 and -0.5 <= box.y0 < box.y1 < SIDE - 0.5


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        (((5, 4, 4), (7, 14, 14)), "lies on one slice"),
        (((5, 4, 4), (5.3, 4, 14)), "lies on one slice"),
        (((5, -9, -9), (5, -2, 12)), "outside the scan"),
        (((40, 4, 4), (40, 14, 14)), "outside the scan"),
    ],
    ids=["across slices", "on the edge of a slice", "beside the scan", "before the scan"],
)
def test_a_box_that_makes_no_sense_is_refused_and_nothing_is_lost(an_open_workspace, ends, words):
    workspace = an_open_workspace
    place(workspace, FIRST)
    settle(workspace)
    before = workspace.state

    with pytest.raises(BadInput, match=words):
        workspace.commands.draw_box([world_of(workspace, *end) for end in ends])
    settle(workspace)

    assert workspace.state is before


# ---- scribbles -----------------------------------------------------------------------------


def test_a_scribble_is_points_along_it_and_one_step(an_open_workspace):
    workspace = an_open_workspace
    line = [world_of(workspace, 5, 6.5 + 0.2 * n, 5.5 + 0.2 * n) for n in range(30)]

    workspace.commands.begin_lesion()
    workspace.commands.scribble(line)
    settle(workspace)

    assert labels_in(workspace.points_node) == ["1+"] * 3
    assert is_exactly(workspace.session, 1, FIRST)
    workspace.commands.undo()
    settle(workspace)
    assert labels_in(workspace.points_node) == []
    assert not workspace.state.lesions


def test_a_scribble_outside_takes_away(an_open_workspace):
    workspace = an_open_workspace
    place(workspace, FIRST)
    settle(workspace)
    workspace.commands.work_on(1)
    line = [world_of(workspace, 5, 7, column) for column in (5, 8, 11)]

    workspace.commands.scribble(line, positive=False)
    settle(workspace)

    assert labels_in(workspace.points_node) == ["1+", "1-", "1-", "1-"]
    assert not workspace.session.lesion(1).mask.image(5)[6:8, 5:12].any()
    assert workspace.commands.positive


def test_without_a_lesion_a_scribble_begins_one_and_cannot_be_outside(an_open_workspace):
    workspace = an_open_workspace
    line = [world_of(workspace, 5, 9, column) for column in (5, 8, 11)]

    with pytest.raises(BadInput, match="Click into the lesion first"):
        workspace.commands.scribble(line, positive=False)
    workspace.commands.scribble(line)
    settle(workspace)

    assert labels_in(workspace.points_node) == ["1+"] * 3


def test_a_scribble_across_slices_is_points_on_each(an_open_workspace):
    workspace = an_open_workspace

    workspace.commands.scribble([world_of(workspace, n, 9, 8) for n in (3, 4, 5, 6, 7)])
    settle(workspace)

    assert sorted(workspace.session.lesion(1).prompted) == [4, 5, 6]


# ---- drawing -------------------------------------------------------------------------------


@pytest.fixture
def a_view(an_open_workspace):
    """A slice view that shows the middle slice of the first lesion, three view pixels per mm."""
    scene = an_open_workspace.scene
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
    node = scene.AddNewNodeByClass("vtkMRMLSliceNode")
    node.SetOrientationToCoronal()
    node.SetDimensions(90, 90, 1)
    node.SetFieldOfView(30, 30, 1)
    middle = world_of(an_open_workspace, *FIRST.middle)
    node.JumpSliceByCentering(*middle)
    node.UpdateMatrices()
    rendered = []
    view = View(node, vtk.vtkRenderer(), lambda: rendered.append(True))
    return view, rendered


def in_view(view: View, world: np.ndarray) -> tuple[int, int]:
    to_view = np.linalg.inv(matrix_to_numpy(view.node.GetXYToRAS()))
    x, y = (to_view @ (*world, 1.0))[:2]
    return round(x), round(y)


def drag(drawing: ViewDrawing, shape: Shape, view: View, positions) -> None:
    first, *others = positions
    assert drawing.process(shape, PRESS, first, view)
    for position in others:
        assert drawing.process(shape, MOVE, position, view)
        assert view.renderer.GetViewProps().GetNumberOfItems() == 1
    assert drawing.process(shape, RELEASE, positions[-1], view)
    assert view.renderer.GetViewProps().GetNumberOfItems() == 0


def test_a_box_that_is_dragged_in_a_view_outlines_what_is_in_it(an_open_workspace, a_view):
    workspace, (view, rendered) = an_open_workspace, a_view
    drawn = ViewDrawing(lambda _, places: workspace.commands.draw_box(places), pytest.fail)
    start, end = (in_view(view, world) for world in corners(workspace, FIRST))
    half_way = tuple((a + b) // 2 for a, b in zip(start, end, strict=True))

    drag(drawn, Shape.BOX, view, [start, half_way, end])
    settle(workspace)

    assert is_exactly(workspace.session, 1, FIRST)
    assert rendered


def test_a_scribble_keeps_all_places_that_the_mouse_passed(a_view):
    (view, _), kept = a_view, []
    drawn = ViewDrawing(lambda shape, places: kept.append((shape, places)), pytest.fail)
    positions = [(10, 10), (14, 13), (20, 30)]

    drag(drawn, Shape.SCRIBBLE, view, positions)

    ((shape, places),) = kept
    assert shape is Shape.SCRIBBLE
    assert [in_view(view, world) for world in places] == positions


def test_a_click_is_no_box_and_says_how_to_draw_one(a_view):
    (view, _), messages = a_view, []
    drawn = ViewDrawing(lambda *_: pytest.fail("drawn"), messages.append)

    drag(drawn, Shape.BOX, view, [(10, 10), (12, 11)])

    assert len(messages) == 1 and "one corner to the opposite" in messages[0]


def test_other_events_and_other_views_are_left_alone(a_view):
    view, _ = a_view
    drawn = ViewDrawing(lambda *_: pytest.fail("drawn"), pytest.fail)
    other = View(slicer.vtkMRMLSliceNode(), vtk.vtkRenderer(), lambda: None)

    assert not drawn.process(Shape.BOX, MOVE, (1, 1), view)
    assert not drawn.process(Shape.BOX, RELEASE, (1, 1), view)
    drawn.process(Shape.BOX, PRESS, (1, 1), view)
    assert not drawn.process(Shape.BOX, MOVE, (50, 50), other)
    assert not drawn.process(Shape.BOX, vtk.vtkCommand.MouseWheelForwardEvent, (1, 1), view)
    drawn.cancel()
    assert not drawn.process(Shape.BOX, RELEASE, (60, 60), view)
    assert view.renderer.GetViewProps().GetNumberOfItems() == 0


# ---- a network that cannot search ----------------------------------------------------------


@pytest.fixture
def an_slm_workspace(a_workspace, an_engine):
    """SLM-SAM 2 with synthetic weights on a scan whose lesion runs through all slices."""
    an_engine.use(lively(SLM), ModelInfo("slm", "slm.pt", "0" * 64))
    scan = scan_node(a_workspace.scene, LONG)
    a_workspace.start(scan, Settings(connected=False, propagation_slices=1))
    settle(a_workspace)
    place(a_workspace, Block((2, 3), LONG.rows, LONG.columns))
    settle(a_workspace)
    return a_workspace


def test_slm_sam2_propagates_through_the_volume_instead_of_searching(an_slm_workspace):
    workspace = an_slm_workspace
    assert not workspace.commands.can_search
    assert workspace.commands.can_propagate
    assert set(workspace.state.lesion(1).propagated) == {1, 3}

    workspace.commands.propagate()
    settle(workspace)

    assert set(workspace.state.lesion(1).propagated) == set(range(12)) - {2}
    assert workspace.commands.undo_name == "propagate"
    assert workspace.messages == []


def test_a_correction_stays_on_its_slice_until_it_is_propagated(an_slm_workspace):
    workspace = an_slm_workspace
    workspace.commands.propagate()
    settle(workspace)
    followed = workspace.state.lesion(1)
    workspace.commands.work_on(1)

    corrected = place(workspace, Block((8, 9), LONG.rows, LONG.columns), "1+")
    settle(workspace)

    now = workspace.state.lesion(1)
    assert set(now.prompted) == {2, 8}
    others = [n for n in range(12) if n != 8]
    assert all(np.array_equal(now.mask.image(n), followed.mask.image(n)) for n in others)
    assert len(workspace.notices) == 1 and "Press Propagate" in workspace.notices[0]
    workspace.commands.propagate()
    settle(workspace)
    assert set(workspace.state.lesion(1).propagated) == set(range(12)) - {2, 8}

    node = workspace.points_node
    node.RemoveNthControlPoint(node.GetNthControlPointIndexByID(corrected))
    settle(workspace)
    assert set(workspace.state.lesion(1).prompted) == {2}
    assert len(workspace.state.lesion(1).propagated) > 2
    node.RemoveAllControlPoints()
    settle(workspace)
    assert not workspace.state.lesions


def test_a_box_as_a_correction_stays_on_its_slice_too(an_slm_workspace):
    workspace = an_slm_workspace
    workspace.commands.propagate()
    settle(workspace)
    workspace.commands.work_on(1)

    workspace.commands.draw_box(corners(workspace, Block((8, 9), LONG.rows, LONG.columns)))
    settle(workspace)

    assert set(workspace.state.lesion(1).prompted) == {2, 8}
    assert len(workspace.state.lesion(1).propagated) == 10
    assert len(workspace.notices) == 1

"""Tests of the clinician's storyboard with real nodes, and of every way to change points."""

from __future__ import annotations

import csv
import threading

import numpy as np
import slicer
from engine_fixtures import FIRST, SECOND, THIRD
from scans import (
    drag,
    labels_in,
    place,
    place_at,
    remove,
    segment_mask,
    settle,
    shows_exactly_its_session,
    world_of,
)
from stub_sessions import is_exactly

from mois_core.results.colours import lesion_colour
from mois_core.session.lesion import Status


def test_a_click_becomes_a_lesion_and_a_segment(an_open_workspace):
    workspace = an_open_workspace
    workspace.commands.begin_lesion()

    place(workspace, FIRST)
    settle(workspace)

    assert labels_in(workspace.points_node) == ["1+"]
    assert workspace.commands.active_lesion == 1
    assert is_exactly(workspace.session, 1, FIRST)
    assert shows_exactly_its_session(workspace)
    segment = workspace.segments_node.GetSegmentation().GetSegment("MOISSAM2_1")
    assert segment.GetName() == "Lesion 1"
    assert np.allclose(segment.GetColor(), lesion_colour(1))


def test_the_whole_storyboard(an_open_workspace, tmp_path):
    workspace = an_open_workspace
    workspace.commands.begin_lesion()
    place(workspace, FIRST)
    settle(workspace)
    workspace.commands.begin_lesion()
    second = place(workspace, SECOND)
    settle(workspace)
    assert [entry.lesion_id for entry in workspace.entries()] == [1, 2]

    workspace.commands.positive = False
    place_at(workspace, world_of(workspace, 5, 21, 5))
    settle(workspace)
    corrected = workspace.session.lesion(2).mask.voxels
    assert labels_in(workspace.points_node) == ["1+", "2+", "2-"]
    assert workspace.points_node.GetNthControlPointSelected(0)
    assert not workspace.points_node.GetNthControlPointSelected(2)
    assert corrected < SECOND.voxels

    workspace.commands.undo()
    settle(workspace)
    assert labels_in(workspace.points_node) == ["1+", "2+"]
    assert is_exactly(workspace.session, 2, SECOND)
    workspace.commands.redo()
    settle(workspace)
    assert labels_in(workspace.points_node) == ["1+", "2+", "2-"]
    assert workspace.session.lesion(2).mask.voxels == corrected
    workspace.commands.undo()

    remove(workspace, second)
    settle(workspace)
    assert list(workspace.session.state.lesions) == [1]
    found = []
    workspace.commands.find_similar(then=found.extend)
    settle(workspace)
    assert len(found) == 2
    assert shows_exactly_its_session(workspace)

    workspace.commands.accept(found[0])
    workspace.commands.reject(found[1])
    settle(workspace)
    assert workspace.session.lesion(found[0]).status is Status.ACCEPTED
    assert workspace.segments.segment_of(found[1]) is None
    workspace.commands.rename(found[0], "Läsion am Knie")
    settle(workspace)
    name = workspace.segments.segment_of(found[0])
    segment = workspace.segments_node.GetSegmentation().GetSegment(name)
    assert segment.GetName() == "Läsion am Knie"

    workspace.commands.work_on(found[0])
    workspace.commands.positive = True
    block = THIRD if segment_mask(workspace, found[0])[9].any() else SECOND
    place(workspace, block)
    settle(workspace)
    assert workspace.session.lesion(found[0]).status is Status.PROMPTED

    tables, paths = [], []
    workspace.reports.table(lambda node, totals: tables.append((node, totals)))
    workspace.reports.write(str(tmp_path / "Bericht ä.csv"), paths.append)
    settle(workspace)
    node, totals = tables[0]
    assert totals.count == 2
    assert node.GetTable().GetNumberOfRows() == 3
    assert "model stub" in node.GetDescription()
    with open(paths[0], encoding="utf-8", newline="") as file:
        assert [row["lesion"] for row in csv.DictReader(file)] == [
            str(node.GetTable().GetValueByName(n, "lesion").ToInt()) for n in range(3)
        ]
    assert workspace.messages == []


def test_points_without_a_label_each_begin_a_lesion_if_none_is_being_worked_on(an_open_workspace):
    workspace = an_open_workspace

    place(workspace, FIRST, "F-1")
    place(workspace, SECOND, "F-2")
    settle(workspace)

    assert labels_in(workspace.points_node) == ["1+", "2+"]
    assert is_exactly(workspace.session, 2, SECOND)


def test_labels_say_what_a_point_belongs_to(an_open_workspace):
    workspace = an_open_workspace

    place(workspace, FIRST, "7+")
    place_at(workspace, world_of(workspace, 5, 7, 6), " 07-")
    settle(workspace)

    assert [lesion.id for lesion in workspace.session.lesions] == [7]
    assert labels_in(workspace.points_node) == ["7+", "7-"]


def test_another_label_moves_a_point_to_another_lesion(an_open_workspace):
    workspace = an_open_workspace
    place(workspace, FIRST, "1+")
    place(workspace, SECOND, "1+")
    settle(workspace)

    workspace.points_node.SetNthControlPointLabel(1, "2+")
    settle(workspace)
    assert is_exactly(workspace.session, 1, FIRST)
    assert is_exactly(workspace.session, 2, SECOND)

    workspace.points_node.SetNthControlPointLabel(1, "whatever")
    settle(workspace)
    assert labels_in(workspace.points_node) == ["1+", "2+"]


def test_points_that_are_not_placed_yet_are_no_clicks(an_open_workspace):
    workspace = an_open_workspace
    node = workspace.points_node
    point = place(workspace, FIRST)
    node.UnsetNthControlPointPosition(0)
    settle(workspace)
    assert workspace.session.lesions == ()

    drag(workspace, point, world_of(workspace, *FIRST.middle))
    settle(workspace)
    assert is_exactly(workspace.session, 1, FIRST)


def test_a_point_outside_the_scan_is_taken_away_with_a_message(an_open_workspace):
    workspace = an_open_workspace
    inside = place(workspace, FIRST)
    settle(workspace)

    place_at(workspace, [0, 0, 5000])
    settle(workspace)
    drag(workspace, inside, [0, 0, 5000])
    settle(workspace)

    assert labels_in(workspace.points_node) == ["1+"]
    assert len(workspace.messages) == 2
    assert "outside" in workspace.messages[0]
    world = workspace.points_node.GetNthControlPointPositionWorld(0)
    assert np.allclose(world, world_of(workspace, *FIRST.middle))
    assert is_exactly(workspace.session, 1, FIRST)


def test_a_change_in_the_middle_of_a_batch_of_changes_is_seen(an_open_workspace):
    workspace = an_open_workspace
    node = workspace.points_node

    was = node.StartModify()
    place(workspace, FIRST)
    second = place(workspace, SECOND)
    node.EndModify(was)
    settle(workspace)
    was = node.StartModify()
    remove(workspace, second)
    drag(workspace, node.GetNthControlPointID(0), world_of(workspace, *THIRD.middle))
    node.EndModify(was)
    settle(workspace)

    assert is_exactly(workspace.session, 1, THIRD)
    assert list(workspace.session.state.lesions) == [1]


def test_while_a_point_is_dragged_nothing_is_computed(an_open_workspace):
    workspace = an_open_workspace
    point = place(workspace, FIRST)
    settle(workspace)
    steps = len(workspace.session.history.past)

    node = workspace.points_node
    node.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointStartInteractionEvent)
    for column in range(5, 12):
        drag(workspace, point, world_of(workspace, 10, 10, 17 + column))
        settle(workspace)
    assert len(workspace.session.history.past) == steps
    drag(workspace, point, world_of(workspace, *THIRD.middle))
    node.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent)
    settle(workspace)

    assert len(workspace.session.history.past) == steps + 1
    assert is_exactly(workspace.session, 1, THIRD)


def test_a_point_between_two_slices_belongs_to_the_one_it_is_seen_on(an_open_workspace):
    workspace = an_open_workspace

    place_at(workspace, world_of(workspace, FIRST.slices[1] - 0.6, 9, 8))
    settle(workspace)

    (click,) = workspace.session.lesion(1).clicks
    assert click.slice == FIRST.slices[1] - 1
    world = workspace.points_node.GetNthControlPointPositionWorld(0)
    assert np.allclose(world, world_of(workspace, FIRST.slices[1] - 0.6, 9, 8))


def test_the_clicked_slice_is_shown_before_its_neighbours(an_open_workspace, monkeypatch):
    workspace = an_open_workspace
    go_on = threading.Event()
    propagate = workspace.session.propagate

    def later(*how):
        go_on.wait(10)
        propagate(*how)

    monkeypatch.setattr(workspace.session, "propagate", later)

    place(workspace, FIRST)
    while not workspace.entries():
        workspace.pump()
    for _ in range(3):
        workspace.pump()
    assert workspace.entries()[0].slices == 1
    assert labels_in(workspace.points_node) == ["1+"]
    assert segment_mask(workspace, 1).any(axis=(1, 2)).sum() == 1
    go_on.set()
    settle(workspace)

    assert is_exactly(workspace.session, 1, FIRST)
    assert shows_exactly_its_session(workspace)
    workspace.commands.undo()
    settle(workspace)
    assert workspace.entries() == []


def test_a_lesion_id_that_is_too_high_is_refused_with_a_message(an_open_workspace):
    workspace = an_open_workspace
    place(workspace, FIRST, "70000+")
    settle(workspace)

    assert "too high" in workspace.messages[0]
    assert workspace.points_node.GetNumberOfControlPoints() == 0
    assert workspace.session.lesions == ()

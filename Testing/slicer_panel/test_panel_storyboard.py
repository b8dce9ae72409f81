"""Tests of the clinician's storyboard in the panel, button by button."""

from __future__ import annotations

import csv

import numpy as np
import slicer
from engine_fixtures import FIRST, SECOND
from MOISSAM2SegmentLib.scene.scan_layout import SCAN_AND_TABLE
from PySide6 import QtCore
from scans import labels_in, scan_node, shows_exactly_its_session
from stub_sessions import is_exactly

from mois_core.session.lesion import Status

KEYS = QtCore.Qt.Key


def test_the_panel_opens_on_an_empty_scene_and_says_what_is_ready(a_panel):
    assert "research use only" in a_panel.find("noticeLabel").text()
    assert "Ready on: processor" in a_panel.find("modelLabel").text()
    assert not a_panel.find("installFrame").isVisible()
    assert not a_panel.can("startButton")
    for name in ("newLesionButton", "searchButton", "acceptAllButton", "reportButton"):
        assert not a_panel.can(name)


def test_the_scan_is_preselected_and_one_press_starts(a_panel):
    node = scan_node(a_panel.scene)

    a_panel.panel.enter()
    assert a_panel.find("scanBox").currentNode() is node
    a_panel.press("startButton")
    a_panel.wait()

    assert a_panel.workspace.is_open
    assert "New lesion" in a_panel.hint
    assert not a_panel.can("startButton")
    assert a_panel.can("newLesionButton")


def test_the_whole_storyboard(a_started_panel, dialogs, tmp_path):
    user = a_started_panel
    user.press("newLesionButton")
    assert user.find("placeButton").isChecked()
    user.click_into(FIRST)
    user.press("newLesionButton")
    user.click_into(SECOND)
    assert [row[:2] for row in user.rows()] == [
        ("Lesion 1", "\u25cf Clicked"),
        ("Lesion 2", "\u25cf Clicked"),
    ]
    assert is_exactly(user.workspace.session, 2, SECOND)

    user.press("outsideButton")
    assert "too large" in user.hint
    user.click_at(5, 21, 5)
    corrected = user.workspace.session.lesion(2).mask.voxels
    assert corrected < SECOND.voxels
    assert labels_in(user.workspace.points_node) == ["1+", "2+", "2-"]
    user.press("undoButton")
    user.wait()
    assert is_exactly(user.workspace.session, 2, SECOND)
    user.press("redoButton")
    user.wait()
    assert user.workspace.session.lesion(2).mask.voxels == corrected
    user.press("undoButton")
    user.wait()

    user.choose_row(1)
    user.panel.menu.actions["delete"].real.trigger()
    user.wait()
    user.press("searchButton")
    user.wait()
    assert "2 findings" in user.message
    assert not user.find("placeButton").isChecked()
    assert [row[1] for row in user.rows()] == ["\u25cf Clicked", "? To check", "? To check"]
    assert user.find("findingLabel").text() == "2 of 2 left"
    assert "3 lesions" in user.find("totalsLabel").text()
    found = user.panel.table.chosen

    user.press("acceptButton")
    user.wait()
    assert user.workspace.session.lesion(found[0]).status is Status.ACCEPTED
    following = user.panel.table.chosen
    assert following != found
    user.press("rejectButton")
    user.wait()
    assert user.workspace.session.lesion(following[0]).status is Status.REJECTED
    user.press("undoButton")
    user.wait()
    user.accept_all()
    user.wait()
    assert [row[1] for row in user.rows()][1:] == ["\u2713 Accepted"] * 2

    user.panel.table.choose(found[0])
    user.press("refineButton")
    assert user.find("placeButton").isChecked()
    block = SECOND if is_exactly(user.workspace.session, found[0], SECOND) else None
    user.click_into(block or FIRST)
    assert user.workspace.session.lesion(found[0]).status is Status.PROMPTED

    user.press("reportButton")
    user.wait()
    assert "3 lesions" in user.message
    layout = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
    assert layout.GetViewArrangement() == SCAN_AND_TABLE
    dialogs.path = str(tmp_path / "Bericht ä.csv")
    user.save("table")
    user.wait()
    with open(dialogs.path, encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 3
    assert dialogs.path in user.message
    assert shows_exactly_its_session(user.workspace)


def test_a_click_is_shown_in_the_table_and_the_views_jump_to_a_chosen_row(a_started_panel):
    user = a_started_panel
    view = user.scene.AddNewNodeByClass("vtkMRMLSliceNode")
    view.SetOrientationToCoronal()
    for block in (FIRST, SECOND):
        user.press("newLesionButton")
        user.click_into(block)

    user.choose_row(1)

    ras = np.array([view.GetSliceToRAS().GetElement(axis, 3) for axis in range(3)])
    slice_position = user.workspace.session.stack.point_from_ras(ras)[0]
    assert SECOND.slices[0] - 0.5 <= slice_position < SECOND.slices[1] - 0.5

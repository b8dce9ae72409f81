"""Tests of the lesion table: mouse, keyboard, sorting, filters, menu, and hundreds of rows."""

from __future__ import annotations

import time

import numpy as np
import pytest
from engine_fixtures import FIRST, Block, scan_of
from PySide6 import QtCore, QtTest, QtWidgets
from scans import volume_node

from mois_core.session.lesion import Status

KEYS = QtCore.Qt.Key
SHIFT = QtCore.Qt.KeyboardModifier.ShiftModifier

LARGE = np.array([[-6.2, 0, 0, 0], [0, 0, 7.8, 0], [0, -6.2, 0, 0], [0, 0, 0, 1.0]])
"""Matrix of a scan in which a few voxels are large enough to be a finding."""


@pytest.fixture
def a_panel_with_findings(a_panel):
    """A user who has clicked one lesion and found similar ones."""
    user = a_panel
    blocks = [Block((8 - n, 10 - n), (16, 17 + n), (4 * n, 4 * n + 2)) for n in range(1, 7)]
    volume_node(user.scene, scan_of(FIRST, *blocks), LARGE)
    user.start()
    user.window.activateWindow()
    QtTest.QTest.qWaitForWindowActive(user.window)
    user.press("newLesionButton")
    user.click_into(FIRST)
    user.press("searchButton")
    user.wait()
    assert len(user.rows()) > 4
    return user


def column(user, index: int) -> list[str]:
    return [row[index] for row in user.rows()]


def status_of(user, lesion_id: int) -> Status:
    return user.workspace.session.lesion(lesion_id).status


def test_arrows_walk_through_the_rows_and_the_views_follow(a_panel_with_findings, monkeypatch):
    user = a_panel_with_findings
    jumps = []
    monkeypatch.setattr(user.workspace.views, "follow", jumps.append)
    user.choose_row(0)
    user.table.setFocus()

    user.key(KEYS.Key_Down)
    user.key(KEYS.Key_Down)
    user.key(KEYS.Key_Up)

    assert jumps == [1, 2, 3, 2]
    user.key(KEYS.Key_Return)
    assert jumps[-1] == 2


def test_names_are_edited_in_place_from_the_keyboard(a_panel_with_findings):
    user = a_panel_with_findings
    user.choose_row(1)
    user.table.setFocus()
    user.table.setCurrentCell(1, 0)

    user.key(KEYS.Key_F2)
    editor = user.table.findChild(QtWidgets.QLineEdit)
    editor.selectAll()
    QtTest.QTest.keyClicks(editor, "Knie, medial")
    QtTest.QTest.keyClick(editor, KEYS.Key_Return)
    user.wait()

    assert user.rows()[1][0] == "Knie, medial"
    assert user.workspace.session.lesion(2).name == "Knie, medial"
    segment = user.workspace.segments_node.GetSegmentation().GetSegment("MOISSAM2_2")
    assert segment.GetName() == "Knie, medial"
    user.press("undoButton")
    user.wait()
    assert user.rows()[1][0] == "Lesion 2"


def test_an_empty_name_is_no_name(a_panel_with_findings):
    user = a_panel_with_findings

    user.table.item(1, 0).setText("   ")
    user.wait()

    assert user.rows()[1][0] == "Lesion 2"
    assert user.workspace.session.lesion(2).name == ""


def test_only_names_can_be_edited(a_panel_with_findings):
    table = a_panel_with_findings.table
    editable = QtCore.Qt.ItemFlag.ItemIsEditable
    flags = [bool(table.item(0, n).flags() & editable) for n in range(table.columnCount())]

    assert flags == [True, False, False, False, False]


def test_findings_are_decided_with_two_keys_one_after_the_other(a_panel_with_findings):
    user = a_panel_with_findings
    first = user.panel.table.chosen
    user.table.setFocus()

    user.key(KEYS.Key_A)
    user.wait()
    second = user.panel.table.chosen
    user.key(KEYS.Key_D)
    user.wait()
    third = user.panel.table.chosen

    assert [status_of(user, *n) for n in (first, second, third)] == [
        Status.ACCEPTED,
        Status.REJECTED,
        Status.FOUND,
    ]
    user.key(KEYS.Key_J)
    user.key(KEYS.Key_K)
    assert user.panel.table.chosen == third
    user.key(KEYS.Key_U)
    user.wait()
    assert status_of(user, *second) is Status.FOUND
    user.key(KEYS.Key_U, SHIFT)
    user.wait()
    assert status_of(user, *second) is Status.REJECTED


def test_every_key_does_what_its_button_does(a_panel_with_findings, monkeypatch):
    user = a_panel_with_findings
    user.table.setFocus()

    user.key(KEYS.Key_N)
    assert user.find("placeButton").isChecked()
    user.key(KEYS.Key_X)
    assert user.find("outsideButton").isChecked()
    user.key(KEYS.Key_X)
    assert user.find("insideButton").isChecked()
    user.key(KEYS.Key_P)
    assert not user.find("placeButton").isChecked()
    searched = []
    monkeypatch.setattr(user.workspace.commands, "find_similar", lambda **how: searched.append(how))
    user.key(KEYS.Key_M)
    assert len(searched) == 1


def test_letters_that_are_typed_into_a_text_are_no_keys(a_panel_with_findings):
    user = a_panel_with_findings
    before = user.workspace.state
    user.find("filterBox").setFocus()

    for key in (KEYS.Key_A, KEYS.Key_N, KEYS.Key_D, KEYS.Key_U):
        user.key(key)
    user.wait()

    assert user.find("filterBox").text() == "andu"
    assert user.workspace.state is before


def test_the_keys_are_dead_once_the_panel_is_left(a_panel_with_findings):
    user = a_panel_with_findings
    before = user.workspace.state
    user.table.setFocus()

    user.widget.exit()
    user.turn()
    for key in (KEYS.Key_A, KEYS.Key_D, KEYS.Key_U, KEYS.Key_M, KEYS.Key_N):
        user.key(key)
    user.wait()

    assert user.workspace.state is before


def test_several_rows_are_decided_at_once(a_panel_with_findings):
    user = a_panel_with_findings
    user.choose_row(1)
    user.choose_row(3, add=True)
    assert not user.can("refineButton")

    user.press("rejectButton")
    user.wait()

    assert [status_of(user, n) for n in (2, 3, 4)] == [
        Status.REJECTED,
        Status.FOUND,
        Status.REJECTED,
    ]


def test_a_header_sorts_numbers_as_numbers_and_turns_round(a_panel_with_findings):
    user = a_panel_with_findings
    header = user.table.horizontalHeader()

    header.sectionClicked.emit(3)
    volumes = [float(text) for text in column(user, 3)]
    assert volumes == sorted(volumes)
    header.sectionClicked.emit(3)
    volumes = [float(text) for text in column(user, 3)]
    assert volumes == sorted(volumes, reverse=True)
    header.sectionClicked.emit(1)
    assert column(user, 1)[0] == "? To check"


def test_ten_comes_after_two(a_slicer):
    from MOISSAM2SegmentLib.workspace.lesion_list import LesionEntry

    entries = [
        LesionEntry(n, f"Lesion {n}", "found", 1.0, 1, 0, (1.0, 0.0, 0.0)) for n in (10, 2, 1)
    ]
    names = [e.name for e in _rows().filtered(entries, _rows().RowFilter(column="name"))]

    assert names == ["Lesion 1", "Lesion 2", "Lesion 10"]


def _rows():
    from MOISSAM2SegmentPanel import lesion_rows

    return lesion_rows


def test_the_chosen_rows_stay_chosen_when_the_order_changes(a_panel_with_findings):
    user = a_panel_with_findings
    user.choose_row(2)
    chosen = user.panel.table.chosen

    user.table.horizontalHeader().sectionClicked.emit(2)
    user.table.horizontalHeader().sectionClicked.emit(2)

    assert user.panel.table.chosen == chosen


def test_filters_leave_what_they_say(a_panel_with_findings):
    user = a_panel_with_findings
    count = len(user.rows())

    QtTest.QTest.keyClicks(user.find("filterBox"), "lesion 3")
    user.turn()
    assert column(user, 0) == ["Lesion 3"]
    user.find("filterBox").clear()
    user.find("statusBox").setCurrentIndex(2)
    assert column(user, 1) == ["\u25cf Clicked"]
    user.find("statusBox").setCurrentIndex(0)
    assert len(user.rows()) == count
    assert f"{count} lesions" in user.find("totalsLabel").text()


def test_merging_and_splitting_from_the_menu(a_panel_with_findings):
    user = a_panel_with_findings
    count = len(user.rows())
    user.choose_row(1)
    user.choose_row(2, add=True)

    user.panel.menu.actions["merge"].real.trigger()
    user.wait()
    assert len(user.rows()) == count - 1
    assert len(user.panel.table.chosen) == 1
    user.panel.menu.actions["split"].real.trigger()
    user.wait()
    assert len(user.rows()) == count
    user.choose_row(1)
    user.panel.menu.actions["delete"].real.trigger()
    user.wait()
    assert len(user.rows()) == count - 1


def test_a_decision_is_taken_back_from_the_menu(a_panel_with_findings):
    user = a_panel_with_findings
    lesion_id = user.panel.table.chosen[0]
    user.press("acceptButton")
    user.wait()

    user.panel.table.choose(lesion_id)
    user.panel.menu.actions["reconsider"].real.trigger()
    user.wait()

    assert status_of(user, lesion_id) is Status.FOUND


@pytest.mark.alone
def test_a_table_of_three_hundred_lesions_follows_one_step_quickly(a_started_panel):
    user = a_started_panel
    places = [(s, r, c) for s in range(12) for r in range(2, 30, 3) for c in range(0, 30, 3)][:300]

    def outline_many(session, *_):
        for place in places:
            mask = np.zeros(session.volume.array.shape, dtype=bool)
            mask[place] = True
            session.set_mask(None, mask)

    user.workspace.work.run("Many", outline_many)
    user.wait()
    assert len(user.rows()) == 300
    user.panel.table.show([])
    entries = user.workspace.entries()
    first_time = seconds(lambda: user.panel.table.show(entries))
    user.wait()
    assert [row[0] for row in user.rows()] == [f"Lesion {n}" for n in range(1, 301)]
    nothing_new = seconds(user.panel.show)
    user.workspace.commands.rename(257, "Knie")
    user.wait()

    print(f"300 rows: {1000 * first_time:.0f} ms; nothing new: {1000 * nothing_new:.1f} ms")
    assert user.rows()[256][0] == "Knie"
    assert first_time < 0.03
    assert nothing_new < 0.02


def seconds(action) -> float:
    """Return the time of the main thread that a call takes."""
    began = time.thread_time()
    action()
    return time.thread_time() - began


@pytest.mark.parametrize("placing", [True, False])
def test_after_a_search_the_first_finding_is_chosen(a_started_panel, placing):
    user = a_started_panel
    user.press("newLesionButton")
    user.click_into(FIRST)
    if not placing:
        user.press("placeButton")

    user.press("searchButton")
    user.wait()

    (chosen,) = user.panel.table.chosen
    found = [entry for entry in user.workspace.entries() if entry.status == Status.FOUND.value]
    assert chosen == found[0].lesion_id
    assert user.can("acceptButton")
    assert user.find("findingLabel").text() == f"{len(found)} of {len(found)} left"

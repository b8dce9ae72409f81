"""Tests of what the panel says and shows of itself: messages, progress, and which page."""

from __future__ import annotations

import pytest
from engine_fixtures import FIRST
from scans import scan_node

pytestmark = pytest.mark.usefixtures("errors")


def test_progress_is_shown_and_cancel_stops_it(a_search):
    user = a_search
    assert user.find("progressLabel").text() == "1 of 7: Searching slices"
    assert user.find("progressBar").value() == 14

    user.press("cancelButton")
    user.wait()

    assert [row[0] for row in user.rows()] == ["Lesion 1"]
    assert user.find("progressLabel").text() == ""
    assert user.message == "Stopped; the lesions are as they were."
    assert not user.can("cancelButton")
    assert user.can("searchButton")


def test_what_was_said_goes_when_a_step_begins(a_started_panel):
    user = a_started_panel
    user.press("newLesionButton")
    user.workspace.message("Said of something else.")
    assert user.message == "Said of something else."

    user.click_into(FIRST)

    assert user.message == ""


def test_what_was_said_of_a_scene_goes_when_it_is_closed(a_search):
    user = a_search
    user.go_on.set()
    user.wait()
    assert "Look at each" in user.message

    user.scene.Clear(0)
    user.wait()

    assert user.message == ""
    user.panel.message_line.show("Said before a scan is open.")
    user.scene.Clear(0)
    assert user.message == ""


def test_a_notice_of_the_engine_is_shown(a_started_panel):
    user = a_started_panel

    user.workspace.open_work().run("Tell", lambda session, *_: session.on_notice("It is slow."))
    user.wait()

    assert user.message == "It is slow."


def test_a_script_is_not_stopped_by_a_notice(a_started_panel):
    user, told = a_started_panel, []
    user.workspace.notice.connect(told.append)
    work = user.workspace.open_work()

    user.widget.logic.run(lambda: work.run("Tell", lambda session, *_: session.on_notice("Slow.")))

    assert told == ["Slow."]


def test_a_message_goes_when_the_work_has_changed(a_search):
    user = a_search
    user.go_on.set()
    user.wait()
    assert "finding" in user.message

    user.workspace.commands.accept()
    user.wait()

    assert user.message == ""
    assert "0 left" in user.hint


def test_no_message_of_one_scene_is_left_in_the_next(a_search):
    user = a_search
    user.go_on.set()
    user.wait()
    assert "finding" in user.message

    user.scene.Clear(0)
    user.wait()
    assert user.message == ""

    scan = scan_node(user.scene)
    user.start()
    user.scene.RemoveNode(scan)
    user.wait()
    assert "scan was removed" in user.message
    user.scene.InvokeEvent(user.scene.EndImportEvent)
    user.wait()
    assert user.message == ""


def test_progress_takes_no_room_when_nothing_runs(a_search):
    user = a_search
    while user.find("progressFrame").isHidden():
        user.turn()
    assert user.find("summaryLabel").isHidden()
    user.press("cancelButton")
    user.wait()

    assert user.find("progressFrame").isHidden()
    assert user.find("cancelButton").isHidden()
    assert "mois-sam2-b+" in user.find("summaryLabel").text()


def test_what_is_chosen_once_makes_way_and_comes_back_when_it_is_asked_for(a_panel):
    user = a_panel
    scan_node(user.scene)
    assert user.find("setupFrame").isVisible()
    user.start()
    assert user.find("setupFrame").isHidden()
    assert user.find("workFrame").isVisible()

    user.press("changeButton")
    assert user.find("modelBox").isVisible()
    assert user.find("workFrame").isHidden()
    user.press("changeButton")
    user.press("whereButton")
    assert user.find("insideBox").isVisible()
    assert not user.find("modelBox").isVisible()
    user.press("changeButton")

    assert user.find("workFrame").isVisible()
    user.scene.Clear(0)
    user.wait()
    assert user.find("modelBox").isVisible()
    assert user.find("workFrame").isHidden()

"""Tests of *Join stations...*: volumes of the scene become one scan."""

from __future__ import annotations

import pytest
from scans import add_station


@pytest.fixture
def a_panel_with_stations(a_panel):
    """A user with two stations of one scan, and a third volume that is none."""
    user = a_panel
    add_station(user.scene, 0)
    add_station(user.scene, 1)
    add_station(user.scene, 1, "t1 {}")
    user.panel.enter()
    user.turn()
    return user


def boxes_of(user):
    return {box.text: box for _, box in user.panel.scan.stations.boxes}


def test_joining_is_offered_where_there_are_volumes_to_join(a_panel):
    user = a_panel
    assert not user.find("stationsButton").isVisible()
    add_station(user.scene, 0)
    user.panel.enter()
    assert not user.find("stationsButton").isVisible()
    add_station(user.scene, 1)
    user.panel.enter()
    assert user.find("stationsButton").isVisible()
    assert not user.find("stationsFrame").isVisible()


def test_what_certainly_belongs_together_is_joined_with_two_clicks(a_panel_with_stations):
    user = a_panel_with_stations
    user.press("stationsButton")
    checked = {text: box.checked for text, box in boxes_of(user).items()}
    assert checked == {"cor 1 tirm": True, "cor 2 tirm": True, "t1 2": False}
    user.press("joinButton")
    user.wait()
    scan = user.panel.ui.scanBox.currentNode()
    assert scan.GetName() == "cor 1 tirm (composed)"
    assert user.message == scan.GetDescription()
    assert not user.find("stationsFrame").isVisible()
    user.start()
    assert user.workspace.volume_node is scan


def test_what_cannot_be_joined_is_said_and_the_list_stays(a_panel_with_stations):
    user = a_panel_with_stations
    user.press("stationsButton")
    boxes_of(user)["t1 2"].checked = True
    user.press("joinButton")
    assert "show the same place and cannot be composed" in user.message
    assert user.find("stationsFrame").isVisible()
    boxes_of(user)["t1 2"].checked = False
    user.press("joinButton")
    user.wait()
    assert user.panel.ui.scanBox.currentNode().GetName() == "cor 1 tirm (composed)"


def test_the_list_is_closed_by_the_button_that_opened_it(a_panel_with_stations):
    user = a_panel_with_stations
    user.press("stationsButton")
    user.press("stationsButton")
    assert not user.find("stationsFrame").isVisible()
    assert boxes_of(user) == {}


def test_a_volume_that_was_removed_meanwhile_is_left_out(a_panel_with_stations):
    user = a_panel_with_stations
    user.press("stationsButton")
    user.scene.RemoveNode(user.scene.GetFirstNodeByName("cor 2 tirm"))
    user.press("joinButton")
    assert "at least two volumes" in user.message

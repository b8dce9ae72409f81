"""Tests of Slicer's mouse mode that places points, as the panel switches it."""

from __future__ import annotations

import pytest
import slicer
from engine_fixtures import FIRST
from stub_sessions import is_exactly

pytestmark = pytest.mark.usefixtures("errors")


def test_points_that_another_module_places_are_left_alone(a_panel):
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    interaction.SetCurrentInteractionMode(interaction.Place)

    a_panel.widget.exit()
    a_panel.panel.show()
    a_panel.widget._scene_changed(None, None)

    assert interaction.GetCurrentInteractionMode() == interaction.Place
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)


def test_new_lesion_switches_the_mouse_to_placing_and_the_box_switches_it_back(a_started_panel):
    user = a_started_panel
    interaction = slicer.app.applicationLogic().GetInteractionNode()

    user.press("newLesionButton")
    assert interaction.GetCurrentInteractionMode() == interaction.Place
    user.press("placeButton")
    assert interaction.GetCurrentInteractionMode() == interaction.ViewTransform
    user.press("placeButton")
    user.click_into(FIRST)

    assert is_exactly(user.workspace.session, 1, FIRST)


@pytest.mark.parametrize("ends", ["scan removed", "work ended", "segmentation removed"])
def test_placing_ends_with_the_work(a_started_panel, ends):
    """Slicer's mouse mode belongs to the scene: the next click would go into a dead list."""
    user = a_started_panel
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    user.press("newLesionButton")
    assert interaction.GetCurrentInteractionMode() == interaction.Place

    if ends == "work ended":
        user.workspace.end()
    else:
        is_scan = ends == "scan removed"
        workspace = user.workspace
        user.scene.RemoveNode(workspace.volume_node if is_scan else workspace.segments_node)
    user.wait()

    assert interaction.GetCurrentInteractionMode() == interaction.ViewTransform
    assert not user.find("placeButton").isChecked()


def test_placing_goes_on_in_the_new_list_when_the_points_were_removed(a_started_panel):
    user = a_started_panel
    user.press("newLesionButton")

    user.scene.RemoveNode(user.workspace.points_node)
    user.wait()

    application = slicer.app.applicationLogic()
    interaction, selection = application.GetInteractionNode(), application.GetSelectionNode()
    assert user.find("placeButton").isChecked()
    assert interaction.GetCurrentInteractionMode() == interaction.Place
    assert selection.GetActivePlaceNodeID() == user.workspace.points_node.GetID()

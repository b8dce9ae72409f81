"""Tests of the choices that are saved with a scene, and of scenes that earlier versions saved."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import slicer
from paths import DATA
from scans import scan_node
from user import User

EARLIER = DATA / "earlier" / "scene-1.mrb"
"""Saved when the number of slices was called ``window``; it is 2 there, and 3 by default."""

MODULE = "MOISSAM2Segment"


def parameter_nodes() -> list:
    kind = "vtkMRMLScriptedModuleNode"
    nodes = slicer.util.getNodesByClass(kind)
    return [node for node in nodes if node.GetAttribute("ModuleName") == MODULE]


def value_in(user: User) -> int:
    return user.find("propagationSlicesBox").value()


@pytest.fixture
def a_user(a_slicer, an_engine):
    """A user who has not opened the module yet."""
    user = User(an_engine)
    yield user
    user.close()


@pytest.fixture
def a_bundle(a_slicer, a_scene, tmp_path) -> Path:
    """A scene with a parameter node as Slicer makes it, with the name of an earlier version."""
    logic = slicer.ScriptedLoadableModule.ScriptedLoadableModuleLogic()
    logic.moduleName = MODULE
    node = logic.getParameterNode()
    for name, value in {"window": "5", "smallest": "0.7", "exemplars": "4"}.items():
        node.SetParameter(name, value)
    path = tmp_path / "earlier.mrb"
    assert a_scene.WriteToMRB(str(path))
    a_scene.Clear(0)
    return path


def test_the_number_of_slices_of_an_earlier_scene_is_shown(a_user, a_scene, tmp_path):
    bundle = tmp_path / "scene-1.mrb"
    shutil.copy(EARLIER, bundle)
    assert a_scene.ReadFromMRB(str(bundle))

    a_user.open()

    assert value_in(a_user) == 2
    assert a_user.widget.parameters.propagationSlices == 2
    a_user.start()
    assert "goes on" in a_user.message
    assert a_user.workspace.session.settings.propagation_slices == 2
    assert value_in(a_user) == 2


def test_an_earlier_scene_is_read_while_the_panel_is_open(a_user, a_scene, tmp_path):
    bundle = tmp_path / "scene-1.mrb"
    shutil.copy(EARLIER, bundle)
    a_user.open()
    assert value_in(a_user) == -1

    assert a_scene.ReadFromMRB(str(bundle))
    a_user.turn()

    assert value_in(a_user) == 2
    assert a_user.widget.parameters.propagationSlices == 2


@pytest.mark.parametrize("opened", ["before", "afterwards", "and left before"])
def test_the_modules_own_node_of_an_earlier_scene_is_read(a_user, a_scene, a_bundle, opened):
    """While a panel is open, Slicer copies the saved node into the panel's, and the panel's wrapper
    writes a default value for the present name at once."""
    if opened != "afterwards":
        a_user.open()
    if opened == "and left before":
        a_user.widget.exit()

    assert a_scene.ReadFromMRB(str(a_bundle))
    (a_user.open if opened == "afterwards" else a_user.widget.enter)()

    assert value_in(a_user) == 5
    assert a_user.find("smallestBox").value() == 0.7
    assert a_user.find("exemplarsBox").value() == 4
    (node,) = parameter_nodes()
    assert node.GetParameter("propagationSlices") == "5"
    assert not node.HasParameter("window")


def test_a_choice_after_an_earlier_scene_was_read_is_kept(a_user, a_scene, a_bundle):
    assert a_scene.ReadFromMRB(str(a_bundle))
    a_user.open()
    a_user.find("propagationSlicesBox").setValue(7)

    a_user.widget.exit()
    a_user.widget.enter()

    assert value_in(a_user) == 7
    (node,) = parameter_nodes()
    assert node.GetParameter("propagationSlices") == "7"


def test_choices_come_back_with_the_scene(a_user, a_scene, tmp_path):
    scan = scan_node(a_scene)
    a_user.open()
    a_user.find("propagationSlicesBox").setValue(6)
    bundle = tmp_path / "Szene ä.mrb"
    assert a_scene.WriteToMRB(str(bundle))
    a_scene.Clear(0)
    a_user.turn()
    assert value_in(a_user) == -1

    assert a_scene.ReadFromMRB(str(bundle))
    a_user.turn()

    assert value_in(a_user) == 6
    assert a_user.find("scanBox").currentNode().GetName() == scan.GetName()


def test_widgets_change_no_scene_once_the_panel_is_closed(a_user, a_scene):
    a_user.open()
    box = a_user.find("propagationSlicesBox")
    (node,) = parameter_nodes()

    a_user.widget.cleanup()
    box.setValue(9)

    assert node.GetParameter("propagationSlices") == "-1"

"""The script of what was done: run on the same scan, it makes the same lesions."""

from __future__ import annotations

import re

import numpy as np
import pytest
import slicer
from engine_fixtures import FIRST, SECOND, THIRD
from MOISSAM2SegmentLib.scene.stored_session import stored_sessions
from MOISSAM2SegmentLib.scene.transforms import to_world
from MOISSAM2SegmentLib.setup.sample_data import SEED
from scans import linear_transform, paint, place, scan_node, settle, volume_node, world_of
from scene_setup import stub_engine
from stub_sessions import digest

from mois_core.errors import BadInput
from mois_core.session.state import Settings

LAST_LINE = "logic.close()"


@pytest.fixture
def the_class(a_slicer, one_thread):
    from MOISSAM2Segment import MOISSAM2SegmentLogic

    return MOISSAM2SegmentLogic


@pytest.fixture
def a_logic(the_class, an_engine):
    logic = the_class(an_engine)
    yield logic
    logic.close()


@pytest.fixture
def a_started_logic(a_logic, a_scene):
    """On a scan with the name of a patient."""
    scan = scan_node(a_scene)
    scan.SetName("Doe, Jane 1970")
    a_logic.start(scan, settings=Settings(smallest_cm3=0.001, exemplars=5))
    return a_logic


def at(logic, block, **moved) -> np.ndarray:
    slice_index, row, column = block.middle
    return world_of(logic.workspace, slice_index, row + moved.get("rows", 0), column)


def script_of(logic):
    return logic.workspace.commands.script()


def rerun(text: str, the_class, monkeypatch, **nodes):
    """Run a script as in Slicer's console, without its last line, and return its logic."""
    import MOISSAM2Segment

    class WithStub(the_class):
        def __init__(self) -> None:
            super().__init__(stub_engine())

        def load_model(self, preset, checkpoint=None) -> None:
            assert (preset, checkpoint) == ("stub", None)

    monkeypatch.setattr(MOISSAM2Segment, "MOISSAM2SegmentLogic", WithStub)
    monkeypatch.setattr(slicer.util, "getNode", nodes.__getitem__, raising=False)
    assert text.splitlines()[-1].startswith(LAST_LINE)
    names: dict = {}
    exec(compile("\n".join(text.splitlines()[:-1]), "script", "exec"), names)
    return names["logic"]


@pytest.fixture
def again(the_class, monkeypatch):
    """Run a logic's script on its scan, and return the state and the labels that it makes."""
    made = []

    def run(logic, **nodes) -> tuple[str, str]:
        nodes.setdefault("SCAN", logic.workspace.volume_node)
        rerun_logic = rerun(script_of(logic).text, the_class, monkeypatch, **nodes)
        made.append(rerun_logic)
        return outcome(rerun_logic)

    yield run
    for logic in made:
        logic.close()


def outcome(logic) -> tuple[str, str]:
    session = logic.workspace.session
    return digest(session.state), digest(session.labels())


def do_a_bit_of_everything(logic) -> None:
    commands = logic.workspace.commands
    first = logic.click(at(logic, FIRST))
    second = logic.click(at(logic, SECOND))
    logic.click(logic.workspace.session.stack.point_to_ras(5, 6, 7), positive=False, lesion_id=1)
    logic.run(lambda: commands.adjust(exemplars=3, propagation_slices=2))
    findings = logic.find_similar()
    logic.run(lambda: commands.accept(findings[0]))
    logic.run(lambda: commands.reject(findings[-1]))
    logic.run(commands.undo)
    logic.run(lambda: commands.reject(findings[-1]))
    logic.run(commands.undo)
    logic.run(commands.redo)
    logic.move_click(2, at(logic, SECOND, rows=1))
    logic.delete_clicks(3)
    logic.run(lambda: commands.merge(first, second))
    logic.find_similar()


def test_the_script_makes_the_same_lesions(a_started_logic, again):
    do_a_bit_of_everything(a_started_logic)
    script = script_of(a_started_logic)

    assert script.is_complete
    assert again(a_started_logic) == outcome(a_started_logic)


def test_clicks_that_are_deleted_together_are_one_line_and_one_step(a_started_logic, again):
    logic = a_started_logic
    logic.click(at(logic, FIRST))
    logic.click(at(logic, SECOND))
    logic.click(at(logic, THIRD))
    logic.delete_clicks(1, 3)

    script = script_of(logic)

    assert script.is_complete
    assert "logic.delete_clicks(1, 3)" in script.text
    assert list(logic.workspace.session.state.lesions) == [2]
    assert again(logic) == outcome(logic)
    logic.run(logic.workspace.commands.undo)
    assert list(logic.workspace.session.state.lesions) == [1, 2, 3]


def test_boxes_and_propagating_are_in_the_script(a_started_logic, again):
    logic = a_started_logic
    slice_index, *_ = FIRST.middle
    corners = [world_of(logic.workspace, slice_index, *place) for place in ((5, 4), (13, 12))]
    lesion_id = logic.box(*corners)
    logic.run(lambda: logic.workspace.commands.propagate(lesion_id))

    script = script_of(logic)

    assert script.is_complete
    assert "logic.box((" in script.text
    assert f"logic.run(lambda: commands.propagate({lesion_id}))" in script.text
    assert again(logic) == outcome(logic)


def test_the_script_has_one_line_for_each_step(a_started_logic):
    logic = a_started_logic
    first = logic.click(at(logic, FIRST))
    (found, *_) = logic.find_similar()
    logic.run(lambda: logic.workspace.commands.accept(found))
    place = ", ".join(repr(float(part)) for part in at(logic, FIRST))

    *_, start, click, search, accept, _end = script_of(logic).text.splitlines()
    assert start == (
        "logic.start(SCAN, settings=Settings(axis='coronal', exemplars=5, smallest_cm3=0.001, "
        "min_confidence=0.0), resume=False)"
    )
    assert click == f"logic.click(({place}), lesion_id={first})"
    assert search == "logic.find_similar()"
    assert accept == f"logic.run(lambda: commands.accept({found}))"


def test_the_script_has_no_name_and_no_path(a_started_logic, tmp_path):
    logic = a_started_logic
    scan = logic.workspace.volume_node
    scan.AddDefaultStorageNode()
    scan.GetStorageNode().SetFileName(str(tmp_path / "Doe.nrrd"))
    first = logic.click(at(logic, FIRST))
    logic.run(lambda: logic.workspace.commands.rename(first, "Jane's arm"))

    text = script_of(logic).text
    assert not re.search(r"Doe|Jane|arm|nrrd|vtkMRML", text)
    assert str(tmp_path) not in text
    assert 'SCAN = slicer.util.getNode("SCAN")' in text


def test_points_that_were_placed_together_are_one_step_again(a_started_logic, again):
    logic = a_started_logic

    def paste() -> None:
        place(logic.workspace, FIRST)
        place(logic.workspace, SECOND, "4+")

    logic.run(paste)
    logic.run(logic.workspace.commands.undo)
    logic.run(logic.workspace.commands.redo)

    assert script_of(logic).is_complete
    assert "logic.clicks([" in script_of(logic).text
    assert again(logic) == outcome(logic)


def test_places_are_those_of_the_scene_where_the_scan_is_now(a_started_logic, a_scene, again):
    logic = a_started_logic
    logic.click(at(logic, FIRST))
    scan = logic.workspace.volume_node
    scan.SetAndObserveTransformNodeID(linear_transform(a_scene).GetID())
    settle(logic.workspace)
    logic.click(at(logic, SECOND))

    _, labels = again(logic)
    assert labels == digest(logic.workspace.session.labels())


def test_regions_are_lines_to_fill_in(a_started_logic, a_scene, again):
    logic = a_started_logic
    logic.click(at(logic, FIRST))
    region = a_scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Doe's leg")
    middle = to_world(
        logic.workspace.volume_node, logic.workspace.session.stack.point_to_ras(5, 20, 20)
    )[0]
    region.SetCenterWorld(*middle)
    region.SetSize(30, 60, 30)
    everywhere = logic.find_similar()
    logic.run(logic.workspace.commands.undo)
    limited = logic.find_similar(inside=[region])
    assert limited != everywhere

    script = script_of(logic)
    assert 'REGION_1 = slicer.util.getNode("REGION_1")' in script.text
    assert again(logic, REGION_1=region) == outcome(logic)


def test_what_was_painted_is_said_to_be_missing(a_started_logic):
    logic = a_started_logic
    first = logic.click(at(logic, FIRST))
    logic.run(lambda: paint(logic.workspace, first, np.s_[0:2, 0:2, 0:2]))

    script = script_of(logic)
    assert not script.is_complete
    assert "# Not in this script: Edit. Lesions can differ from here on." in script.text


def test_the_record_goes_on_with_stored_work(a_started_logic, again):
    logic = a_started_logic
    logic.click(at(logic, FIRST))
    scan = logic.workspace.volume_node
    logic.workspace.end()
    logic.start(scan)
    logic.click(at(logic, SECOND))

    assert script_of(logic).is_complete
    assert again(logic) == outcome(logic)


def test_work_of_an_earlier_version_is_said_to_be_missing(a_started_logic, a_scene):
    from MOISSAM2SegmentLib.scene.stored_session import encode

    from mois_core.session.session_file import to_bytes

    logic = a_started_logic
    logic.click(at(logic, FIRST))
    scan, session = logic.workspace.volume_node, logic.workspace.session
    logic.workspace.end()
    (stored,) = stored_sessions(a_scene)
    stored.content = encode(to_bytes(session))
    logic.start(scan)

    assert not script_of(logic).is_complete
    assert "earlier work" in script_of(logic).text


def test_a_refused_click_is_no_step(a_started_logic, again):
    logic = a_started_logic
    logic.click(at(logic, FIRST))
    with pytest.raises(BadInput):
        logic.click((0, 0, 5000))

    assert script_of(logic).is_complete
    assert again(logic) == outcome(logic)


def test_a_click_that_is_not_there_cannot_be_moved(a_started_logic):
    with pytest.raises(BadInput, match="no click 7"):
        a_started_logic.move_click(7, (0, 0, 0))


def test_the_script_runs_as_it_is_with_the_network_that_ships(the_class, a_scene, monkeypatch):
    """With nothing replaced but the name of the scan."""
    from mois_core.phantom import PhantomSettings, make_phantom

    phantom = make_phantom(SEED, PhantomSettings(lesions=8, slices=10, size=(256, 96)))
    scan = volume_node(a_scene, phantom.scan, phantom.ijk_to_ras)
    inside = np.argwhere(phantom.semantic)
    k, j, i = inside[len(inside) // 2]
    place = (phantom.ijk_to_ras @ [i, j, k, 1])[:3]
    monkeypatch.setattr(slicer.util, "getNode", {"SCAN": scan}.__getitem__, raising=False)
    logic = the_class()
    logic.load_model("phantom")
    logic.start(scan)
    first = logic.click(place)
    logic.click(place + 0.7, lesion_id=first)
    findings = logic.find_similar()
    logic.run(lambda: logic.workspace.commands.accept(*findings[:2]))
    expected = logic.workspace.session.labels()
    text = script_of(logic).text
    logic.close()

    lines = text.splitlines()
    names: dict = {}
    exec("\n".join(lines[:-1]), names)
    labels = names["logic"].workspace.session.labels()
    exec(lines[-1], names)

    assert len(np.unique(expected)) > 2
    assert np.array_equal(labels, expected)

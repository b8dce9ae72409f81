"""Tests of the module's logic as scripts use it, with the example in its docstring."""

from __future__ import annotations

import code
import inspect
import textwrap
import threading

import numpy as np
import pytest
import slicer
from dicom_files import IDENTITY_TAGS, write_series
from dicom_scene import Database, load_series
from engine_fixtures import FIRST, SCENE, SECOND, scan_of
from MOISSAM2SegmentLib.scene.click_points import OUTSIDE
from MOISSAM2SegmentLib.scene.stored_session import stored_session_of
from MOISSAM2SegmentLib.scene.transforms import to_world
from MOISSAM2SegmentLib.setup.sample_data import SEED
from MOISSAM2SegmentLib.worker.engine import NO_MODEL
from MOISSAM2SegmentLib.workspace.workspace import NO_SCAN
from scans import add_station, labels_in, scan_node
from stub_sessions import is_exactly

from mois_core.errors import BadInput
from mois_core.session.lesion import Status


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("MOISSAM2")]


@pytest.fixture
def the_class(a_slicer):
    from MOISSAM2Segment import MOISSAM2SegmentLogic

    return MOISSAM2SegmentLogic


@pytest.fixture
def a_logic(the_class, an_engine):
    """The logic with the stub network."""
    logic = the_class(an_engine)
    yield logic
    logic.close()


@pytest.fixture
def a_started_logic(a_logic, a_scene):
    """The logic with the small scan of `engine_fixtures` open."""
    a_logic.start(scan_node(a_scene))
    return a_logic


def place_of(logic, block) -> np.ndarray:
    """Return the place in the world of the middle of a lesion."""
    slice_index, row, column = block.middle
    ras = logic.workspace.session.stack.point_to_ras(slice_index, column, row)
    return to_world(logic.workspace.volume_node, ras)[0]


# ---- the example of the docstring --------------------------------------------------------------


def example_of(kind: type) -> list[str]:
    """Return the lines of the block of code in a class's docstring."""
    _, _, block = inspect.getdoc(kind).partition("::\n")
    return textwrap.dedent(block).strip().splitlines()


def entered_in_console(lines: list[str], names: dict) -> None:
    """Enter lines one by one into a Python console; an error in one ends the test."""
    console = code.InteractiveConsole(names)
    errors: list[str] = []
    console.write = errors.append
    for line in lines:
        is_incomplete = console.push(line)
        assert errors == []
        assert not is_incomplete, f"one line of the console is not enough for: {line}"


def test_the_example_of_the_docstring_runs_as_it_is_printed(the_class, a_scene, one_thread):
    """With the network and the sample scan that the program brings along."""
    names: dict = {}

    *lines, last = example_of(the_class)
    assert last.startswith("logic.close()")
    entered_in_console(lines, names)

    scan, logic, segmentation = names["scan"], names["logic"], names["segmentation"]
    lesion_id, findings = names["lesion_id"], names["findings"]
    assert names["lesion_id"] == 1
    assert len(findings) > 3
    assert lesion_id not in findings
    assert names["mask"].shape == slicer.util.arrayFromVolume(scan).shape
    assert names["mask"].any()
    assert np.array_equal(names["voxels"], names["mask"])
    statuses = {logic.workspace.session.lesion(n).status for n in findings}
    assert statuses == {Status.ACCEPTED}
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 1 + len(findings)
    points = logic.workspace.points_node
    assert threads()

    entered_in_console([last], names)

    assert threads() == []
    assert not logic.workspace.needs_pump
    assert stored_session_of(a_scene, scan).content
    assert labels_in(points) == ["1+"]
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 1 + len(findings)
    observed = slicer.vtkMRMLMarkupsNode.PointStartInteractionEvent
    assert not points.HasObserver(observed)


def test_the_click_of_the_example_lies_in_a_lesion_of_the_sample_scan(the_class):
    from MOISSAM2SegmentLib.setup import sample_data

    from mois_core.phantom import PhantomSettings, make_phantom

    (line,) = [line for line in example_of(the_class) if "logic.click(" in line]
    ras = [float(part) for part in line.partition("((")[2].partition(")")[0].split(",")]
    settings = PhantomSettings(
        lesions=sample_data.LESIONS, slices=sample_data.SLICES, size=sample_data.SIZE
    )
    phantom = make_phantom(SEED, settings)
    i, j, k, _ = np.rint(np.linalg.inv(phantom.ijk_to_ras) @ [*ras, 1]).astype(int)

    assert phantom.semantic[k, j, i] > 0


def test_an_error_in_a_line_of_an_example_is_noticed():
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        entered_in_console(["a = 1", "b = a / 0", "c = 2"], {})


# ---- methods -----------------------------------------------------------------------------------


def test_each_method_waits_until_its_work_is_done(a_started_logic):
    logic = a_started_logic

    first = logic.click(place_of(logic, FIRST))
    assert is_exactly(logic.workspace.session, first, FIRST)
    findings = logic.find_similar()

    assert len(findings) == 2
    assert not logic.workspace.needs_pump
    assert np.array_equal(
        logic.mask(first),
        slicer.util.arrayFromSegmentBinaryLabelmap(
            logic.workspace.segments_node,
            logic.workspace.segments.segment_of(first),
            logic.workspace.volume_node,
        ),
    )


def test_a_negative_click_corrects_a_lesion_and_the_next_click_is_positive_again(a_started_logic):
    logic = a_started_logic
    first, second = logic.click(place_of(logic, FIRST)), logic.click(place_of(logic, SECOND))
    beside = logic.workspace.session.stack.point_to_ras(5, 6, 7)

    assert logic.click(beside, positive=False, lesion_id=first) == first

    assert logic.workspace.session.lesion(first).mask.voxels < FIRST.voxels
    assert is_exactly(logic.workspace.session, second, SECOND)
    assert logic.workspace.commands.positive
    assert labels_in(logic.workspace.points_node) == ["1+", "2+", "1-"]


def test_work_on_a_scan_is_resumed(a_started_logic):
    logic = a_started_logic
    lesion_id = logic.click(place_of(logic, FIRST))
    scan = logic.workspace.volume_node
    logic.workspace.end()

    logic.start(scan)

    assert is_exactly(logic.workspace.session, lesion_id, FIRST)


def test_a_click_outside_the_scan_is_an_error_and_the_work_goes_on(a_started_logic):
    logic = a_started_logic

    with pytest.raises(BadInput) as refusal:
        logic.click((0, 0, 5000))
    assert str(refusal.value) == OUTSIDE

    assert logic.workspace.points_node.GetNumberOfControlPoints() == 0
    assert is_exactly(logic.workspace.session, logic.click(place_of(logic, FIRST)), FIRST)


def test_without_a_scan_every_command_is_an_error(a_logic):
    for action in (
        lambda: a_logic.click((0, 0, 0)),
        a_logic.find_similar,
        lambda: a_logic.mask(1),
        lambda: a_logic.run(a_logic.workspace.commands.accept),
    ):
        with pytest.raises(BadInput) as refusal:
            action()
        assert str(refusal.value) == NO_SCAN


def test_without_a_model_a_scan_is_not_opened(the_class, a_scene):
    logic = the_class()

    with pytest.raises(BadInput) as refusal:
        logic.start(scan_node(a_scene))
    assert str(refusal.value) == NO_MODEL

    assert not logic.workspace.is_open
    logic.close()
    assert threads() == []


def test_a_model_that_is_not_there_is_an_error(the_class):
    logic = the_class()

    with pytest.raises(BadInput, match="nowhere"):
        logic.load_model("phantom", "/nowhere/weights.pt")

    assert not logic.engine.is_ready
    logic.close()


def test_a_node_that_is_no_scan_is_an_error(a_logic, a_scene):
    empty = a_scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "leer")

    with pytest.raises(BadInput, match="leer has no image"):
        a_logic.start(empty)


def test_a_search_without_a_lesion_is_an_error(a_started_logic):
    with pytest.raises(BadInput, match="nothing to search for"):
        a_started_logic.find_similar()


def test_the_module_gives_its_logic_to_scripts(a_panel, monkeypatch):
    """As ``slicer.util.getModuleLogic`` finds it: by the widget."""
    import effect_parts

    effect_parts.put_in_place(monkeypatch, a_panel.widget)

    logic = slicer.util.getModuleLogic("MOISSAM2Segment")

    assert logic is a_panel.widget.logic
    assert logic.workspace is a_panel.panel.workspace


def test_stations_are_joined_and_those_that_cannot_be_are_refused(a_logic, a_scene):
    stations = [add_station(a_scene, n) for n in (0, 1)]
    node = a_logic.join_stations(stations)
    assert node.GetName() == "cor 1 tirm (composed)"
    a_logic.start(node)
    with pytest.raises(BadInput, match="show the same place"):
        a_logic.join_stations([stations[0], node])


def test_lesions_are_written_for_the_archive_that_the_scan_came_from(
    a_logic, a_scene, monkeypatch, tmp_path
):
    pytest.importorskip("highdicom", reason="highdicom is not installed")
    database = Database()
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    values = scan_of(*SCENE)
    how = {"size": values.shape[:0:-1], "spacing": (0.62, 0.62), "tags": IDENTITY_TAGS}
    files = write_series(tmp_path / "scan", "1.2.3.4", range(len(values)), values=values, **how)
    a_logic.start(load_series(a_scene, database, files))
    a_logic.click(place_of(a_logic, FIRST))
    (tmp_path / "out").mkdir()

    folder = a_logic.save_dicom(tmp_path / "out")
    assert folder.parent == tmp_path / "out"
    assert {"segmentation.dcm", "measurements.dcm"} <= {path.name for path in folder.iterdir()}
    with pytest.raises(BadInput):
        a_logic.save_dicom(tmp_path / "nowhere")

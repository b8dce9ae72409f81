"""The scenarios for the Slicer application, with stand-ins for its window.

They are done here as far as stand-ins go, so that no mistake of theirs costs a run in Slicer.
"""

from __future__ import annotations

import ast
import importlib
import json
import sys
import types
from contextlib import contextmanager
from pathlib import Path

import pytest
import slicer
from paths import DATA, TESTING
from PySide6 import QtWidgets
from pythonqt import offered

FOLDER = TESTING / "slicer_application"
SOURCES = [FOLDER / "scenarios.py", *sorted((FOLDER / "application_scenarios").glob("*.py"))]
SMALL = {"SIZE": (128, 64), "SLICES": 8, "QUICK_SIZE": (128, 64), "QUICK_SLICES": 8, "LESIONS": 12}


@pytest.fixture
def scenario(a_panel, monkeypatch, tmp_path):
    """A function that does a part of a scenario; it returns the record."""
    from application_window import ApplicationWindow

    monkeypatch.syspath_prepend(str(FOLDER))
    for name in [n for n in sys.modules if n.startswith("application_scenarios")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("application_test", "window_test"):
        monkeypatch.delitem(sys.modules, f"MOISSAM2SegmentLib.setup.{name}", raising=False)
    window = ApplicationWindow(a_panel, monkeypatch)
    module = importlib.import_module("application_scenarios.reader")
    runner = importlib.import_module("application_scenarios.runner")
    for name, value in SMALL.items():
        monkeypatch.setattr(module, name, value)

    def do(file: str, function: str, part: int = 1, **replaced):
        chosen = importlib.import_module(f"application_scenarios.{file}")
        monkeypatch.setattr(module, "give_model", module.use_stub)
        for name, value in {**replaced, "give_model": module.use_stub}.items():
            monkeypatch.setattr(chosen, name, value, raising=False)
        folder = tmp_path / str(part)
        folder.mkdir()
        record = runner.Record(folder / runner.RESULT)
        reader = module.Reader(record, folder, tmp_path)
        try:
            getattr(chosen, function)(reader)
            reader.check_dialogs()
        finally:
            reader.close()
        assert all((tmp_path / name).stat().st_size for name in record.result.pictures)
        return record.result

    do.window = window
    yield do
    window.let_go()
    QtWidgets.QApplication.processEvents()


@pytest.mark.parametrize(
    ("file", "function", "steps"),
    [
        ("points", "points_in_views", 14),
        ("points", "scan_under_transform", 3),
        ("window", "layout", 4),
        ("window", "panel_in_two_sizes", 4),
        ("interruptions", "scene_closed", 4),
        ("interruptions", "scan_deleted", 4),
        ("interruptions", "segmentation_deleted", 4),
        ("interruptions", "points_deleted", 4),
        ("interruptions", "another_scan", 4),
        ("interruptions", "reloaded", 4),
        ("interruptions", "module_left", 4),
        ("segment_editor", "outlines_taken_over", 3),
    ],
)
def test_a_scenario_comes_to_its_end(scenario, file, function, steps):
    result = scenario(file, function)

    assert len(result.steps) == steps
    assert len(result.pictures) == steps


def test_an_earlier_scan_is_compared(scenario, monkeypatch):
    from compared_scans import register_once

    register_once(monkeypatch)
    scenario.window.user.widget.enter()  # now that there is a window, whose keys are looked for
    result = scenario("comparison", "earlier_scan", SIZE=(128, 40))

    assert len(result.steps) == len(result.pictures) == 7
    assert result.figures["correlation after the registration"] > 0.7


@pytest.mark.parametrize(
    ("function", "steps"),
    [("effect_undo_paint_and_3d", 6), ("effect_with_masks", 5), ("effect_beside_module", 4)],
)
def test_a_scenario_in_the_segment_editor_comes_to_its_end(scenario, monkeypatch, function, steps):
    import effect_parts

    window = scenario.window
    effect_parts.put_in_place(monkeypatch, window.user.widget)
    from segment_editor_module import SegmentEditorModule

    for name in ("selectModule", "getModuleWidget", "getModuleLogic"):
        monkeypatch.setattr(slicer.util, name, getattr(window, name))
    window.others["SegmentEditor"] = SegmentEditorModule(window.user, window.wrapped)

    result = scenario("segment_editor", function, BRUSH_MM=40.0)

    assert len(result.steps) == steps
    assert len(result.pictures) == steps
    window.selectModule("MOISSAM2Segment")


def test_results_go_back_to_the_archive(scenario, monkeypatch):
    """With `DICOMUtils` as it is in 5.10 and 5.12, on Slicer's own reader of DICOM images."""
    pytest.importorskip("highdicom", reason="highdicom is not installed")
    from dicom_scene import Database, load_series

    database = Database()

    @contextmanager
    def temporary(directory=None):
        assert Path(directory).is_dir()
        monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
        yield database

    def import_dicom(dicomDataDir, dicomDatabase=None, copyFiles=False):
        database.add(sorted(Path(dicomDataDir).rglob("*.dcm")))
        return True

    def load(seriesUIDs):
        assert seriesUIDs == ["1.2.3.4"]
        files = [Path(file) for file in database.files.values()]
        return [load_series(slicer.mrmlScene, database, files).GetID()]

    library = types.ModuleType("DICOMLib")
    library.DICOMUtils = types.SimpleNamespace(
        TemporaryDICOMDatabase=temporary, importDicom=import_dicom, loadSeriesByUID=load
    )
    monkeypatch.setitem(sys.modules, "DICOMLib", library)

    result = scenario("archive", "results_as_dicom")

    assert len(result.steps) == 2 and "7 DICOM files are written" in result.steps[-1]


def test_saved_work_goes_on_in_another_slicer(scenario):
    assert len(scenario("processes", "save_work").steps) == 3
    slicer.mrmlScene.Clear(0)
    scenario.window.user.wait()

    result = scenario("processes", "go_on_with_saved_work", part=2)

    assert len(result.steps) == 2


def test_work_is_restored_after_a_crash(scenario, monkeypatch):
    """The Slicer that dies is another process, with locks of its own; it is only pretended here."""
    import os

    from MOISSAM2SegmentLib.workspace.recovery_folder import OwnFolder

    ends = []
    monkeypatch.setattr(os, "kill", lambda pid, number: ends.append((pid, number)))
    killed = scenario("processes", "work_until_killed")
    assert killed.status == "passed"
    assert ends == [(os.getpid(), 9)]

    recovery = scenario.window.user.workspace.recovery
    (own,) = {work.folder for work in recovery.files._works if work.folder is not None}
    os.close(own._lock)
    monkeypatch.setattr(recovery.files, "_works", [])
    monkeypatch.setattr(recovery.files, "_own", None)
    recovery.files.allow(False)
    slicer.mrmlScene.Clear(0)
    scenario.window.user.wait()
    assert isinstance(own, OwnFolder)
    result = scenario("processes", "restore_after_crash", part=2)
    assert len(result.steps) == 3


def test_slicer_is_quit_and_its_question_answered(scenario):
    window = scenario.window

    def ask() -> None:
        box = QtWidgets.QMessageBox(window.window)
        box.addButton("Save", QtWidgets.QMessageBox.ButtonRole.ActionRole)
        box.addButton("Exit (discard)", QtWidgets.QMessageBox.ButtonRole.ActionRole)
        box.setText("The scene has been modified.")
        box.exec()
        pressed.append(box.clickedButton().text())

    pressed: list[str] = []
    window.window.asks = ask

    result = scenario("processes", "quit_in_search")

    assert pressed == ["Exit (discard)"]
    assert "modified" in result.steps[-1]


def test_a_dialog_that_nobody_expects_is_closed_and_makes_the_scenario_fail(scenario, monkeypatch):
    from MOISSAM2SegmentLib.setup.self_test import SelfTestFailed

    window = importlib.import_module("application_scenarios.window")

    def ask(reader) -> None:
        box = QtWidgets.QMessageBox(scenario.window.window)
        box.setText("Something else")
        box.exec()
        reader.step("It was asked")

    monkeypatch.setattr(window, "ask", ask, raising=False)

    with pytest.raises(SelfTestFailed, match="Something else"):
        scenario("window", "ask")


@pytest.mark.parametrize("count", [60, pytest.param(300, marks=pytest.mark.full)])
def test_many_findings_are_found_and_pauses_measured(scenario, count):
    result = scenario("load", "three_hundred_findings", FINDINGS=count, FREEZE_S=60.0)

    assert len(result.steps) == 5
    assert "the longest" in result.figures["search and show"]


def test_memory_is_measured_round_by_round(scenario):
    result = scenario("load", "memory", ROUNDS=2, WARM=1, LESIONS=20)

    assert len(result.figures["MB after each round"]) == 2


def test_memory_that_grows_is_found(scenario):
    from MOISSAM2SegmentLib.setup.self_test import SelfTestFailed

    with pytest.raises(SelfTestFailed, match="memory grows by less than"):
        scenario("load", "memory", ROUNDS=2, WARM=1, LESIONS=3, GROWTH_MB=-1000.0)


@pytest.fixture
def the_script(scenario, monkeypatch, tmp_path):
    """The script in a Slicer that does one part; it has a log file."""
    from types import SimpleNamespace

    log = tmp_path / "Slicer.log"
    log.write_text("[INFO][Qt] 26.11.2026 10:00:00 [] (unknown:0) - started\n", encoding="utf-8")
    model = SimpleNamespace(filePath=str(log))
    monkeypatch.setattr(slicer.app, "errorLogModel", lambda: model, raising=False)
    monkeypatch.delitem(sys.modules, "scenarios", raising=False)
    script = importlib.import_module("scenarios")
    reader = importlib.import_module("application_scenarios.reader")
    monkeypatch.setattr(reader, "give_model", reader.use_stub)
    script.log = log
    return script


def do_part(script, tmp_path) -> tuple[int, dict]:
    place = tmp_path / "layout"
    place.mkdir()
    given = ["--out", str(tmp_path), "--part", "1", "--place", str(place), "layout"]
    status = script.main(given)
    return status, json.loads((place / "result.json").read_text(encoding="utf-8"))


def test_the_script_does_one_part_and_looks_into_the_log(the_script, tmp_path):
    status, result = do_part(the_script, tmp_path)

    assert (status, result["status"]) == (0, "passed"), result["message"]
    assert result["figures"] == {"entries of others in the log": 0}
    assert result["pictures"][0] == "layout/01.png"


def test_a_traceback_of_ours_in_the_log_makes_a_part_fail(the_script, tmp_path):
    with the_script.log.open("a", encoding="utf-8") as log:
        log.write("[CRITICAL][Stream] 26.11.2026 10:00:03 [] (unknown:0) - in MOISSAM2Segment.py\n")

    status, result = do_part(the_script, tmp_path)

    assert (status, result["status"]) == (1, "failed")
    assert "the error log has nothing from us" in result["message"]


def test_a_slicer_without_a_window_skips_a_part(the_script, tmp_path, monkeypatch):
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: None)

    status, result = do_part(the_script, tmp_path)

    assert (status, result["status"]) == (0, "skipped")
    assert "main window" in result["message"]


def test_the_script_starts_a_slicer_for_each_part(the_script, monkeypatch, tmp_path):
    commands = []

    def run_scenarios(wanted, folder, start, environment, turn, limit_s):
        commands.extend(start(name, 1, folder / name) for name in wanted)
        (folder / "summary.txt").write_text("", encoding="utf-8")
        return 0

    monkeypatch.setattr(the_script.runner, "run_all", run_scenarios)
    monkeypatch.setattr(slicer.app, "arguments", lambda: ("Slicer", "--testing", "--", "--out"))
    monkeypatch.setattr(slicer.app, "launcherExecutableFilePath", "", raising=False)
    monkeypatch.setattr(slicer.app, "applicationFilePath", lambda: "the program", raising=False)
    monkeypatch.setattr(slicer.modules, "moissam2segment", object(), raising=False)

    assert the_script.main(["--out", str(tmp_path / "out"), "points", "save"]) == 0

    first, second = commands
    assert first[:3] == ["the program", "--testing", "--python-script"]
    assert first[3].endswith("scenarios.py")
    assert (first[-1], second[-1]) == ("points", "save")


# ---- what Slicer was seen to have ----------------------------------------------------------

KINDS = {
    "slicer.app": "qSlicerApplication",
    "application": "qSlicerApplication",
    "slicer.app.layoutManager()": "qSlicerLayoutManager",
    "slice_widget": "qMRMLSliceWidget",
    "self.window": "qSlicerMainWindow",
    "reader.window": "qSlicerMainWindow",
    "self.editor": "qMRMLSegmentEditorWidget",
    "editor.editor": "qMRMLSegmentEditorWidget",
    "dialog": "QMessageBox",
    "button": "QPushButton",
    "shortcut": "QShortcut",
    "one.key": "QKeySequence",
    "self._timer": "QTimer",
    "pixmap": "QPixmap",
    "table": "QTableWidget",
    "reader.ui.lesionTable": "QTableWidget",
    "reader.ui.scanBox": "qMRMLNodeComboBox",
    "self.ui.scanBox": "qMRMLNodeComboBox",
    "reader.ui.placeWidget": "qSlicerMarkupsPlaceWidget",
}
"""What an expression in the scenarios stands for."""
OF_ALL = {"className", "inherits"}
"""What PythonQt adds to every object (PythonQtInstanceWrapper.cpp)."""


def uses() -> list[tuple[str, str, str]]:
    """Return file, expression and attribute of everything that the scenarios ask objects for."""
    found = []
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                found.append((source.name, ast.unparse(node.value), node.attr))
    return found


def test_the_scenarios_ask_qt_only_for_what_slicer_was_seen_to_have():
    asked = [use for use in uses() if use[1] in KINDS]

    wrong = [use for use in asked if use[2] not in offered(KINDS[use[1]])[0] | OF_ALL]
    assert wrong == []
    assert {expression for _, expression, _ in asked} == set(KINDS), "a kind that is not used"


def test_the_scenarios_call_only_functions_of_slicer_util_that_were_seen():
    functions = json.loads((DATA / "slicer-util-api.json").read_text(encoding="utf-8"))["functions"]
    asked = {name for _, expression, name in uses() if expression == "slicer.util"}

    assert asked - set(functions) == set()
    assert "clickAndDrag" in asked


def test_keywords_of_slicer_util_are_those_that_were_seen():
    functions = json.loads((DATA / "slicer-util-api.json").read_text(encoding="utf-8"))["functions"]
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            if is_call and ast.unparse(node.func.value) == "slicer.util":
                for keyword in node.keywords:
                    assert f"{keyword.arg}=" in functions[node.func.attr], ast.unparse(node)


def test_the_effects_object_has_what_the_scenarios_ask_it_for():
    effect = json.loads((DATA / "effect-api.json").read_text(encoding="utf-8"))
    asked = {
        name
        for _, expression, name in uses()
        if expression in ("effect", "self.editor.activeEffect()", "editor.editor.activeEffect()")
    }

    assert asked == {"self", "setCommonParameter"}
    assert asked <= set(effect)


def test_every_function_of_the_catalogue_exists_and_says_what_it_does(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    from application_scenarios.catalogue import SCENARIOS

    functions = {
        (source.stem, node.name): ast.get_docstring(node)
        for source in SOURCES
        for node in ast.parse(source.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    for name, scenario in SCENARIOS.items():
        for part in scenario.parts:
            assert functions[part.module, part.function], name

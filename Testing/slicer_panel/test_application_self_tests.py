"""Tests of the self tests for the Slicer application, with stand-ins for its parts."""

from __future__ import annotations

import sys
import unittest
from types import SimpleNamespace
from unittest import SkipTest

import numpy as np
import pytest
import sample_data_module
import slicer
from PySide6 import QtCore, QtWidgets
from pythonqt import wrap


@pytest.fixture
def the_module(a_panel, monkeypatch):
    """A user of the module, which Slicer's look-up of modules finds."""
    import effect_parts

    effect_parts.put_in_place(monkeypatch, a_panel.widget)
    for name in ("application_test", "window_test"):
        monkeypatch.delitem(sys.modules, f"MOISSAM2SegmentLib.setup.{name}", raising=False)
    return a_panel


class MainWindow:
    """A qSlicerMainWindow, as far as it is asked for anything."""

    def __init__(self, real: QtWidgets.QWidget) -> None:
        self.resize = real.resize
        self._real = real

    @property
    def size(self) -> QtCore.QSize:
        return self._real.size()

    def statusBar(self) -> SimpleNamespace:  # noqa: N802 - Qt's name
        return SimpleNamespace(showMessage=lambda text, milliseconds: None)


@pytest.fixture
def a_main_window(a_panel, monkeypatch):
    """Slicer's main window, which holds the panel."""
    window = MainWindow(a_panel.window)
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: window)
    return window


@pytest.fixture
def a_log(a_slicer, monkeypatch, tmp_path):
    """Slicer's log file."""
    file = tmp_path / "Slicer_5.12.3.log"
    file.write_text(STARTED, encoding="utf-8")
    model = SimpleNamespace(filePath=str(file))
    monkeypatch.setattr(a_slicer, "errorLogModel", lambda: model, raising=False)
    return file


STARTED = """\
[DEBUG][Qt] 26.11.2026 10:00:00 [] (unknown:0) - Session start time .......: 2026-11-26 10:00:00
[WARNING][Qt] 26.11.2026 10:00:01 [] (unknown:0) - The following modules failed
to be registered: Other in /home/x/MOISSAM2
[INFO][Python] 26.11.2026 10:00:02 [Python] (MOISSAM2Segment.py:3) - MOISSAM2 is there
"""

TRACEBACK = """\
[CRITICAL][Stream] 26.11.2026 10:00:03 [] (unknown:0) - Traceback (most recent call last):
[CRITICAL][Stream] 26.11.2026 10:00:03 [] (unknown:0) -   File "/x/MOISSAM2Segment.py", line 53, in
[CRITICAL][Stream] 26.11.2026 10:00:03 [] (unknown:0) - TypeError: object of type 'NoneType'
"""


@pytest.mark.parametrize("has_views", [True, False], ids=["views", "no main window"])
def test_the_storyboard_runs_in_the_panel(the_module, monkeypatch, has_views):
    from MOISSAM2SegmentLib.setup.application_test import run_in_panel

    if not has_views:
        monkeypatch.setattr(slicer.app, "layoutManager", lambda: None)

    steps = run_in_panel()

    assert "The report is made" in steps
    assert the_module.rows() == []
    assert not the_module.panel.engine.is_ready


def test_the_table_and_the_report_are_looked_at_in_the_main_window(the_module, a_main_window):
    from MOISSAM2SegmentLib.setup.window_test import WINDOW, run_in_window

    before = the_module.window.size()
    steps = run_in_window()

    assert len(steps) == 6
    assert the_module.widget.chosen_modules == ["MOISSAM2Segment"]
    assert the_module.window.size() == before != WINDOW
    assert not the_module.panel.engine.is_ready


def test_a_table_that_is_not_seen_is_found(the_module, a_main_window):
    from MOISSAM2SegmentLib.setup.self_test import SelfTestFailed
    from MOISSAM2SegmentLib.setup.window_test import run_in_window

    table = the_module.find("lesionTable")
    table.setFixedHeight(table.horizontalHeader().height() + 10)

    with pytest.raises(SelfTestFailed, match="pixels of the table's rows are seen"):
        run_in_window()


def test_an_empty_table_view_is_found(the_module, a_main_window, monkeypatch):
    from MOISSAM2SegmentLib.setup.self_test import SelfTestFailed
    from MOISSAM2SegmentLib.setup.window_test import run_in_window

    application = slicer.app.applicationLogic()
    selection = application.GetSelectionNode()
    late = SimpleNamespace(GetSelectionNode=lambda: selection, PropagateTableSelection=lambda: 0)
    monkeypatch.setattr(slicer.app, "applicationLogic", lambda: late)
    late.GetInteractionNode = application.GetInteractionNode

    with pytest.raises(SelfTestFailed, match="the table view shows the report"):
        run_in_window()


@pytest.mark.parametrize("part", ["run_in_window", "run_in_segment_editor"])
def test_what_needs_the_main_window_is_skipped_without_one(the_module, monkeypatch, part):
    from MOISSAM2SegmentLib.setup import application_test, window_test

    monkeypatch.setattr(slicer.app, "layoutManager", lambda: None)

    run = getattr(window_test if part == "run_in_window" else application_test, part)
    with pytest.raises(SkipTest, match="main window"):
        run()


@pytest.fixture
def sample_data_panel(the_module, monkeypatch):
    """The panel of Slicer's module Sample Data, which shows the entries that there were when it
    was made."""
    from MOISSAM2SegmentLib.setup import sample_data

    monkeypatch.setattr(sample_data, "SIZE", (128, 64))
    monkeypatch.setattr(sample_data, "SLICES", 8)
    monkeypatch.setattr(sample_data, "LESIONS", 6)
    monkeypatch.setattr(slicer.modules, "sampleDataSources", {}, raising=False)
    monkeypatch.setitem(sys.modules, "SampleData", sample_data_module)
    sample_data.register(sample_data_module.SampleDataLogic)
    (source,) = slicer.modules.sampleDataSources["MOISSAM2"]
    frame = QtWidgets.QWidget()
    button = QtWidgets.QPushButton(source.sampleName, frame)
    button.setObjectName(f"{source.sampleName}PushButton")
    button.clicked.connect(lambda: source.customDownloader(source))
    panels = {
        "SampleData": SimpleNamespace(parent=wrap(frame)),
        "MOISSAM2Segment": the_module.widget,
    }
    monkeypatch.setattr(slicer.util, "getModuleWidget", panels.__getitem__)
    return frame


def test_the_button_of_sample_data_is_pressed(sample_data_panel):
    from MOISSAM2SegmentLib.setup.application_test import run_sample_data

    assert len(run_sample_data()) == 2
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") == []


def test_a_phantom_that_sample_data_does_not_offer_is_found(sample_data_panel):
    from MOISSAM2SegmentLib.setup.application_test import run_sample_data
    from MOISSAM2SegmentLib.setup.self_test import SelfTestFailed

    slicer.modules.sampleDataSources.clear()

    with pytest.raises(SelfTestFailed, match="Sample Data offers the phantom"):
        run_sample_data()


def test_the_module_s_own_tests_are_found_and_run_one_by_one(the_module, monkeypatch):
    """As the script does it; without a main window one of them is skipped."""
    import MOISSAM2Segment

    monkeypatch.setattr(slicer.app, "layoutManager", lambda: None)
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(MOISSAM2Segment.MOISSAM2SegmentTest)
    tests = {test.id().rpartition(".")[2]: test for test in suite}

    assert tests.keys() == {"test_storyboard", "test_sample_data", "test_window"}
    tests["test_storyboard"].debug()
    with pytest.raises(SkipTest):
        tests["test_window"].debug()


def test_a_log_without_anything_from_us_passes_and_the_others_are_told(the_module, a_log):
    from MOISSAM2SegmentLib.setup.application_test import check_error_log

    (other,) = check_error_log()

    assert "to be registered: Other" in other


@pytest.mark.parametrize(
    "text",
    [
        TRACEBACK,
        "[ERROR][Python] 26.11.2026 10:00:03 [Python] (signal.py:37) - MOISSAM2: a listener failed",
        "[CRITICAL][FD] 26.11.2026 10:00:03 [] (unknown:0) - /x/mois_core/a.py:3: UserWarning: no",
        "[WARNING][Python] 26.11.2026 10:00:03 [Python] (/x/mois_core/a.py:3) - take care",
    ],
)
def test_what_we_put_into_the_log_is_found(the_module, a_log, text):
    from MOISSAM2SegmentLib.setup.application_test import check_error_log
    from MOISSAM2SegmentLib.setup.self_test import SelfTestFailed

    a_log.write_text(STARTED + text, encoding="utf-8")

    with pytest.raises(SelfTestFailed, match="(MOISSAM2Segment.py|a listener failed|a.py:3)"):
        check_error_log()


def test_without_a_log_file_it_is_not_looked_at(the_module, a_log):
    from MOISSAM2SegmentLib.setup.application_test import check_error_log

    a_log.unlink()

    with pytest.raises(SkipTest):
        check_error_log()


def test_the_effect_is_driven_with_the_mouse(the_module, a_main_window, monkeypatch):
    """Over a stand-in for the Segment Editor's widget; the view's arithmetic is Slicer's own."""
    import effect_parts
    from MOISSAM2SegmentLib.scene.view_drawing import MOVE, PRESS, RELEASE
    from MOISSAM2SegmentLib.setup.application_test import run_in_segment_editor
    from slicer_parts import SliceWidget

    editors = []

    class SegmentEditorWidget(effect_parts.EditorWidget):
        def __init__(self) -> None:
            super().__init__(the_module)
            editors.append(self)

    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode")
    view.SetFieldOfView(100, 200, 1)
    view.SetDimensions(400, 800, 1)
    shown, drags = SliceWidget(view), []

    def drag(widget, start, end, steps) -> None:
        drags.append((start, end))
        interactor = widget.sliceView().interactor()
        moves = np.linspace(start, end, steps).round().astype(int).tolist() if steps > 1 else []
        mouse = [(PRESS, start), *((MOVE, place) for place in moves), (RELEASE, end)]
        for event, place in mouse:
            interactor.SetEventInformation(*place)
            editors[0].effect.self().processInteractionEvents(interactor, event, widget)

    manager = slicer.app.layoutManager()
    monkeypatch.setattr(manager, "sliceWidget", lambda name: shown)
    monkeypatch.setattr(slicer, "qMRMLSegmentEditorWidget", SegmentEditorWidget, raising=False)
    monkeypatch.setattr(slicer.util, "clickAndDrag", drag, raising=False)

    steps = run_in_segment_editor()

    assert steps[-1] == "The effect is left"
    (clicked, released), (first, last) = drags
    assert clicked == released and first != last
    assert editors[0].is_deleted
    QtWidgets.QApplication.processEvents()

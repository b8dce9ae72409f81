"""Tests of the self tests for the Slicer application, with stand-ins for its parts."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import slicer
import vtk
from PySide6 import QtWidgets


@pytest.fixture
def the_module(a_panel, monkeypatch):
    """A user of the module, which Slicer's look-up of modules finds."""
    import effect_parts

    effect_parts.put_in_place(monkeypatch, a_panel.widget)
    name = "MOISSAM2SegmentLib.setup.application_test"
    monkeypatch.delitem(sys.modules, name, raising=False)
    return a_panel


def test_the_storyboard_runs_in_the_panel(the_module):
    from MOISSAM2SegmentLib.setup.application_test import run_in_panel

    steps = run_in_panel()

    assert "The report is made" in steps
    assert the_module.rows() == []
    assert not the_module.panel.engine.is_ready


def test_the_effect_is_driven_with_the_mouse(the_module, monkeypatch):
    """Over a stand-in for the Segment Editor's widget; the view's arithmetic is Slicer's own."""
    import effect_parts
    from MOISSAM2SegmentLib.setup.application_test import run_in_segment_editor

    editors = []

    class SegmentEditorWidget(effect_parts.EditorWidget):
        def __init__(self) -> None:
            super().__init__(the_module)
            editors.append(self)

    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode")
    view.SetFieldOfView(100, 200, 1)
    view.SetDimensions(400, 800, 1)
    clicks = []

    def click(widget, start, end, steps) -> None:
        ras = view.GetXYToRAS().MultiplyPoint((*start, 0, 1))[:3]
        clicks.append(ras)
        interactor = vtk.vtkGenericRenderWindowInteractor()
        interactor.SetEventInformation(*start)
        pressed = SimpleNamespace(className=lambda: "qMRMLSliceWidget", world=np.array(ras))
        event = vtk.vtkCommand.LeftButtonPressEvent
        assert editors[0].effect.self().processInteractionEvents(interactor, event, pressed)

    manager = slicer.app.layoutManager()
    monkeypatch.setattr(
        manager,
        "sliceWidget",
        lambda name: SimpleNamespace(mrmlSliceNode=lambda: view),
        raising=False,
    )
    monkeypatch.setattr(slicer, "qMRMLSegmentEditorWidget", SegmentEditorWidget, raising=False)
    monkeypatch.setattr(slicer.util, "clickAndDrag", click, raising=False)

    steps = run_in_segment_editor()

    assert steps[-1] == "The effect is left"
    assert len(clicks) == 1
    assert editors[0].is_deleted
    QtWidgets.QApplication.processEvents()

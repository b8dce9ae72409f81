"""Fixtures with the real panel and its real .ui file, off screen, on PySide6 and slicer-core."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from functools import cache

import pytest
from paths import LOGIC, MODULE, PANEL, TESTING
from slicer_skipping import missing, skipped_module

NEEDED = ("slicer-core", "PySide6-Essentials")

sys.path[:0] = [str(TESTING / "slicer_logic"), str(LOGIC), str(PANEL), str(MODULE)]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


@cache
def reason_to_skip() -> str:
    """Return why the tests cannot run, such as a library of the system that Qt lacks."""
    absent = missing(NEEDED)
    if absent:
        return absent
    try:
        importlib.import_module("PySide6.QtWidgets")
    except ImportError as error:
        return f"PySide6 cannot be loaded: {error}"
    return ""


def pytest_pycollect_makemodule(module_path, parent):
    reason = reason_to_skip()
    return skipped_module(module_path, parent, reason) if reason else None


def pytest_addoption(parser):
    parser.addoption(
        "--screenshots", metavar="FOLDER", help="keep the panel's screenshots in this folder"
    )


@pytest.fixture(scope="session")
def the_application():
    from module_panel import slicer_font
    from PySide6 import QtWidgets

    application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["MOISSAM2"])
    application.setStyle("Fusion")
    application.setFont(slicer_font())
    return application


@pytest.fixture
def dialogs():
    from slicer_parts import Dialogs

    return Dialogs()


@pytest.fixture
def a_slicer(the_application, a_scene, dialogs, monkeypatch, tmp_path):
    """`slicer` and `qt` as a module finds them; no file or setting of this computer is used."""
    import pythonqt
    from slicer_parts import put_in_place, remove_observers

    pythonqt.violations.clear()
    monkeypatch.setenv("MOIS_WEIGHTS_DIR", str(tmp_path / "weights"))
    ours = ("MOISSAM2SegmentPanel", "MOISSAM2SegmentLib.setup.install", "MOISSAM2Segment")
    for name in [n for n in sys.modules if n.startswith(ours[0]) or n in ours]:
        monkeypatch.delitem(sys.modules, name)
    application = put_in_place(monkeypatch, dialogs, str(tmp_path / "settings.ini"))
    yield application
    for name in [n for n in sys.modules if n.startswith(ours[0]) or n in ours]:
        del sys.modules[name]
    remove_observers()
    application.views.let_go()
    assert pythonqt.violations == []


@pytest.fixture
def an_engine(one_thread):
    """The engine with the stub network on its two threads."""
    from scene_setup import stub_engine

    engine = stub_engine()
    yield engine
    engine.close()


@pytest.fixture
def a_panel(a_slicer, an_engine):
    """A user who has opened the module on an empty scene, with the stub network loaded."""
    from user import User

    user = User(an_engine)
    user.open()
    yield user
    user.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("MOISSAM2")]


@pytest.fixture
def a_started_panel(a_panel):
    """A user who has begun to work on the small scan of `engine_fixtures`."""
    from scans import scan_node

    scan_node(a_panel.scene)
    a_panel.start()
    return a_panel


@pytest.fixture
def the_effect(a_panel, monkeypatch):
    """The effect as Slicer has it after its start, cloned for one Segment Editor."""
    import effect_parts
    import slicer

    effect_parts.put_in_place(monkeypatch, a_panel.widget)
    monkeypatch.delitem(sys.modules, "SegmentEditorMOISSAM2", raising=False)
    module = importlib.import_module("SegmentEditorMOISSAM2")
    parent = type("Parent", (), {})()
    module.SegmentEditorMOISSAM2(parent)
    assert parent.hidden
    assert parent.categories
    slicer.app.at_start[-1]()
    (registered,) = effect_parts.EffectObject.registered
    clone = registered.self().clone()
    clone.self().setupOptionsFrame()
    return clone


@pytest.fixture
def an_effect(the_effect, a_panel):
    """A user who has chosen the effect and an empty segment, on a scan that is open."""
    from effect_parts import EffectUser
    from scans import scan_as_read
    from segment_editor import Editor

    scan_as_read(a_panel.scene)
    a_panel.start()
    user = EffectUser(a_panel, the_effect, Editor(a_panel.workspace))
    user.python.activate()
    a_panel.wait()
    yield user
    user.python.cleanup()


@pytest.fixture
def a_search(a_started_panel, monkeypatch):
    """A search that waits in the middle until it is let go or cancelled."""
    from engine_fixtures import FIRST

    user = a_started_panel
    user.press("newLesionButton")
    user.click_into(FIRST)
    running, go_on = threading.Event(), threading.Event()
    find = user.workspace.session.find_similar

    def slow(progress, cancel, *how):
        progress(1, 7, "searching slices")
        running.set()
        while not go_on.wait(0.002):
            cancel.check()
        return find(progress, cancel, *how)

    monkeypatch.setattr(user.workspace.session, "find_similar", slow)
    user.press("searchButton")
    assert running.wait(5)
    while "searching" not in user.find("progressLabel").text().lower():
        user.turn()
    user.go_on = go_on
    return user

"""Fixtures for tests on Slicer's own libraries from the slicer-core wheel, without Qt and display.

This folder must not be called `slicer`: the package of that name imports every file of every
folder of that name that it finds on the path.
"""

from __future__ import annotations

import sys
import threading

import pytest
from paths import LOGIC
from slicer_skipping import missing, skipped_module

sys.path.insert(0, str(LOGIC))


def pytest_pycollect_makemodule(module_path, parent):
    reason = missing(["slicer-core"])
    if not reason or module_path.name == "test_slicer_packaging.py":
        return None
    return skipped_module(module_path, parent, reason)


@pytest.fixture
def an_engine():
    """The engine with the stub network on its two threads."""
    from scene_setup import stub_engine

    engine = stub_engine()
    yield engine
    engine.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("MOISSAM2")]


@pytest.fixture
def a_volume_node(a_scene):
    """A small scan with five things on it, as `engine_fixtures` describes them."""
    from scans import scan_node

    return scan_node(a_scene)


@pytest.fixture
def a_workspace(a_scene, an_engine):
    """A workspace without a scan, with lists of what it says; it is closed afterwards."""
    from MOISSAM2SegmentLib.workspace.workspace import Workspace

    workspace = Workspace(a_scene, an_engine)
    workspace.messages = []
    workspace.message.connect(workspace.messages.append)
    workspace.notices = []
    workspace.notice.connect(workspace.notices.append)
    yield workspace
    workspace.close()


@pytest.fixture
def an_open_workspace(a_workspace, a_volume_node):
    """A workspace in which the scan is ready."""
    from scans import settle

    a_workspace.start(a_volume_node)
    settle(a_workspace)
    assert a_workspace.is_open
    return a_workspace


@pytest.fixture
def an_editor(an_open_workspace):
    """The Segment Editor with a segmentation of the user's own and one empty segment."""
    from segment_editor import Editor

    return Editor(an_open_workspace)


@pytest.fixture
def a_linked_window(a_scene, errors):
    """Slicer's window, with the logic that links its slice views."""
    import slicer
    from slicer_window import SlicerWindow

    links = slicer.vtkMRMLSliceLinkLogic()
    links.SetMRMLScene(a_scene)
    window = SlicerWindow(a_scene)
    yield window
    window.let_go()
    links.SetMRMLScene(None)


@pytest.fixture
def registrations(monkeypatch):
    """Scans are registered once for all tests; a list of how often it was asked for."""
    from compared_scans import register_once

    return register_once(monkeypatch)


@pytest.fixture
def a_reader(a_workspace, a_scene, a_linked_window, registrations):
    """Somebody who works on a second visit's scan, with the first one's in the scene."""
    from compared_scans import Reader

    return Reader(a_workspace, a_scene)

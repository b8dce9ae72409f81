"""Slicer's own libraries under pytest, from the slicer-core wheel: no Qt, no display.

This folder must not be called `slicer`: the package of that name imports every file of every
folder of that name that it finds on the path.
"""

from __future__ import annotations

import gc
import importlib.metadata
import sys
import threading
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MISSING = "needs the package slicer-core (pip install slicer-core)"

sys.path[:0] = [str(HERE.parent), str(ROOT / "MOISSAM2Segment" / "Logic")]


def has_slicer_core() -> bool:
    try:
        importlib.metadata.version("slicer-core")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


class SkippedModule(pytest.Module):
    """A test module that is not imported, because it could not be."""

    def collect(self):
        pytest.skip(MISSING, allow_module_level=True)


def pytest_pycollect_makemodule(module_path, parent):
    if has_slicer_core() or module_path.name == "test_slicer_packaging.py":
        return None
    return SkippedModule.from_parent(parent, path=module_path)


@pytest.fixture(scope="session")
def the_scene(tmp_path_factory):
    """Made once: it takes a second, and Slicer has one scene too."""
    from scene_setup import make_scene

    scene, keep = make_scene(str(tmp_path_factory.mktemp("slicer")))
    yield scene
    scene.Clear(1)
    del keep


@pytest.fixture
def a_scene(the_scene):
    """An empty scene, emptied again afterwards."""
    scene = the_scene
    scene.Clear(0)
    yield scene
    scene.Clear(0)
    gc.collect()


@pytest.fixture
def an_engine():
    """The stub network on its two threads."""
    from MOISSAM2SegmentLib.engine import Engine
    from stub_network import StubNetwork

    from mois_core.state import ModelInfo

    engine = Engine()
    engine.use(StubNetwork(), ModelInfo("stub", "stub.pt", "0" * 64))
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
    """A workspace without a scan, that tells what was said and is closed afterwards."""
    from MOISSAM2SegmentLib.workspace import Workspace

    workspace = Workspace(a_scene, an_engine)
    workspace.heard = []
    workspace.said.connect(workspace.heard.append)
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

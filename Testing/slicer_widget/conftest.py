"""The real panel with its real .ui file, off screen: PySide6 in Qt's place, slicer-core below."""

from __future__ import annotations

import gc
import importlib.metadata
import importlib.util
import os
import sys
import threading
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
NEEDED = ("slicer-core", "PySide6-Essentials")

sys.path[:0] = [
    str(HERE),
    str(HERE.parent),
    str(HERE.parent / "slicer_logic"),
    str(ROOT / "MOISSAM2Segment" / "Logic"),
    str(ROOT / "MOISSAM2Segment"),
]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


def missing() -> list[str]:
    absent = []
    for name in NEEDED:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            absent.append(name)
    return absent


class SkippedModule(pytest.Module):
    """A test module that is not imported, because it could not be."""

    def collect(self):
        names = " and ".join(missing())
        pytest.skip(f"needs {names} (pip install {names})", allow_module_level=True)


def pytest_pycollect_makemodule(module_path, parent):
    return SkippedModule.from_parent(parent, path=module_path) if missing() else None


def pytest_addoption(parser):
    parser.addoption(
        "--screenshots", metavar="FOLDER", help="keep the panel's screenshots in this folder"
    )


@pytest.fixture(scope="session")
def the_application():
    from PySide6 import QtWidgets

    application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["MOISSAM2"])
    application.setStyle("Fusion")
    return application


@pytest.fixture(scope="session")
def the_scene(tmp_path_factory):
    from scene_setup import make_scene

    scene, keep = make_scene(str(tmp_path_factory.mktemp("slicer")))
    yield scene
    scene.Clear(1)
    del keep


@pytest.fixture
def a_scene(the_scene):
    the_scene.Clear(0)
    yield the_scene
    the_scene.Clear(0)
    gc.collect()


@pytest.fixture
def dialogs():
    from slicer_parts import Dialogs

    return Dialogs()


@pytest.fixture
def a_slicer(the_application, a_scene, dialogs, monkeypatch, tmp_path):
    """`slicer` and `qt` as a module finds them; nothing of this computer is read or written."""
    import pythonqt
    from slicer_parts import put_in_place

    pythonqt.violations.clear()
    monkeypatch.setenv("MOIS_WEIGHTS_DIR", str(tmp_path / "weights"))
    ours = ("MOISSAM2SegmentLib.panel", "MOISSAM2SegmentLib.install", "MOISSAM2Segment")
    for name in [n for n in sys.modules if n.startswith(ours[0]) or n in ours]:
        monkeypatch.delitem(sys.modules, name)
    application = put_in_place(monkeypatch, dialogs, str(tmp_path / "settings.ini"))
    yield application
    for name in [n for n in sys.modules if n.startswith(ours[0]) or n in ours]:
        del sys.modules[name]
    assert pythonqt.violations == []


@pytest.fixture
def an_engine(one_thread):
    """The stub network on its two threads; closed by the panel that has it."""
    from MOISSAM2SegmentLib.engine import Engine
    from stub_network import StubNetwork

    from mois_core.state import ModelInfo

    engine = Engine()
    engine.use(StubNetwork(), ModelInfo("stub", "stub.pt", "0" * 64))
    yield engine
    engine.close()


@pytest.fixture
def a_panel(a_slicer, an_engine):
    """The module opened on an empty scene, with the stub network ready."""
    from user import User

    user = User(an_engine)
    user.open()
    yield user
    user.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("MOISSAM2")]


@pytest.fixture
def a_started_panel(a_panel):
    """Work on the small scan of `engine_fixtures` has begun."""
    from scans import scan_node

    scan_node(a_panel.scene)
    a_panel.start()
    return a_panel

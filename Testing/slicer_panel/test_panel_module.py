"""Tests of the module before the user has pressed anything: start, imports, texts, icons."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from paths import LOGIC, MODULE, PANEL, ROOT, SUPPORT

from tools.draw_icons import FOLDER, icon_files

WITH_TEXTS = sorted(
    [*MODULE.glob("*.py"), *PANEL.rglob("*.py"), *(MODULE / "SegmentEditorMOISSAM2").rglob("*.py")]
)

HEAVY = ("torch", "scipy", "SimpleITK", "safetensors", "filelock", "tqdm", "PIL")

OPEN_IT = """
import sys
sys.path[:0] = {path!r}
import slicer, pytest
from PySide6 import QtWidgets
from scene_setup import make_scene
from slicer_parts import Dialogs, put_in_place
from user import User
scene, keep = make_scene({folder!r})
put_in_place(pytest.MonkeyPatch(), Dialogs(), {folder!r} + "/settings.ini")
application = QtWidgets.QApplication(["test"])
user = User()
user.open()
print("missing:", user.find("installLabel").text() * user.find("installFrame").isVisible())
assert not user.can("startButton")
user.widget.exit()
user.close()
print("loaded:", [name for name in {heavy!r} if name in sys.modules])
"""

BLOCK_THEM = """
import importlib.metadata, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {heavy!r}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Blocker())
found = importlib.metadata.version
def version(name):
    if name in {heavy!r}:
        raise importlib.metadata.PackageNotFoundError(name)
    return found(name)
importlib.metadata.version = version
"""


def run(code: str, folder: Path) -> str:
    """Run code in a process of its own, and return what it printed."""
    here = Path(__file__).parent
    path = [here, SUPPORT, here.parent / "slicer_logic", MODULE, LOGIC, PANEL, ROOT]
    code = code.format(heavy=HEAVY, path=[str(one) for one in path], folder=str(folder))
    environment = {**os.environ, "MOIS_WEIGHTS_DIR": str(folder)}
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        encoding="utf-8",
        check=False,
        cwd=folder,
        env=environment,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


@pytest.fixture
def a_module(a_slicer):
    """The module after Slicer's start."""
    import MOISSAM2Segment

    parent = SimpleNamespace(path=str(MODULE / "MOISSAM2Segment.py"))
    return MOISSAM2Segment.MOISSAM2Segment(parent)


def test_the_module_tells_slicer_where_it_belongs(a_module):
    parent = a_module.parent

    assert parent.title == "MOISSAM2 Segment"
    assert parent.categories == ["Segmentation"]
    assert "research use only" in parent.helpText.lower()
    assert "cite" in parent.acknowledgementText
    assert set(parent.dependencies) >= {"Markups", "Segmentations", "Volumes"}


def test_the_sample_scan_is_offered_once_slicer_has_started(a_module, a_slicer, monkeypatch):
    offered = []
    logic = SimpleNamespace(registerCustomSampleDataSource=lambda **how: offered.append(how))
    monkeypatch.setitem(sys.modules, "SampleData", SimpleNamespace(SampleDataLogic=logic))

    for slot in a_slicer.at_start:
        slot()

    assert offered[0]["category"] == "MOISSAM2"
    assert offered[0]["uris"] == offered[0]["fileNames"] == offered[0]["nodeNames"] == []
    assert Path(offered[0]["thumbnailFileName"]).is_file()


def test_the_panel_opens_while_every_package_is_missing(tmp_path):
    printed = run(BLOCK_THEM + OPEN_IT, tmp_path)

    assert "torch" in printed.splitlines()[0]
    assert "loaded: []" in printed


def test_opening_the_panel_does_not_wait_for_torch(tmp_path):
    printed = run(OPEN_IT, tmp_path)

    assert printed.splitlines()[0] == "missing: "
    loaded = printed.splitlines()[1]
    assert not any(name in loaded for name in ("torch", "scipy", "SimpleITK", "PIL"))


def imports_at_file_scope(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.split(".")[0])
    return names


def test_the_module_file_imports_nothing_of_ours_until_it_is_opened():
    names = imports_at_file_scope(MODULE / "MOISSAM2Segment.py")

    assert names <= {"__future__", "collections", "pathlib", "slicer", "typing"}


@pytest.mark.parametrize("path", sorted(PANEL.rglob("*.py")), ids=lambda path: path.name)
def test_no_part_of_the_panel_imports_the_engine_at_file_scope(path):
    assert not imports_at_file_scope(path) & {"mois_core", *HEAVY}


@pytest.mark.parametrize("path", WITH_TEXTS, ids=lambda path: path.name)
def test_every_text_of_the_panel_goes_through_the_translation(path):
    """Texts are strings with a blank inside; keys, names and formats have none."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    translated = set()
    for node in ast.walk(tree):
        name = node.func.id if isinstance(node, ast.Call) and hasattr(node.func, "id") else ""
        if name in ("_", "translate"):
            translated |= {id(part) for part in ast.walk(node)}
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            strings = (one for one in node.body if isinstance(one, ast.Expr))
            translated |= {id(one.value) for one in strings}
    missed = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and " " in node.value.strip()
        and id(node) not in translated
    ]
    assert [text for text in missed if not text.startswith(("(", "MOISSAM2 contributors"))] == []


def test_icons_are_those_that_the_script_draws():
    committed = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.svg")}

    assert committed == icon_files()


def test_every_icon_can_be_drawn_in_both_themes(a_panel):
    from PySide6 import QtCore
    from user import use_palette

    pictures = {}
    for dark in (False, True):
        use_palette(dark)
        a_panel.turn()
        a_panel.widget.enter()
        icon = a_panel.find("newLesionButton").icon()
        pictures[dark] = icon.pixmap(QtCore.QSize(24, 24)).toImage()
    use_palette(False)

    assert not pictures[False].isNull()
    assert pictures[False] != pictures[True]
    assert a_panel.panel.shortcuts.keys

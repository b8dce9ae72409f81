"""Tests of the module before the user has pressed anything: start, imports, texts, icons."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import sample_data_module
import slicer
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


@pytest.fixture
def sample_data_entry(a_module, a_slicer, monkeypatch):
    """The module's entry in Sample Data, after Slicer's start."""
    monkeypatch.setattr(slicer.modules, "sampleDataSources", {}, raising=False)
    monkeypatch.setitem(sys.modules, "SampleData", sample_data_module)
    for slot in a_slicer.at_start:
        slot()
    (entry,) = slicer.modules.sampleDataSources["MOISSAM2"]
    return entry


def test_the_sample_scan_is_offered_once_slicer_has_started(sample_data_entry):
    assert sample_data_entry.sampleName == "MOISSAM2Phantom"
    assert Path(sample_data_entry.thumbnailFileName).is_file()


def test_the_button_of_sample_data_brings_the_sample_scan_into_the_views(
    sample_data_entry, a_slicer, monkeypatch
):
    from MOISSAM2SegmentLib.setup import sample_data

    monkeypatch.setattr(sample_data, "SIZE", (128, 64))
    monkeypatch.setattr(sample_data, "SLICES", 8)
    monkeypatch.setattr(sample_data, "LESIONS", 6)
    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLScene(slicer.mrmlScene)
    logic.AddSliceNode("Red")

    sample_data_entry.customDownloader(sample_data_entry)

    (scan,) = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActiveVolumeID() == scan.GetID()
    assert logic.GetSliceCompositeNode().GetBackgroundVolumeID() == scan.GetID()
    assert a_slicer.cursors == []
    logic.SetMRMLScene(None)


def test_a_sample_scan_that_cannot_be_made_is_told_about_in_a_dialog(
    sample_data_entry, a_slicer, dialogs, monkeypatch
):
    from MOISSAM2SegmentLib.setup import sample_data

    def fail() -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(sample_data, "make_phantom_volume", fail)

    with pytest.raises(MemoryError):
        sample_data_entry.customDownloader(sample_data_entry)

    assert dialogs.asked == ["The sample scan could not be made.\n\nno room"]
    assert a_slicer.cursors == []


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
        icon = a_panel.find("searchButton").icon()
        pictures[dark] = icon.pixmap(QtCore.QSize(24, 24)).toImage()
    use_palette(False)

    assert not pictures[False].isNull()
    assert pictures[False] != pictures[True]
    assert a_panel.panel.shortcuts.keys

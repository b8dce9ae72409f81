"""Tests that the texts of the logic go through Slicer's translation, before they are filled in."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
from paths import LOGIC

LIBRARY = LOGIC / "MOISSAM2SegmentLib"
FOR_DEVELOPERS = ("self_test.py", "application_test.py", "window_test.py", "error_log.py")
WRITES_PYTHON = "script.py"
FILES = [path for path in sorted(LIBRARY.rglob("*.py")) if path.name not in FOR_DEVELOPERS]

NAMES = {
    "Binary labelmap",
    "Closed surface",
    "MOISSAM2 engine",
    "MOISSAM2 saving",
    "Whole-body phantom",
    "session 1",
    " MOISSAM2 session",
    " lesion report",
    "the worker is closed",
    "Segmentation category and type - DICOM master list",
    "SCT^49755003^Morphologically Altered Structure",
    "Anatomic codes - DICOM master list",
}
"""Names in VTK, of threads, of nodes and of terms, and an error of programmers: none is translated.
"""

NAME_JOBS = ("Job", "run", "_run", "_measured")
"""Functions whose first argument is the name of a job, which is not shown."""


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    """Return all calls in a tree with the name of the function."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [(getattr(c.func, "id", getattr(c.func, "attr", "")), c) for c in found]


def translated(tree: ast.AST) -> list[str]:
    """Return the texts that go through the translation."""
    arguments = [call.args for name, call in calls(tree) if name == "_"]
    return [ast.literal_eval(argument) for (argument,) in arguments]


def untranslated(tree: ast.AST) -> list[str]:
    """Return the strings with a blank inside that are no docstrings and not translated."""
    accounted: set[int] = set()
    for name, call in calls(tree):
        if name == "_":
            accounted |= {id(part) for part in ast.walk(call)}
        elif name in NAME_JOBS and call.args:
            accounted.add(id(call.args[0]))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            accounted |= {id(one.value) for one in node.body if isinstance(one, ast.Expr)}
    strings = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    texts = [n.value for n in strings if isinstance(n.value, str) and id(n) not in accounted]
    return [text for text in texts if " " in text.strip() and not text.startswith("MOISSAM2: ")]


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.name != WRITES_PYTHON], ids=lambda path: path.name
)
def test_every_text_goes_through_the_translation(path):
    assert set(untranslated(ast.parse(path.read_text(encoding="utf-8")))) <= NAMES


@pytest.fixture
def in_another_language(monkeypatch):
    """The logic as Slicer loads it in another language, and the texts that Slicer was asked for.

    The translation is the text in angle brackets.
    """
    asked: list[tuple[Path, str]] = []

    def tr(text: str) -> str:
        asked.append((Path(inspect.currentframe().f_back.f_code.co_filename), text))
        return f"<{text}>"

    i18n = ModuleType("slicer.i18n")
    i18n.tr = tr
    monkeypatch.setitem(sys.modules, "slicer.i18n", i18n)
    for name in [name for name in sys.modules if name.split(".")[0] == LIBRARY.name]:
        monkeypatch.delitem(sys.modules, name)
    package = importlib.import_module(LIBRARY.name)
    for info in pkgutil.walk_packages(package.__path__, f"{LIBRARY.name}."):
        importlib.import_module(info.name)
    yield asked
    for name in [name for name in sys.modules if name.split(".")[0] == LIBRARY.name]:
        del sys.modules[name]


def test_slicer_is_asked_for_every_text_by_the_file_that_has_it(in_another_language):
    """Slicer's translation and its tool that gathers texts tell them apart by the file."""
    expected = [
        (path, text)
        for path in FILES
        for text in translated(ast.parse(path.read_text(encoding="utf-8")))
    ]

    assert len(expected) > 40
    assert sorted(in_another_language) == sorted(expected)


@pytest.mark.usefixtures("in_another_language")
def test_texts_are_translated_before_they_are_filled_in(a_scene):
    from MOISSAM2SegmentLib.messages import error_message
    from MOISSAM2SegmentLib.scene.transforms import view_of

    from mois_core.errors import BadInput

    node = a_scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "leer")
    with pytest.raises(BadInput, match="^<leer has no image; .*>$"):
        view_of(node)
    assert error_message(KeyError()).startswith("<Something went wrong")
    assert "(KeyError)" in error_message(KeyError())


@pytest.mark.usefixtures("in_another_language")
def test_messages_of_the_workspace_are_translated(a_scene):
    from MOISSAM2SegmentLib.worker.engine import Engine
    from MOISSAM2SegmentLib.workspace.workspace import Workspace

    from mois_core.errors import BadInput

    engine = Engine()
    workspace = Workspace(a_scene, engine)

    with pytest.raises(BadInput, match="^<Open a scan first.>$"):
        workspace.commands.undo()
    workspace.close()
    engine.close()


def test_without_a_slicer_application_texts_stay_as_they_are():
    from MOISSAM2SegmentLib.workspace.workspace import NO_SCAN

    assert NO_SCAN == "Open a scan first."

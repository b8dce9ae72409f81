"""Tests of an extension package, which has to work without the source tree."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from paths import LOGIC, MODULE, PANEL, ROOT

from tools.extension_package import lay_out, unit_tests

EFFECT = MODULE / "SegmentEditorMOISSAM2"
ENGINE = ROOT / "mois_core"


def has_slicer_core() -> bool:
    try:
        importlib.metadata.version("slicer-core")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


HAS_SLICER_CORE = has_slicer_core()

IMPORT_EVERYTHING = """
import importlib, pkgutil, sys
package = importlib.import_module("MOISSAM2SegmentLib")
names = [info.name for info in pkgutil.walk_packages(package.__path__, "MOISSAM2SegmentLib.")]
skipped = []
for name in names:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in ("slicer", "vtk"):
            raise
        skipped.append(name)
roots = ("mois_core", package.__name__)
ours = [module for name, module in list(sys.modules.items()) if name.split(".")[0] in roots]
print("torch" in sys.modules, len(names), len(skipped))
print(*[module.__file__ for module in ours], sep="\\n")
"""

WORK = """
import numpy as np
from mois_core.geometry import Volume
from mois_core.session import Session
from mois_core.network.loading import load_model
volume = Volume(np.random.default_rng(0).random((3, 32, 32)).astype("f4"), np.eye(4))
session = Session(load_model("mois-tiny"), volume)
from MOISSAM2SegmentLib.worker.label_updates import LabelUpdates
label_updates = LabelUpdates(session)
session.click((16, 16, 1), propagate=False)
print(len(label_updates.update().patches), __import__("MOISSAM2SegmentLib").__file__)
"""

STORYBOARD = """
import sys, tempfile
import scene_setup
with tempfile.TemporaryDirectory() as folder:
    scene, keep = scene_setup.make_scene(folder)
    from MOISSAM2SegmentLib.setup.self_test import run_storyboard
    for step in run_storyboard():
        print(step)
    scene.Clear(1)
for name in ("mois_core", "MOISSAM2SegmentLib"):
    print(sys.modules[name].__file__)
"""


def python_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}


@pytest.fixture(scope="module")
def a_layout(tmp_path_factory) -> Path:
    """A folder in which the extension was built and installed."""
    if shutil.which("cmake") is None:
        pytest.skip("needs cmake")
    return tmp_path_factory.mktemp("package with spaces ä")


@pytest.fixture(scope="module")
def installed(a_layout) -> Path:
    """The flat folder as an installed extension has it."""
    return lay_out(a_layout)


def test_every_file_of_ours_arrives(installed):
    arrived = python_below(installed)
    wanted = {f"mois_core/{path}" for path in python_below(ENGINE)}
    wanted |= (
        python_below(LOGIC) | python_below(PANEL) | python_below(EFFECT) | {"MOISSAM2Segment.py"}
    )

    assert arrived == wanted


def test_what_the_files_need_besides_arrives_too(installed):
    for folder, target, kinds in (
        (ENGINE, "mois_core", {".json", ".safetensors"}),
        (MODULE / "Resources", "Resources", {".png", ".svg", ".ui"}),
        (EFFECT / "SegmentEditorMOISSAM2Lib", "SegmentEditorMOISSAM2Lib", {".png"}),
    ):
        paths = [path for path in folder.rglob("*") if path.suffix in kinds]
        assert paths
        for path in paths:
            copy = installed / target / path.relative_to(folder)
            assert copy.read_bytes() == path.read_bytes()


def test_nothing_lies_in_the_module_that_does_not_arrive(installed):
    known = {".py", ".pyc", ".png", ".svg", ".ui", ".txt"}

    assert {path.suffix for path in MODULE.rglob("*") if path.is_file()} <= known
    assert {path.name for path in MODULE.rglob("*.txt")} == {"CMakeLists.txt"}


@pytest.mark.usefixtures("installed")
def test_the_self_test_is_registered_with_ctest(a_layout):
    assert unit_tests(a_layout) == ["MOISSAM2Segment.py"]


def run_in(folder: Path, code: str, *others: Path) -> list[str]:
    """Run code in a process that knows the folder and installed packages, and starts nowhere."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    inherited = [path for path in sys.path if path.endswith("site-packages")]
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (folder, *others, *inherited)))
    empty = folder.parent / "empty"
    empty.mkdir(exist_ok=True)
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=empty,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return [line for line in result.stdout.splitlines() if line]


def test_the_package_imports_from_the_flat_folder_without_torch(installed):
    (summary, *files) = run_in(installed, IMPORT_EVERYTHING)

    torch, count, skipped = summary.split()
    assert torch == "False"
    assert int(count) == len(python_below(LOGIC)) - 1
    if HAS_SLICER_CORE:
        assert int(skipped) == 0
    assert files
    assert all(Path(file).is_relative_to(installed) for file in files)


def test_the_installed_engine_and_logic_work_together(installed):
    (line,) = run_in(installed, WORK)

    patches, where = line.split(" ", maxsplit=1)
    assert int(patches) in (0, 1)
    assert Path(where).is_relative_to(installed)


@pytest.mark.skipif(not HAS_SLICER_CORE, reason="needs slicer-core")
def test_the_storyboard_runs_from_the_flat_folder(installed, tmp_path):
    """With the scene's set-up beside it, and nothing else of the source tree."""
    shutil.copy(Path(__file__).with_name("scene_setup.py"), tmp_path)

    *steps, engine, package = run_in(installed, STORYBOARD, tmp_path)

    assert any("Similar" in step for step in steps)
    assert Path(engine).is_relative_to(installed)
    assert Path(package).is_relative_to(installed)

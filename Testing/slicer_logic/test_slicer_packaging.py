"""What an extension package holds works without the source tree."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "MOISSAM2Segment"
PACKAGE = MODULE / "Logic" / "MOISSAM2SegmentLib"
FLAT_FOLDER = "lib/Slicer-5.12/qt-scripted-modules"

SLICER_DOUBLE = f"""
set(Slicer_USE_FILE ${{CMAKE_CURRENT_LIST_DIR}}/use.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${{CMAKE_CURRENT_LIST_DIR}}/empty.cmake)
set(Slicer_EXTENSION_CPACK ${{CMAKE_CURRENT_LIST_DIR}}/empty.cmake)
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR {FLAT_FOLDER})
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR {FLAT_FOLDER})
"""

CTK_DOUBLE = """
# Copies into the build folder and installs from there, as CTK's macro of this name does.
function(ctkMacroCompilePythonScript)
  cmake_parse_arguments(MY "NO_INSTALL_SUBDIR;GLOBAL_TARGET"
    "TARGET_NAME;SOURCE_DIR;DESTINATION_DIR;INSTALL_DIR" "SCRIPTS;RESOURCES" ${ARGN})
  if(MY_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "unknown arguments: ${MY_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT DEFINED MY_SOURCE_DIR)
    set(MY_SOURCE_DIR ${CMAKE_CURRENT_SOURCE_DIR})
  endif()
  foreach(file ${MY_SCRIPTS} ${MY_RESOURCES})
    get_filename_component(folder ${MY_DESTINATION_DIR}/${file} DIRECTORY)
    file(COPY ${MY_SOURCE_DIR}/${file} DESTINATION ${folder})
  endforeach()
  install(DIRECTORY ${MY_DESTINATION_DIR}/ DESTINATION ${MY_INSTALL_DIR})
endfunction()
"""

IMPORT_EVERYTHING = """
import importlib, pkgutil, sys
package = importlib.import_module("MOISSAM2SegmentLib")
names = [info.name for info in pkgutil.iter_modules(package.__path__)]
skipped = []
for name in names:
    try:
        importlib.import_module("MOISSAM2SegmentLib." + name)
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
from MOISSAM2SegmentLib.painting import Painter
painter = Painter(session)
session.click((16, 16, 1), carry=False)
print(len(painter.update().patches), __import__("MOISSAM2SegmentLib").__file__)
"""


def in_cmake() -> list[str]:
    text = (MODULE / "CMakeLists.txt").read_text(encoding="utf-8")
    (block,) = re.findall(r"set\(MODULE_LOGIC_SCRIPTS\s+(.*?)\)", text, flags=re.DOTALL)
    return block.split()


def test_every_file_of_the_logic_is_listed_once():
    files = [path.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.rglob("*.py")]

    assert sorted(in_cmake()) == sorted(files)


def test_nothing_but_python_lies_in_the_package():
    others = [path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".py"]

    assert [path for path in others if path.suffix != ".pyc"] == []


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The flat folder as an installed extension has it."""
    if shutil.which("cmake") is None:
        pytest.skip("needs cmake")
    folder = tmp_path_factory.mktemp("package with spaces ä")
    double = folder / "double"
    double.mkdir()
    (double / "SlicerConfig.cmake").write_text(SLICER_DOUBLE, encoding="utf-8")
    (double / "use.cmake").write_text(CTK_DOUBLE, encoding="utf-8")
    (double / "empty.cmake").touch()
    (double / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(Module NONE)\n"
        "include(SlicerConfig.cmake)\ninclude(use.cmake)\n"
        f'add_subdirectory("{MODULE.as_posix()}" module)\n',
        encoding="utf-8",
    )
    for name, source in {"engine": ROOT, "module": double}.items():
        build = folder / f"build {name}"
        configure = ["cmake", "-S", source, "-B", build, f"-DSlicer_DIR={double}"]
        install = ["cmake", "--install", build, "--prefix", folder / "installed"]
        for command in (configure, install):
            subprocess.run(command, check=True, capture_output=True, text=True)
    return folder / "installed" / FLAT_FOLDER


def run_in(folder: Path, code: str) -> list[str]:
    """Run code in a process that knows the folder and installed packages, and starts nowhere."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    inherited = [path for path in sys.path if path.endswith("site-packages")]
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), *inherited])
    empty = folder.parent / "empty"
    empty.mkdir(exist_ok=True)
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=empty,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return [line for line in result.stdout.splitlines() if line]


def test_the_package_imports_from_the_flat_folder_without_torch(installed):
    (summary, *files) = run_in(installed, IMPORT_EVERYTHING)

    torch, count, skipped = summary.split()
    assert torch == "False"
    assert int(count) == len(in_cmake()) - 1
    if has_slicer_core():
        assert int(skipped) == 0
    assert files
    assert all(Path(file).is_relative_to(installed) for file in files)


def test_the_installed_engine_and_logic_work_together(installed):
    (line,) = run_in(installed, WORK)

    patches, where = line.split(" ", maxsplit=1)
    assert int(patches) in (0, 1)
    assert Path(where).is_relative_to(installed)


def has_slicer_core() -> bool:
    try:
        importlib.metadata.version("slicer-core")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True

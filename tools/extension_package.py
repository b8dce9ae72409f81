"""Lay the extension out as Slicer's build does, from our CMake files and doubles of Slicer's.

    python tools/extension_package.py FOLDER

makes a folder that Slicer takes as an additional module path. The doubles know the arguments that
the real functions know, and no others.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
FLAT_FOLDER = "lib/Slicer-5.12/qt-scripted-modules"
TESTS_FILE = "python-unittests.txt"

CONFIG = f"""
set(Slicer_USE_FILE ${{CMAKE_CURRENT_LIST_DIR}}/use.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${{CMAKE_CURRENT_LIST_DIR}}/empty.cmake)
set(Slicer_EXTENSION_CPACK ${{CMAKE_CURRENT_LIST_DIR}}/empty.cmake)
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR {FLAT_FOLDER})
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR {FLAT_FOLDER})
set(BUILD_TESTING ON)
"""

USE = """
# Copies into the build folder and installs from there, as CTK's macro of this name does.
function(ctkMacroCompilePythonScript)
  cmake_parse_arguments(MY "NO_INSTALL_SUBDIR;GLOBAL_TARGET"
    "TARGET_NAME;SOURCE_DIR;DESTINATION_DIR;INSTALL_DIR" "SCRIPTS;RESOURCES" ${ARGN})
  if(MY_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "unknown arguments: ${MY_UNPARSED_ARGUMENTS}")
  endif()
  foreach(needed TARGET_NAME SCRIPTS DESTINATION_DIR INSTALL_DIR)
    if("${MY_${needed}}" STREQUAL "")
      message(FATAL_ERROR "${needed} is missing")
    endif()
  endforeach()
  # Two targets of one name are an error in the real macro too.
  add_custom_target(Copy${MY_TARGET_NAME}PythonScriptFiles)
  if(NOT DEFINED MY_SOURCE_DIR)
    set(MY_SOURCE_DIR ${CMAKE_CURRENT_SOURCE_DIR})
  endif()
  foreach(file ${MY_SCRIPTS} ${MY_RESOURCES})
    get_filename_component(folder ${MY_DESTINATION_DIR}/${file} DIRECTORY)
    file(COPY ${MY_SOURCE_DIR}/${file} DESTINATION ${folder})
  endforeach()
  install(DIRECTORY ${MY_DESTINATION_DIR}/ DESTINATION ${MY_INSTALL_DIR})
endfunction()

function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME"
    "SCRIPTS;RESOURCES" ${ARGN})
  if(MY_UNPARSED_ARGUMENTS OR NOT MY_NAME)
    message(FATAL_ERROR "unknown arguments: ${MY_UNPARSED_ARGUMENTS}")
  endif()
  ctkMacroCompilePythonScript(
    TARGET_NAME ${MY_NAME}
    SCRIPTS "${MY_SCRIPTS}"
    RESOURCES "${MY_RESOURCES}"
    DESTINATION_DIR ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}
    INSTALL_DIR ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}
    NO_INSTALL_SUBDIR
  )
endfunction()

function(slicer_add_python_unittest)
  cmake_parse_arguments(MY "" "TESTNAME_PREFIX;SCRIPT" "SLICER_ARGS" ${ARGN})
  if(MY_UNPARSED_ARGUMENTS OR NOT MY_SCRIPT)
    message(FATAL_ERROR "unknown arguments: ${MY_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${MY_SCRIPT})
    message(FATAL_ERROR "there is no ${MY_SCRIPT}")
  endif()
  file(APPEND ${CMAKE_BINARY_DIR}/python-unittests.txt "${MY_SCRIPT}\\n")
endfunction()
"""


def lay_out(folder: Path) -> Path:
    """Configure and install into a folder; return the flat folder in it that Slicer would load."""
    double, build = folder / "double", folder / "build"
    double.mkdir(parents=True)
    (double / "SlicerConfig.cmake").write_text(CONFIG, encoding="utf-8")
    (double / "use.cmake").write_text(USE, encoding="utf-8")
    (double / "empty.cmake").touch()
    configure = ["cmake", "-S", ROOT, "-B", build, f"-DSlicer_DIR={double}"]
    install = ["cmake", "--install", build, "--prefix", folder / "installed"]
    for command in (configure, install):
        done = subprocess.run(
            command, check=False, capture_output=True, encoding="utf-8", errors="replace"
        )
        if done.returncode:
            raise RuntimeError(f"{done.stdout}\n{done.stderr}")
    return folder / "installed" / FLAT_FOLDER


def unit_tests(folder: Path) -> list[str]:
    """Return the scripts that CTest would run in Slicer, of a layout made before."""
    return (folder / "build" / TESTS_FILE).read_text(encoding="utf-8").split()


def main() -> None:
    """Lay the extension out in the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the folder to make")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as build:
        shutil.copytree(lay_out(Path(build)), args.folder)


if __name__ == "__main__":
    main()

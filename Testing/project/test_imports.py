"""Files import only what the contracts in pyproject.toml let them, and none by way of itself.

The contracts are import-linter's. It compares the files of one folder, and the folders of one
folder; a package whose own ``__init__`` takes part in a circle it does not see, so that is looked
for here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest
from paths import ROOT

CONFIGURATION = ROOT / "pyproject.toml"
OPTIONS = tomllib.loads(CONFIGURATION.read_text(encoding="utf-8"))["tool"]["importlinter"]
ID_OF_NAME = {contract["name"]: contract["id"] for contract in OPTIONS["contracts"]}
PACKAGE_FOLDERS = (
    "MOISSAM2Segment/Logic",
    "MOISSAM2Segment/Panel",
    "MOISSAM2Segment/SegmentEditorMOISSAM2",
)
LINT_IMPORTS = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """Check the packages of a tree. A process of its own, because ours has imported the project's
    packages, and Python finds those again wherever it is told to look."""
    folders = [str(root / folder) for folder in (".", *PACKAGE_FOLDERS)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(folders),
        "PYTHONIOENCODING": "utf-8",
        "COLUMNS": "200",  # so that no name of a contract is broken over two lines
    }
    return subprocess.run(
        [sys.executable, "-c", LINT_IMPORTS, "--no-cache", "--no-logo", str(CONFIGURATION)],
        cwd=root,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def verdicts(report: str) -> dict[str, str]:
    """Contract -> KEPT or BROKEN, as printed."""
    lines = re.findall(r"^(.+) (KEPT|BROKEN)$", report, flags=re.MULTILINE)
    return {ID_OF_NAME[name]: verdict for name, verdict in lines}


def test_every_contract_on_imports_is_kept():
    done = lint_imports(ROOT)

    assert done.returncode == 0, done.stdout + done.stderr
    assert verdicts(done.stdout) == dict.fromkeys(ID_OF_NAME.values(), "KEPT")


# ---- broken on purpose -------------------------------------------------------------------------


@dataclass(frozen=True)
class BadImport:
    """A line at the end of a file, and the contracts that it breaks."""

    file: str
    line: str
    broken: frozenset[str]


def bad(file: str, line: str, *broken: str) -> BadImport:
    return BadImport(file, line, frozenset(broken))


LIB = "MOISSAM2Segment/Logic/MOISSAM2SegmentLib"
PANEL = "MOISSAM2Segment/Panel/MOISSAM2SegmentPanel"
EFFECT = "MOISSAM2Segment/SegmentEditorMOISSAM2/SegmentEditorMOISSAM2Lib"

BAD_IMPORTS = (
    bad("mois_core/evaluation/surfaces.py", "import vtk.util", "engine-without-slicer"),
    bad("mois_core/network/holes.py", "import mois_core.io.scan", "engine-layers"),
    bad("mois_core/weights/store.py", "import mois_core.phantom.write", "engine-layers"),
    bad("mois_core/a_new_room.py", "import mois_core.errors", "engine-layers"),
    bad(f"{LIB}/worker/jobs.py", "import slicer", "worker-without-slicer"),
    bad(f"{LIB}/signal.py", "import vtk", "worker-without-slicer"),
    bad(f"{LIB}/scene/regions.py", "import qt", "logic-without-qt"),
    bad(f"{LIB}/workspace/step_runner.py", "import MOISSAM2SegmentPanel.icons", "logic-without-qt"),
    bad(f"{LIB}/messages.py", "import MOISSAM2SegmentLib.signal", "logic-layers"),
    bad(f"{LIB}/a_new_room.py", "import mois_core.errors", "logic-layers"),
    bad(
        f"{LIB}/scene/observers.py",
        "import MOISSAM2SegmentLib.workspace.workspace",
        "logic-layers",
        "no-circles",
    ),
    bad(
        f"{PANEL}/panel.py",
        "from mois_core.cli import arguments",
        "slicer-without-command-line",
    ),
    bad(
        f"{EFFECT}/SegmentEditorEffect.py",
        "import MOISSAM2SegmentPanel.icons",
        "effect-without-panel",
    ),
    bad("mois_core/geometry.py", "import tools.parity", "shipped-without-tools"),
    bad("mois_core/session/lesion.py", "import mois_core.session.state", "no-circles"),
    bad(
        "mois_core/session/lesion.py",
        "def later():\n    from mois_core.session import state",
        "no-circles",
    ),
    bad(
        "mois_core/session/lesion.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import mois_core.session.state",
        "no-circles",
    ),
)


@pytest.fixture
def a_copy(tmp_path) -> Path:
    """The packages without what is no code."""
    for package in ("mois_core", *PACKAGE_FOLDERS):
        for path in (ROOT / package).rglob("*.py"):
            copy = tmp_path / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    return tmp_path


@pytest.mark.parametrize("change", BAD_IMPORTS, ids=lambda change: f"{change.file}: {change.line}")
def test_one_bad_import_breaks_just_the_contract_that_forbids_it(a_copy, change):
    path = a_copy / change.file
    assert path.exists() != (path.stem == "a_new_room")
    with path.open("a", encoding="utf-8") as file:
        file.write(f"\n\n{change.line}\n")

    done = lint_imports(a_copy)

    assert done.returncode == 1
    found = {name for name, verdict in verdicts(done.stdout).items() if verdict == "BROKEN"}
    assert found == change.broken, done.stdout + done.stderr


def test_every_contract_is_seen_to_fail():
    assert set(ID_OF_NAME.values()) == set().union(*(change.broken for change in BAD_IMPORTS))


# ---- circles -----------------------------------------------------------------------------------


def circle_in(*packages: str) -> list[str]:
    """Files that import one another in a circle, those of packages themselves included."""
    graph = grimp.build_graph(*packages, cache_dir=None)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_no_file_imports_itself_by_way_of_others(monkeypatch):
    for folder in PACKAGE_FOLDERS:
        monkeypatch.syspath_prepend(str(ROOT / folder))

    assert circle_in(*OPTIONS["root_packages"]) == []


def test_a_circle_through_a_package_itself_is_found(monkeypatch, tmp_path):
    package = tmp_path / "a_circular_package"
    package.mkdir()
    (package / "__init__.py").write_text("from a_circular_package.first import thing\n", "utf-8")
    (package / "first.py").write_text("import a_circular_package.second\nthing = 1\n", "utf-8")
    (package / "second.py").write_text(
        "def later():\n    from a_circular_package import thing\n", "utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    circle = circle_in(package.name)

    assert set(circle) == {package.name, f"{package.name}.first", f"{package.name}.second"}

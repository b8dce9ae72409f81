"""Developers' scripts run as modules and as files, and are told about where one looks for them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from paths import ROOT

import tools

FILES = sorted((ROOT / "tools").glob("*.py"))
SCRIPTS = [path.stem for path in FILES if "__main__" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("way", ["as a module", "as a file"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_says_what_it_does_whichever_way_it_is_run(name, way):
    how = ["-m", f"tools.{name}"] if way == "as a module" else [f"tools/{name}.py"]
    done = subprocess.run(
        [sys.executable, *how, "--help"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage:")


@pytest.mark.parametrize("name", [path.stem for path in FILES if path.stem != "__init__"])
def test_a_file_of_the_tools_is_listed_in_their_description(name):
    assert name in tools.__doc__

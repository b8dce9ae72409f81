"""The script that runs the self tests in Slicer fails when one of them fails."""

from __future__ import annotations

import os
import subprocess
import sys
import unittest
from pathlib import Path

import pytest
from paths import LOGIC, ROOT, TESTING
from slicer_skipping import missing

FOLDER = TESTING / "slicer_application"
SCRIPT = FOLDER / "run_self_tests.py"
WORKFLOW = ROOT / ".github" / "workflows" / "slicer.yml"


NO_SLICER = missing(["slicer-core"])
needs_slicer = pytest.mark.skipif(bool(NO_SLICER), reason=NO_SLICER)


@pytest.fixture
def the_script(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import run_self_tests

    return run_self_tests


def run_script(*first_on_path: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, first_on_path))}
    return subprocess.run(
        [sys.executable, str(SCRIPT)],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@needs_slicer
def test_the_self_tests_pass_as_far_as_they_run_without_slicer():
    done = run_script()

    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed, 0 failed" in done.stdout


@needs_slicer
def test_a_defect_makes_the_script_fail(tmp_path):
    """An engine that cannot be imported lies in front of the real one."""
    broken = tmp_path / "mois_core"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('not here')\n", encoding="utf-8")

    done = run_script(tmp_path)

    assert done.returncode == 1
    assert "0 passed, 1 failed" in done.stdout
    assert "not here" in done.stderr


def fails() -> None:
    raise AssertionError("on purpose")


def ends() -> None:
    raise SystemExit(0)


def passes() -> None:
    pass


def test_one_failure_is_enough_and_the_others_are_run(the_script, capsys):
    seen = []

    assert the_script.run({"a": fails, "b": lambda: seen.append(1)}) == 1

    assert seen == [1]
    assert "1 passed, 1 failed" in capsys.readouterr().out


def test_a_test_that_ends_the_program_has_failed(the_script):
    assert the_script.run({"a": ends}) == 1


def skips() -> None:
    raise unittest.SkipTest("needs Slicer's main window")


def test_what_is_skipped_counts_as_neither_passed_nor_failed(the_script, capsys):
    assert the_script.run({"a": skips, "b": passes}) == 0

    printed = capsys.readouterr().out
    assert "skipped: needs Slicer's main window" in printed
    assert "1 passed, 0 failed, 1 skipped" in printed


def test_no_test_is_a_failure_too(the_script):
    assert the_script.run({}) == 1
    assert the_script.run({"a": skips}) == 1
    assert the_script.run({"a": passes}) == 0


@needs_slicer
def test_the_workflow_installs_what_the_extension_would(monkeypatch):
    monkeypatch.syspath_prepend(str(LOGIC))
    from MOISSAM2SegmentLib.setup import install

    lines = (FOLDER / "packages.txt").read_text(encoding="utf-8").splitlines()
    needed = [r.specifier for r in install.REQUIREMENTS if not r.is_bundled]
    assert [line for line in lines if not line.startswith("#")] == needed


def test_the_workflow_runs_this_script_on_every_supported_slicer():
    yaml = pytest.importorskip("yaml")
    workflow = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    commands = "\n".join(step.get("run", "") for step in job["steps"])

    assert job["strategy"]["matrix"]["slicer"] == ["5.10", "5.12"]
    runs = [step["run"] for step in job["steps"] if SCRIPT.name in step.get("run", "")]
    assert ["--no-main-window" in run for run in runs] == [False, True]
    assert all("--testing" in run for run in runs)
    for path in (SCRIPT, FOLDER / "packages.txt", ROOT / "tools" / "extension_package.py"):
        assert path.relative_to(ROOT).as_posix() in commands
    assert workflow["defaults"]["run"]["shell"] == "bash", "a pipe must fail with any of its parts"
    assert not any(step.get("continue-on-error") for step in job["steps"])
    assert job["steps"][-1]["run"].endswith("run_self_tests.py")

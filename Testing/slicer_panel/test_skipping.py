"""Test that the panel's tests are skipped with the reason where Qt cannot be loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_without_a_library_of_the_system_the_tests_are_skipped_and_say_which(tmp_path):
    broken = tmp_path / "PySide6"
    broken.mkdir()
    loader = "libEGL.so.1: cannot open shared object file"
    (broken / "__init__.py").write_text("", "utf-8")
    (broken / "QtWidgets.py").write_text(f"raise ImportError({loader!r})", "utf-8")
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])

    test = HERE / "test_panel_report_section.py"
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", test],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        encoding="utf-8",
    )

    assert result.returncode == 5, result.stdout + result.stderr
    assert f"PySide6 cannot be loaded: {loader}" in result.stdout
    assert "1 skipped" in result.stdout

"""The first *Start* in a program that has not loaded torch does not stop the window for long.

``python Testing/slicer_logic/first_start.py`` prints the figures, with the folders of this test on
``PYTHONPATH``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from scans import MOST_S

SCRIPT = Path(__file__).parent / "first_start.py"


def test_torch_is_loaded_by_the_worker_and_its_libraries_without_holding_the_interpreter():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, str(SCRIPT)],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    told = json.loads(result.stdout.splitlines()[-1])

    assert told["imported on the main thread"] is False
    if sys.platform == "linux":
        assert told["libraries were loaded before"] is True
    assert max(told["ms of the main thread's own work"].values()) < 1000 * MOST_S


@pytest.mark.skipif(os.name != "posix", reason="torch loads its libraries in this way itself")
def test_libraries_that_cannot_be_loaded_are_left_to_torch(tmp_path, monkeypatch):
    from MOISSAM2SegmentLib.worker.torch_libraries import load_libraries

    package = tmp_path / "torch"
    (package / "lib").mkdir(parents=True)
    (package / "__init__.py").write_text("", "utf-8")
    for ending in ("so", "dylib"):
        (package / "lib" / f"libtorch_python.{ending}").write_bytes(b"no library")
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.syspath_prepend(str(tmp_path))

    assert load_libraries() == []

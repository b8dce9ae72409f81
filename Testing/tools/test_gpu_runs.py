"""Measurements are kept, limited in time, told when they fail, and gone on with after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from paths import ROOT

from tools.gpu_runs import FAILED, FIGURES, PASSED, TIMED_OUT, Piece, Result, figures_of, run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a GPU is measured on Linux")


def python(code: str, **how) -> Piece:
    return Piece("piece", "a piece", ("-c", code), **how)


def test_a_piece_keeps_what_it_printed_and_its_figures(tmp_path):
    figures = tmp_path / "piece" / FIGURES
    code = f"open({str(figures)!r}, 'w').write('{{\"seconds\": 2}}'); print('done')"
    result = run(python(code), tmp_path)
    assert (result.status, list(result.last_lines)) == (PASSED, ["done"])
    assert result.command.startswith("python -c ")
    assert figures_of(tmp_path, "piece") == {"seconds": 2}
    assert Result.kept(tmp_path, "piece") == result


def test_a_piece_that_fails_tells_its_last_lines_and_keeps_no_old_figures(tmp_path):
    (tmp_path / "piece").mkdir()
    (tmp_path / "piece" / FIGURES).write_text('{"seconds": 1}', "utf-8")
    result = run(python("[print(n) for n in range(99)]; raise SystemExit('no memory')"), tmp_path)
    assert result.status == FAILED
    assert result.last_lines[-1] == "no memory" and len(result.last_lines) == 15
    assert figures_of(tmp_path, "piece") == {}


def test_a_piece_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path):
    child = "import time; time.sleep(60)"
    code = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        "print(child.pid, flush=True)\nchild.wait()"
    )
    result = run(python(code, seconds=3), tmp_path)
    assert result.status == TIMED_OUT and result.seconds < 30
    assert ended(int(result.last_lines[0]))


def ended(process: int) -> bool:
    """Whether a process is gone, or was and nobody has asked for its exit code yet."""
    for _ in range(50):
        try:
            os.kill(process, 0)
            with open(f"/proc/{process}/stat", encoding="utf-8") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.1)
    return False


DRIVER = """
import sys
from pathlib import Path
from tools.gpu_runs import Piece, run
code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
run(Piece("piece", "a piece", ("-c", code)), Path(sys.argv[1]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone ends children with their parent")
def test_a_killed_row_leaves_nothing_running_and_nothing_that_counts_as_a_result(tmp_path):
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path)], cwd=ROOT)
    output = tmp_path / "piece" / "output.txt"
    for _ in range(300):
        if output.is_file() and output.read_text("utf-8").strip():
            break
        time.sleep(0.1)
    child = int(output.read_text("utf-8"))
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert ended(child)
    assert Result.kept(tmp_path, "piece") is None

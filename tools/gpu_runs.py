"""Runs a measurement in a process of its own, with a time limit, and keeps what came out.

What is kept is not measured again, so that a row of measurements that was stopped goes on with
what is missing. One that fails is kept as well, with its last lines.
"""

from __future__ import annotations

import ctypes
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mois_core.io.atomic import atomic_write

RESULT, OUTPUT, FIGURES = "result.json", "output.txt", "figures.json"
MOST_SECONDS = 570.0
"""Some machines end whatever takes ten minutes."""
_SECONDS_TO_STOP = 10
_LAST_LINES = 15
_DIE_WITH_PARENT = 1

PASSED, FAILED, TIMED_OUT = "passed", "failed", "timed out"


@dataclass(frozen=True)
class Piece:
    """One measurement."""

    name: str
    """Also that of its folder."""
    title: str
    arguments: tuple[str, ...]
    """What follows ``python``."""
    seconds: float = MOST_SECONDS
    """Longer than this it may not take."""


@dataclass(frozen=True)
class Result:
    """What came of a piece."""

    name: str
    title: str
    command: str
    """As somebody would type it in the project's folder."""
    status: str
    started: str
    seconds: float
    last_lines: Sequence[str] = ()
    """Of what it printed."""

    @classmethod
    def kept(cls, folder: Path, name: str) -> Result | None:
        """Return what was kept of a piece, or None if it did not come to an end."""
        try:
            return cls(**json.loads((folder / name / RESULT).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None


def figures_of(folder: Path, name: str) -> dict[str, Any]:
    """Return the figures that a piece wrote, or nothing."""
    try:
        return json.loads((folder / name / FIGURES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def run(piece: Piece, folder: Path) -> Result:
    """Run a piece, keep its result in a folder of its name within ``folder``, and return it."""
    own = folder / piece.name
    own.mkdir(parents=True, exist_ok=True)
    for old in (RESULT, FIGURES):
        (own / old).unlink(missing_ok=True)
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    with (own / OUTPUT).open("w", encoding="utf-8") as output:
        code = _run([sys.executable, *piece.arguments], piece.seconds, output)
    status = TIMED_OUT if code is None else FAILED if code else PASSED
    lines = (own / OUTPUT).read_text(encoding="utf-8", errors="replace").splitlines()
    result = Result(
        piece.name,
        piece.title,
        shlex.join(["python", *piece.arguments]),
        status,
        started,
        round(time.monotonic() - clock, 1),
        lines[-_LAST_LINES:],
    )
    with atomic_write(own / RESULT) as temporary:
        temporary.write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")
    return result


def _run(command: list[str], seconds: float, output: Any) -> int | None:
    """Return the exit code, or None if the time was over; nothing of it is left running."""
    process = subprocess.Popen(
        command,
        stdout=output,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    )
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _stop(process)


def _stop(process: subprocess.Popen) -> None:
    """End a process that still runs, and all that it started."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, how)
            try:
                process.wait(_SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                continue


def _end_with_parent() -> None:
    """Have Linux end this process when the one that started it is killed."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)

"""Scenarios, each in a Slicer of its own, and the summary of what came out.

A Slicer that crashes or hangs takes no other scenario with it. Nothing here needs Slicer.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest import SkipTest

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
RESULT, OUTPUT, TRACE = "result.json", "output.txt", "trace.txt"
SUMMARY_JSON, SUMMARY_TEXT = "summary.json", "summary.txt"
LIMIT_S = 900.0
"""Longest time for one Slicer, its start included."""
TAIL_LINES = 25
_TURN_S = 0.05


@dataclass(frozen=True)
class Part:
    """What is done in one Slicer, from its start to its end."""

    module: str
    """Name of a module of this package. It needs Slicer, so it is imported where it is used."""
    function: str
    is_killed: bool = False
    """Whether this Slicer has to die instead of ending with status 0."""

    def do(self, reader: Any) -> None:
        """Do it as a reader."""
        from importlib import import_module

        getattr(import_module(f"application_scenarios.{self.module}"), self.function)(reader)


@dataclass(frozen=True)
class Scenario:
    """One or several Slicers, one after the other, which share a folder."""

    about: str
    parts: tuple[Part, ...]


@dataclass
class Result:
    """What came out of a part, or of a scenario as a whole."""

    status: str
    seconds: float = 0.0
    steps: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    """Paths, relative to the folder of the whole run."""
    figures: dict[str, Any] = field(default_factory=dict)
    """What was measured."""
    message: str = ""
    """Why it failed or was skipped."""


class Record:
    """What a part has done so far. Written after each step, so that a crash leaves it behind."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._began = time.monotonic()
        self.result = Result(FAILED, message="It did not come to its end.")
        self.write()

    def step(self, text: str, picture: str = "") -> None:
        """Note a step that was done, with its picture."""
        self.result.steps.append(text)
        if picture:
            self.result.pictures.append(picture)
        self.write()

    def figure(self, name: str, value: Any) -> None:
        """Note something that was measured."""
        self.result.figures[name] = value
        self.write()

    def end(self, status: str, message: str = "") -> None:
        """Note how the part ended."""
        self.result.status, self.result.message = status, message
        self.write()

    def write(self) -> None:
        """Write the file whole: this program may be killed at any time."""
        self.result.seconds = round(time.monotonic() - self._began, 1)
        temporary = self._path.with_suffix(".new")
        temporary.write_text(_json(asdict(self.result)), encoding="utf-8")
        temporary.replace(self._path)


def run_part(
    record: Record, action: Callable[[], None], look_for_errors: Callable[[], None]
) -> int:
    """Do a part in this Slicer, then look for errors in its log; return the exit status."""
    try:
        action()
        look_for_errors()
    except SkipTest as reason:
        record.end(SKIPPED, str(reason))
        return 0
    except BaseException:
        record.end(FAILED, traceback.format_exc())
        return 1
    record.end(PASSED)
    return 0


# ---- one Slicer for each part --------------------------------------------------------------

Start = Callable[[str, int, Path], Sequence[str]]
"""Returns the command of a scenario's part, which uses a folder."""


def run_all(
    scenarios: Mapping[str, Scenario],
    folder: Path,
    start: Start,
    environment: Mapping[str, str] | None = None,
    turn: Callable[[], None] = lambda: None,
    limit_s: float = LIMIT_S,
) -> int:
    """Run scenarios one after the other, write the summary, and return the exit status.

    ``turn`` is called while a Slicer is waited for.
    """
    results: dict[str, Result] = {}
    for name, scenario in scenarios.items():
        print(f"--- {name}: {scenario.about}", flush=True)
        results[name] = run_scenario(name, scenario, folder, start, environment, turn, limit_s)
        print(line_of(name, results[name]), flush=True)
        # Each time: a run that is stopped leaves what it has.
        write_summary(results, folder)
    return 0 if _has_passed(results) else 1


def run_scenario(
    name: str,
    scenario: Scenario,
    folder: Path,
    start: Start,
    environment: Mapping[str, str] | None = None,
    turn: Callable[[], None] = lambda: None,
    limit_s: float = LIMIT_S,
) -> Result:
    """Run the parts of a scenario until one has not passed."""
    began = time.monotonic()
    whole = Result(PASSED)
    for number, part in enumerate(scenario.parts, start=1):
        place = folder / name / str(number) if len(scenario.parts) > 1 else folder / name
        place.mkdir(parents=True, exist_ok=True)
        (place / RESULT).unlink(missing_ok=True)
        try:
            command = start(name, number, place)
            status = _run(command, place / OUTPUT, environment, turn, limit_s)
            result = _judged(place, status, part.is_killed, limit_s)
        except Exception:
            result = Result(FAILED, message=traceback.format_exc())
        whole.steps += result.steps
        whole.pictures += result.pictures
        whole.figures.update(result.figures)
        whole.status, whole.message = result.status, result.message
        if result.status != PASSED:
            break
    whole.seconds = round(time.monotonic() - began, 1)
    return whole


def _run(
    command: Sequence[str],
    output: Path,
    environment: Mapping[str, str] | None,
    turn: Callable[[], None],
    limit_s: float,
) -> int | None:
    """Run a program to its end; return its exit status, None if it was not in time."""
    with output.open("wb") as file:
        process = subprocess.Popen(
            list(command),
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=None if environment is None else dict(environment),
            # Slicer is started by a launcher: both have to be stopped.
            start_new_session=True,
        )
        end = time.monotonic() + limit_s
        try:
            while process.poll() is None and time.monotonic() < end:
                turn()
                time.sleep(_TURN_S)
        finally:
            status = process.poll()
            if status is None:
                _stop(process)
        return status


def _stop(process: subprocess.Popen) -> None:
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], check=False)
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _judged(place: Path, status: int | None, is_killed: bool, limit_s: float) -> Result:
    try:
        result = Result(**json.loads((place / RESULT).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Result(FAILED, message=f"Slicer left no result. {_told(place, status, limit_s)}")
    if result.status == SKIPPED:
        return result
    if status is None:
        result.status = FAILED
        result.message = f"{result.message}\n{_told(place, status, limit_s)}"
    elif result.status == PASSED and bool(status) is not is_killed:
        ending = "was to be killed" if is_killed else "was to end with status 0"
        result.status = FAILED
        result.message = f"Slicer {ending}. {_told(place, status, limit_s)}"
    elif result.status == FAILED and not result.message.startswith("Traceback"):
        result.message = f"{result.message} {_told(place, status, limit_s)}"
    return result


def _told(place: Path, status: int | None, limit_s: float) -> str:
    """Return how a Slicer ended, with the last lines that it printed and where it crashed."""
    ended = (
        f"was stopped after {limit_s:.0f} s" if status is None else f"ended with status {status}"
    )
    lines = [f"It {ended}. Its last lines:", *_lines_of(place / OUTPUT)[-TAIL_LINES:]]
    return "\n".join([*lines, *_lines_of(place / TRACE)[:TAIL_LINES]])


def _lines_of(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


# ---- summary -------------------------------------------------------------------------------


def line_of(name: str, result: Result) -> str:
    """Return a scenario's line of the summary."""
    counts = f"{len(result.steps)} steps, {len(result.pictures)} pictures"
    return f"{result.status:8}{name}  ({result.seconds:.1f} s, {counts})"


def write_summary(results: Mapping[str, Result], folder: Path) -> None:
    """Write what came out as JSON and as text."""
    counts = {status: _count(results, status) for status in (PASSED, FAILED, SKIPPED)}
    document = {**counts, "scenarios": {name: asdict(one) for name, one in results.items()}}
    (folder / SUMMARY_JSON).write_text(_json(document), encoding="utf-8")
    lines = [", ".join(f"{count} {status}" for status, count in counts.items())]
    for name, result in results.items():
        lines += ["", line_of(name, result)]
        lines += [f"    {step}" for step in result.steps]
        lines += [f"    {what}: {value}" for what, value in result.figures.items()]
        lines += [f"    ! {line}" for line in result.message.strip().splitlines()]
        lines += [f"    {picture}" for picture in result.pictures]
    (folder / SUMMARY_TEXT).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _has_passed(results: Mapping[str, Result]) -> bool:
    return bool(_count(results, PASSED)) and not _count(results, FAILED)


def _count(results: Mapping[str, Result], status: str) -> int:
    return sum(result.status == status for result in results.values())


def _json(document: Any) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"

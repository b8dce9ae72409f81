"""Hundreds of lesions: pauses of the window, and memory.

The network is that of our tests: it finds as many lesions as the scan has blocks.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any
from unittest import SkipTest

import numpy as np
import qt
import slicer
from MOISSAM2SegmentLib.setup.self_test import check

from application_scenarios.reader import Reader, use_stub

TIMER_MS = 5
STUTTER_S, FREEZE_S = 0.05, 1.0
"""A pause that is noticed, and one that is taken for a hang."""
FINDINGS = 300
ROUNDS, WARM, LESIONS = 20, 5, 150
COARSE = 5
"""How much larger than usual the pixels are: the blocks are not to be too small for findings."""
GROWTH_MB = 64.0
"""What memory may grow by from the round in which all is loaded to the last one."""


class Pauses:
    """Measures how long Qt's event loop lets a timer wait."""

    def __init__(self) -> None:
        self._pauses: list[float] = []
        self._last: float | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(TIMER_MS)
        self._timer.connect("timeout()", self._tick)

    def __enter__(self) -> Pauses:
        self._last = time.perf_counter()
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._tick()
        self._timer.stop()
        self._timer.deleteLater()

    def _tick(self) -> None:
        now = time.perf_counter()
        self._pauses.append(now - self._last)
        self._last = now

    @property
    def longest_s(self) -> float:
        """The longest pause."""
        return max(self._pauses)

    @property
    def text(self) -> str:
        """What was measured, in words."""
        noticed = [pause for pause in self._pauses if pause > STUTTER_S]
        return (
            f"{len(self._pauses)} turns in {sum(self._pauses):.1f} s, the longest "
            f"{1000 * self.longest_s:.0f} ms, {len(noticed)} above {1000 * STUTTER_S:.0f} ms "
            f"({sum(noticed):.1f} s)"
        )


def three_hundred_findings(reader: Reader) -> None:
    """Search a scan of clinical size with 300 findings, and decide on all of them."""
    reader.open(model=use_stub)
    from scans import clinical_scan_node, middle_of

    blocks = _blocks(FINDINGS + 1, slices=20)
    with Pauses() as opening:
        scan = clinical_scan_node(slicer.mrmlScene, *blocks)
        scan.CreateDefaultDisplayNodes()
        reader.start(scan)
    reader.record.figure("opening", opening.text)
    reader.click_into(middle_of(reader.workspace, blocks[0]))
    reader.step("A scan of clinical size is open")
    worst = 0.0
    for name, *buttons in (
        ("search and show", "searchButton"),
        ("accept all", "acceptAllButton", "acceptSureButton"),
        ("undo", "undoButton"),
        ("report", "reportButton"),
    ):
        with Pauses() as pauses:
            for button in buttons:
                reader.press(button)
            reader.wait()
            reader.let_pass(0.5)
        reader.record.figure(name, pauses.text)
        worst = max(worst, pauses.longest_s)
        count = reader.ui.lesionTable.rowCount
        check(count == FINDINGS + 1, f"the table has {FINDINGS + 1} rows; they are {count}")
        reader.step(f"{FINDINGS} findings: {name}")
    reader.check_segments()
    check(worst < FREEZE_S, f"the window never stands still for {FREEZE_S} s; it did {worst:.2f} s")


def memory(reader: Reader) -> None:
    """Open, search and close scans with 150 lesions, and see what memory does."""
    if resident_mb() is None:
        raise SkipTest("needs /proc or psutil to know the memory that is used")
    reader.open(model=use_stub)
    from engine_fixtures import CORONAL
    from scans import scan_node, world_of

    blocks = _blocks(LESIONS, slices=12)
    coarse = CORONAL @ np.diag([COARSE, COARSE, 1.0, 1.0])
    used: list[float] = []
    for number in range(ROUNDS):
        scan = scan_node(slicer.mrmlScene, *blocks, matrix=coarse)
        scan.CreateDefaultDisplayNodes()
        reader.start(scan)
        reader.click_into(world_of(reader.workspace, *blocks[0].middle))
        reader.press("searchButton")
        reader.wait()
        count = len(reader.workspace.state.lesions)
        check(count == LESIONS, f"there are {LESIONS} lesions; they are {count}")
        if number in (0, ROUNDS - 1):
            reader.step(f"Round {number + 1}")
        reader.choose(None)
        slicer.mrmlScene.Clear(0)
        reader.wait()
        used.append(round(resident_mb(), 1))
    reader.record.figure("MB after each round", used)
    growth = used[-1] - used[WARM - 1]
    reader.record.figure(f"MB more than after round {WARM}", round(growth, 1))
    check(growth < GROWTH_MB, f"memory grows by less than {GROWTH_MB} MB; it grew by {growth:.1f}")
    reader.step("Memory did not grow")


def resident_mb() -> float | None:
    """Return the memory that this program has, in MB; None if it cannot be told here."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        pass
    else:
        import resource

        return pages * resource.getpagesize() / 1e6
    if "psutil" in sys.modules or _can_import("psutil"):
        import psutil

        return psutil.Process().memory_info().rss / 1e6
    return None


def _can_import(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


def _blocks(count: int, slices: int) -> list[Any]:
    """Return blocks for the scans of our tests, none of which touches another."""
    from engine_fixtures import SIDE, Block

    corners = np.stack(
        np.meshgrid(
            np.arange(0, slices - 1, 2), np.arange(3, SIDE - 2, 4), np.arange(0, SIDE - 2, 4),
            indexing="ij",
        ),
        axis=-1,
    ).reshape(-1, 3)  # fmt: skip
    check(len(corners) >= count, f"there is room for {count} blocks")
    return [Block((s, s + 1), (r, r + 2), (c, c + 2)) for s, r, c in corners[:count].tolist()]

"""Test that memory does not grow with the number of times that work ends and goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from engine_fixtures import FIRST
from scans import clinical_scan_node, settle

STATUS = Path("/proc/self/status")
LESIONS, WARM_UP, ROUNDS = 150, 3, 8
MOST_MIB = 60.0
"""Growth over all rounds. It swings by 20 MiB, as threads take and give back memory; one copy of
the scan's label values, 26 MiB, that stays behind in each round would be 208."""


def resident_mib() -> float:
    """Return the memory that this process takes now."""
    (line,) = (one for one in STATUS.read_text("utf-8").splitlines() if one.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


@pytest.mark.skipif(not STATUS.exists(), reason="memory is read as Linux tells it")
def test_ending_and_going_on_does_not_gather_memory(a_workspace):
    workspace = a_workspace
    scan = clinical_scan_node(workspace.scene, FIRST)
    workspace.start(scan)
    settle(workspace)

    def outline(session, *_):
        labels = np.zeros(session.volume.array.shape, dtype=np.uint16)
        for n in range(LESIONS):
            row, column = divmod(n, 10)
            labels[
                n % 30 : n % 30 + 3, 60 * row : 60 * row + 20, 30 * column : 30 * column + 20
            ] = n + 1
        session.add_lesions(labels)

    workspace.open_work().run("Outline", outline)
    settle(workspace)
    assert len(workspace.state.lesions) == LESIONS

    taken = []
    for _ in range(WARM_UP + ROUNDS):
        workspace.end()
        settle(workspace)
        workspace.start(scan)
        settle(workspace)
        taken.append(resident_mib())

    assert len(workspace.state.lesions) == LESIONS
    assert taken[-1] - min(taken[:WARM_UP]) < MOST_MIB, taken

"""What comparing costs the main thread, on scans of clinical size with 300 lesions on each.

``python -m pytest -s Testing/slicer_logic/test_slicer_comparison_pace.py`` prints it.
"""

from __future__ import annotations

import numpy as np
import pytest
from compared_scans import register_once, segments_of, visits
from MOISSAM2SegmentLib.scene.transforms import right_handed
from scans import MOST_S, Turn, settle, timed, volume_node
from slicer_window import SlicerWindow

from mois_core.geometry import Volume

FINER = (2, 8, 8)
"""Voxels for each one of the small phantoms, which makes 40 slices of 1024 x 320."""
LESIONS = 300


def clinical(phantom) -> Volume:
    """Return a phantom's scan with more voxels in the same place."""
    scale = np.diag([*(1 / n for n in reversed(FINER)), 1.0])
    scale[:3, 3] = [(1 / n - 1) / 2 for n in reversed(FINER)]
    array = np.kron(phantom.scan, np.ones(FINER, dtype=phantom.scan.dtype))
    return right_handed(Volume(array, phantom.ijk_to_ras @ scale))


def labels_on(volume: Volume, shift: int) -> np.ndarray:
    """Return so many blocks as label values, moved along the rows."""
    labels = np.zeros(volume.array.shape, dtype=np.uint16)
    slices, rows, columns = np.meshgrid(
        np.arange(4, 36, 6), np.arange(100, 900, 60), np.arange(60, 260, 40), indexing="ij"
    )
    corners = np.stack([slices, rows, columns], axis=-1).reshape(-1, 3)[:LESIONS]
    assert len(corners) == LESIONS
    for value, (k, j, i) in enumerate(corners.tolist(), start=1):
        labels[k : k + 3, j : j + 20 + shift, i : i + 16] = value
    return labels


@pytest.fixture
def a_window(a_scene, errors):
    window = SlicerWindow(a_scene)
    yield window
    window.let_go()


@pytest.mark.alone
def test_comparing_300_lesions_never_holds_the_main_thread(
    a_workspace, a_scene, a_window, monkeypatch
):
    import mois_core.followup.report  # noqa: F401 - its libraries take a while, once

    register_once(monkeypatch)
    volumes = [clinical(phantom) for phantom in visits()]
    earlier, scan = (
        volume_node(a_scene, volume.array, volume.ijk_to_ras, name)
        for volume, name in zip(volumes, ("then", "now"), strict=True)
    )
    segments = segments_of(a_scene, earlier, labels_on(volumes[0], 0))
    a_workspace.start(scan)
    settle(a_workspace)
    labels = labels_on(volumes[1], 6)
    a_workspace.work.run("Outline", lambda session, *_: session.add_lesions(labels))
    settle(a_workspace)
    comparison = a_workspace.comparison

    def worst(action, wait: bool = True) -> Turn:
        turns = [timed(action), *(settle(a_workspace) if wait else ())]
        return Turn(max(t.passed for t in turns), max(t.worked for t in turns))

    spent = {
        "compare": worst(lambda: comparison.compare(earlier, segments)),
        "compare again": worst(lambda: comparison.compare(earlier, segments)),
    }
    rows = comparison.result.changes
    assert len(rows) >= LESIONS
    shown = [timed(lambda row=row: comparison.show(row.lesion)) for row in rows[:20]]
    spent["next lesion"] = Turn(max(t.passed for t in shown), max(t.worked for t in shown))
    spent["table"] = worst(comparison.table)
    spent["end"] = worst(comparison.end)

    print(f"\n{'longest turn in ms':24}{'work':>7}{'clock':>8}")
    for name, turn in spent.items():
        print(f"{name:24}{1000 * turn.worked:7.1f}{1000 * turn.passed:8.1f}")
    assert {name: turn.worked for name, turn in spent.items() if turn.worked > MOST_S} == {}

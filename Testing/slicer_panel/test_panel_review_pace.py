"""Three hundred findings are gone through without a pause: what each step asks of the main thread.

``python -m pytest -s Testing/slicer_panel/test_panel_review_pace.py`` prints the table. What counts
is the time of the processor that the main thread uses itself, so that other programs do not matter.
It is measured in a process of its own, as in Slicer: one that has run thousands of tests is slower.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import pytest
import slicer
import vtk
from engine_fixtures import Block
from PySide6 import QtCore, QtTest
from scans import MOST_S, clinical_scan_node, shows_exactly_its_session

KEYS = QtCore.Qt.Key
COUNT = 300
ALONE = "MOIS_REVIEW_ALONE"
"""Set in the process that does nothing else."""
FIRST = Block((0, 1), (3, 4), (1, 2))
FINDINGS = [
    Block((n, n + 1), (row, row + 1 + n % 4 // 3), (column, column + 1))
    for n in range(2, 20, 2)
    for row in range(3, 31, 4)
    for column in range(1, 31, 6)
][:COUNT]


@pytest.fixture
def a_review(a_panel):
    """A user who has clicked one lesion on a scan of clinical size with 300 more."""
    user = a_panel
    clinical_scan_node(user.scene, FIRST, *FINDINGS)
    user.start()
    user.window.activateWindow()
    QtTest.QTest.qWaitForWindowActive(user.window)
    user.press("newLesionButton")
    user.click_into_clinical(FIRST)
    # What the test process has loaded up to here is no part of a review: going through all of it
    # for garbage takes 150 ms, and at times falls into the step that is measured.
    gc.collect()
    gc.freeze()
    yield user
    gc.unfreeze()


def steps_of(user) -> list[tuple[str, Callable[[], object]]]:
    """Return what a reader does, in this order."""
    filter_box, status_box = user.find("filterBox"), user.find("statusBox")
    header, order_box = user.table.horizontalHeader(), user.find("orderBox")

    def key(one) -> Callable[[], None]:
        def press() -> None:
            user.table.setFocus()
            user.key(one)

        return press

    return [
        ("a search arrives", lambda: user.press("searchButton")),
        ("order: largest first", lambda: order_box.setCurrentIndex(2)),
        ("next", key(KEYS.Key_J)),
        ("accept", key(KEYS.Key_A)),
        ("reject", key(KEYS.Key_D)),
        ("undo", key(KEYS.Key_U)),
        ("select a row", lambda: user.choose_row(3)),
        ("filter by name", lambda: filter_box.setText("1")),
        ("no filter", lambda: filter_box.setText("")),
        ("filter by status", lambda: status_box.setCurrentIndex(1)),
        ("no filter again", lambda: status_box.setCurrentIndex(0)),
        ("sort by a title", lambda: header.sectionClicked.emit(3)),
        ("outlines only", key(KEYS.Key_L)),
        ("hide all", key(KEYS.Key_H)),
        ("accept all", lambda: user.accept_all()),
        ("undo that", key(KEYS.Key_U)),
        ("choose 100", lambda: user.panel.table.choose(*range(10, 110))),
        ("reject 100", key(KEYS.Key_D)),
        ("undo that too", key(KEYS.Key_U)),
    ]


def test_a_decision_writes_one_row_and_draws_each_view_once(a_review, monkeypatch):
    user = a_review
    view = user.scene.AddNewNodeByClass("vtkMRMLSliceNode")
    user.press("searchButton")
    user.wait()
    events: Counter = Counter()
    segmentation = user.workspace.segments_node.GetSegmentation()
    kinds = slicer.vtkSegmentation
    tags = [
        (node, node.AddObserver(event, lambda *_, name=name: events.update([name])))
        for name, node, event in (
            ("segment", segmentation, kinds.SegmentModified),
            ("labelmap", segmentation, kinds.SourceRepresentationModified),
            ("added", segmentation, kinds.SegmentAdded),
            ("removed", segmentation, kinds.SegmentRemoved),
            ("view", view, vtk.vtkCommand.ModifiedEvent),
        )
    ]
    table = user.panel.table
    written = []
    write = table._write
    monkeypatch.setattr(table, "_write", lambda row: (written.append(row), write(row)))
    user.table.setFocus()

    user.key(KEYS.Key_A)
    user.wait()
    accepted, rows = dict(events), len(written)
    events.clear()
    user.key(KEYS.Key_D)
    user.wait()
    rejected = dict(events)

    for node, tag in tags:
        node.RemoveObserver(tag)
    print(accepted, rejected)
    assert accepted == {"view": 1}
    assert rows == 1
    assert rejected["removed"] == 1
    assert rejected["view"] == 1
    assert len(written) == 2


@pytest.mark.alone
def test_no_step_of_a_review_holds_the_window_for_long():
    measured = f"{__file__}::{test_the_steps_of_a_review.__name__}"
    command = [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", measured]
    alone = {**os.environ, ALONE: "yes"}
    done = subprocess.run(command, env=alone, capture_output=True, encoding="utf-8", check=False)
    print(done.stdout)
    assert done.returncode == 0


@pytest.mark.skipif(ALONE not in os.environ, reason="measured in a process of its own")
def test_the_steps_of_a_review(a_review, record_property):
    user = a_review
    worked: dict[str, float] = {}
    print(f"\n{'longest turn in ms':22}   work   clock")
    for name, action in steps_of(user):
        user.wait()
        user.turns.clear()
        action()
        user.wait()
        worked[name] = max(turn.worked for turn in user.turns)
        passed = max(turn.passed for turn in user.turns)
        print(f"{name:22}{1000 * worked[name]:7.1f} {1000 * passed:7.1f}")

    record_property("figures", {name: round(1000 * one, 1) for name, one in worked.items()})
    assert len(user.rows()) == COUNT + 1
    assert shows_exactly_its_session(user.workspace)
    assert {name: one for name, one in worked.items() if one > MOST_S} == {}

"""The panel in every state that a user sees it in, one after the other, and what has to be seen."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from engine_fixtures import FIRST, SECOND, Block, scan_of
from scans import volume_node

MATRIX = np.array([[-6.2, 0, 0, 0], [0, 0, 7.8, 0], [0, -6.2, 0, 0], [0, 0, 0, 1.0]])
"""Matrix with pixels ten times larger than the small scan's, so that volumes are realistic."""

MORE = [
    Block((row % 3, row % 3 + 2), (row, row + 2), (column, column + 2))
    for row in (3, 15, 29)
    for column in (14, 18, 29)
]

CHOICES = ("modelBox", "fileButton", "scanBox", "startButton", "sampleButton", "hintLabel")
WORK = (
    "newLesionButton", "insideButton", "outsideButton", "placeButton", "undoButton", "redoButton",
    "searchButton", "whereButton", "filterBox", "statusBox", "orderBox", "lesionTable",
    "previousButton", "findingLabel", "nextButton", "acceptAllButton", "moreButton",
    "acceptButton", "rejectButton", "refineButton",
    "totalsLabel", "reportButton", "saveReportButton",
)  # fmt: skip
IDLE = ("summaryLabel", "changeButton")
LONG = "Neurofibrom am linken Oberschenkel, Adduktorenloge, Verlaufskontrolle "


class State(NamedTuple):
    """One state of the panel."""

    name: str
    seen: tuple[str, ...]
    """Names of the widgets that have to be seen without scrolling."""


def not_installed() -> State:
    return State("not-installed", ("noticeLabel", "installLabel", "installButton"))


def no_weights() -> State:
    return State("no-weights", ("noticeLabel", "downloadButton", *CHOICES))


def states(user: Any) -> Iterator[State]:
    """Work through a session with the stub network, and stop in each state."""
    pretend_weights_are_stored(user)
    scan = volume_node(user.scene, scan_of(FIRST, SECOND, *MORE), MATRIX, "Whole-body phantom")
    user.panel.enter()
    yield State("ready", ("noticeLabel", *CHOICES))
    other = volume_node(user.scene, scan_of(FIRST), MATRIX, "Legs")
    user.panel.show()
    yield State("stations", ("noticeLabel", "stationsButton", *CHOICES))
    user.scene.RemoveNode(other)
    user.start()
    user.press("newLesionButton")
    yield State("started", (*WORK, *IDLE, "hintLabel"))
    user.click_into(FIRST)
    yield State("asked", (*WORK, *IDLE, "recoveryLabel", "recoveryYesButton", "recoveryNoButton"))
    user.press("recoveryNoButton")
    user.press("newLesionButton")
    user.click_into(SECOND)
    user.press("outsideButton")
    user.click_at(5, 21, 5)
    yield State("clicked", (*WORK, *IDLE, "hintLabel"))
    go_on = slow_search(user)
    user.press("searchButton")
    while not user.find("cancelButton").isVisible() or not user.find("progressLabel").text():
        user.turn()
    yield State("searching", (*WORK, "progressLabel", "progressBar", "cancelButton", "hintLabel"))
    go_on.set()
    user.wait()
    yield State("found", (*WORK, *IDLE, "messageLabel"))
    user.press("acceptButton")
    user.wait()
    user.press("rejectButton")
    user.wait()
    user.press("nextButton")
    yield State("reviewing", (*WORK, *IDLE, "hintLabel"))
    user.press("changeButton")
    yield State("choices", ("modelBox", "fileButton", "scanBox", "hintLabel", *IDLE))
    user.press("changeButton")
    user.press("whereButton")
    yield State("where", ("insideBox", "outsideBox", "exampleBox", "addExamplesButton"))
    user.press("changeButton")
    user.press("acceptAllButton")
    asked = ("confidenceBox", "acceptSureButton", "cancelAcceptButton", "acceptButton")
    yield State("accepting", (*asked, "lesionTable", "totalsLabel", *IDLE, "hintLabel"))
    user.press("acceptSureButton")
    user.wait()
    yield State("reviewed", (*WORK, *IDLE, "hintLabel"))
    user.press("reportButton")
    user.wait()
    yield State("report", (*WORK, *IDLE, "messageLabel"))
    user.press("newLesionButton")
    user.panel.message_line.show(
        "Something went wrong that should not have (ValueError). Nothing was lost; the details are "
        "in Slicer's error log."
    )
    yield State("error", (*WORK, *IDLE, "messageLabel"))
    user.scene.RemoveNode(scan)
    user.wait()
    yield State("ended", ("noticeLabel", *CHOICES[:-1], "messageLabel"))


COMPARED = (
    "comparisonTable", "comparisonLabel", "previousLesionButton", "comparedLabel",
    "nextLesionButton", "proposeButton", "editLesionsButton", "compareAgainButton",
    "endComparisonButton", "totalsLabel", "reportButton", "saveReportButton",
)  # fmt: skip


def comparison_states(reader: Any) -> Iterator[State]:
    """Compare with an earlier scan, and stop in each state."""
    from mois_core.followup.registration_quality import RegistrationQuality

    user = reader.user
    if user.find("recoveryNoButton").isVisible():
        user.press("recoveryNoButton")
    user.panel.message_line.clear()
    reader.choose()
    chosen = ("earlierScanBox", "earlierLesionsBox", "agreementBox", "compareButton")
    yield State("earlier", (*chosen, *IDLE, "hintLabel"))
    right = RegistrationQuality.why_not
    RegistrationQuality.why_not = (
        "what is inside the bodies does not agree (correlation 0.61); are they of the same patient?"
    )
    try:
        user.press("compareButton")
        user.wait()
    finally:
        RegistrationQuality.why_not = right
    yield State("refused", (*chosen, "uncheckedButton", *IDLE, "messageLabel"))
    user.press("compareButton")
    user.wait()
    yield State("compared", (*COMPARED, *IDLE, "messageLabel"))
    user.panel.message_line.clear()
    user.press("nextLesionButton")
    user.press("nextLesionButton")
    yield State("comparing", (*COMPARED, *IDLE, "hintLabel"))
    user.press("proposeButton")
    user.wait()
    yield State("proposed", (*WORK, *IDLE, "messageLabel"))


def slow_search(user: Any) -> threading.Event:
    """Let the search wait in its middle until the event is set."""
    go_on = threading.Event()
    session = user.workspace.session
    find = session.find_similar

    def slow(progress: Any, cancel: Any, *how: Any) -> Any:
        progress(7, 20, "searching slices")
        while not go_on.wait(0.002):
            cancel.check()
        session.find_similar = find
        return find(progress, cancel, *how)

    session.find_similar = slow
    return go_on


def pretend_weights_are_stored(user: Any) -> None:
    """Write an empty file of weights; nobody reads it, because the stub network is loaded."""
    from mois_core.weights import store

    store.store_dir().mkdir(parents=True)
    (store.store_dir() / "mois-sam2-b+.pt").write_bytes(b"")
    user.panel.model.refresh("mois-sam2-b+")
    user.panel.show()

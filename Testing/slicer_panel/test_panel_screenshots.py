"""Every state of the panel in the room that it has in Slicer: all is seen, no text is cut off.

``python -m pytest Testing/slicer_panel/test_panel_screenshots.py --screenshots docs/screenshots``
writes the pictures, some of which the tutorial shows.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from compared_scans import register_once
from comparing_user import ComparingUser
from engine_fixtures import FIRST, scan_of
from module_panel import DESKTOP, LAPTOP
from panel_states import (
    LONG,
    MATRIX,
    State,
    comparison_states,
    no_weights,
    not_installed,
    pretend_weights_are_stored,
    states,
)
from PySide6 import QtGui, QtWidgets
from scans import volume_node
from user import User, use_palette

ROWS = 8
LINES = 2
"""Lines that a hint or a message has; a longer one takes its room from the table."""
FEWEST_ROWS = 3
"""Rows beside the longest message."""
BUTTON_FRAME = 6
"""Pixels that a button's frame needs beside its text, at least."""
SCALE = "QT_SCALE_FACTOR"


@pytest.fixture
def folder(request, tmp_path) -> Path:
    return Path(request.config.getoption("--screenshots", None) or tmp_path)


@pytest.fixture(params=["light", "dark"])
def theme(request, the_application):
    use_palette(request.param == "dark")
    yield request.param
    use_palette(False)


@pytest.fixture(params=[LAPTOP, DESKTOP], ids=["laptop", "desktop"])
def room(request):
    return request.param


def cut_off(window: QtWidgets.QWidget) -> list:
    """Return the buttons and labels whose text does not fit."""
    wrong = []
    for button in window.findChildren(QtWidgets.QPushButton):
        text = button.fontMetrics().horizontalAdvance(button.text())
        icon = 0 if button.icon().isNull() else button.iconSize().width()
        if button.isVisible() and button.width() < text + icon + BUTTON_FRAME:
            wrong.append(button.objectName())
    for label in window.findChildren(QtWidgets.QLabel):
        if not label.isVisible() or not label.text():
            continue
        if label.wordWrap() and label.height() < label.heightForWidth(label.width()):
            wrong.append((label.objectName(), label.height(), label.heightForWidth(label.width())))
        if not label.wordWrap() and label.width() < label.fontMetrics().horizontalAdvance(
            label.text()
        ):
            wrong.append((label.objectName(), label.width(), label.text()))
    return wrong


def whole_rows(table: QtWidgets.QTableWidget) -> int:
    """Return how many rows have room in a table."""
    return table.viewport().height() // table.verticalHeader().defaultSectionSize()


def look(user: User, folder: Path, state: State, theme: str, room) -> list:
    """Keep a picture of a state, and return what is not seen as it should be."""
    user.turn()
    size = "laptop" if room is LAPTOP else "desktop"
    path = folder / f"{state.name}-{size}-{theme}.png"
    user.screenshot(path)
    assert path.stat().st_size < 150_000 * user.window.devicePixelRatio() ** 2
    picture = QtGui.QImage(str(path))
    steps = range(0, picture.height(), 5)
    assert len({picture.pixel(x, y) for x in range(0, picture.width(), 5) for y in steps}) > 10
    wrong = [name for name in state.seen if not user.window.shows(user.find(name))]
    wrong += cut_off(user.window)
    if user.window.scrolls:
        wrong.append("the panel scrolls")
    message = user.find("messageLabel")
    lines = message.heightForWidth(message.width()) // message.fontMetrics().lineSpacing()
    taken = max(0, lines - LINES) if message.isVisible() else 0
    question = user.find("recoveryFrame")
    if question.isVisible():
        taken += -(-question.height() // user.table.verticalHeader().defaultSectionSize()) + 1
    expected = max(ROWS - taken, FEWEST_ROWS)
    for table in (user.table, user.find("comparisonTable")):
        if table.isVisible() and whole_rows(table) < expected:
            wrong.append(f"{whole_rows(table)} rows")
    return [(state.name, *wrong)] if wrong else []


def test_everything_is_seen_without_scrolling(theme, room, a_panel, folder):
    a_panel.window.resize(*room)
    a_panel.turn()
    wrong = []
    for state in states(a_panel):
        wrong += look(a_panel, folder, state, theme, room)

    assert wrong == []


def test_a_comparison_is_seen_without_scrolling(
    theme, room, a_slicer, a_panel, folder, monkeypatch
):
    register_once(monkeypatch)
    a_panel.window.resize(*room)
    pretend_weights_are_stored(a_panel)
    reader = ComparingUser(a_panel, a_slicer.views.window)
    wrong = []
    for state in comparison_states(reader):
        wrong += look(a_panel, folder, state, theme, room)

    assert wrong == []


def test_what_is_missing_is_said_without_scrolling(theme, room, a_slicer, folder, monkeypatch):
    install = importlib.import_module("MOISSAM2SegmentLib.setup.install")
    missing = ["torch", "safetensors", "filelock", "SimpleITK"]
    monkeypatch.setattr(install, "missing_packages", lambda: missing)
    monkeypatch.setattr(install, "install", lambda ask, say: missing.clear() or True)
    user = User()
    user.open(room)
    assert not user.can("startButton")
    wrong = look(user, folder, not_installed(), theme, room)

    user.press("installButton")

    assert not user.find("installFrame").isVisible()
    assert user.can("downloadButton")
    wrong += look(user, folder, no_weights(), theme, room)
    user.close()
    assert wrong == []
    assert "MOISSAM2SegmentPanel" in sys.modules


def test_long_texts_fit_into_a_narrow_panel(theme, room, a_panel, folder):
    user = a_panel
    user.window.resize(*room)
    volume_node(user.scene, scan_of(FIRST), MATRIX, LONG * 2)
    user.start()
    user.press("newLesionButton")
    user.click_into(FIRST)
    user.press("recoveryNoButton")
    user.table.item(0, 0).setText(LONG)
    user.wait()
    user.panel.message_line.show(LONG * 3)

    state = State("long", ("acceptButton", "saveReportButton"))
    assert look(user, folder, state, theme, room) == []


@pytest.mark.skipif(SCALE in os.environ, reason="this is the run with a scaled screen")
def test_everything_is_seen_on_a_screen_of_twice_the_resolution():
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        env={**os.environ, SCALE: "2"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:]

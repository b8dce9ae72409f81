"""Screenshots of every step on light and on dark, to be looked at; and that nothing is cut off.

``python -m pytest Testing/slicer_panel/test_panel_pictures.py --screenshots docs/screenshots``
writes those that the tutorial shows.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from engine_fixtures import FIRST, SECOND, Block, scan_of
from PySide6 import QtGui, QtWidgets
from scans import volume_node
from user import WIDTH, User, use_palette

MATRIX = np.array([[-6.2, 0, 0, 0], [0, 0, 7.8, 0], [0, -6.2, 0, 0], [0, 0, 0, 1.0]])
"""Ten times the size of the small scan in the plane, so that lesions have volumes of lesions."""

MORE = [
    Block((row % 3, row % 3 + 2), (row, row + 2), (column, column + 2))
    for row in (3, 15, 29)
    for column in (14, 18, 29)
]


@pytest.fixture
def folder(request, tmp_path) -> Path:
    return Path(request.config.getoption("--screenshots", None) or tmp_path)


@pytest.fixture(params=["light", "dark"])
def theme(request, the_application):
    use_palette(request.param == "dark")
    yield request.param
    use_palette(False)


def cut_off(window: QtWidgets.QWidget) -> list[str]:
    """Buttons and labels whose text does not fit."""
    wrong = []
    for button in window.findChildren(QtWidgets.QPushButton):
        if button.isVisible() and button.width() < button.minimumSizeHint().width():
            wrong.append(button.objectName())
    for label in window.findChildren(QtWidgets.QLabel):
        is_cut = label.wordWrap() and label.height() < label.heightForWidth(label.width())
        if label.isVisible() and label.text() and is_cut:
            wrong.append((label.objectName(), label.height(), label.heightForWidth(label.width())))
    return wrong


def take(user: User, folder: Path, name: str) -> None:
    path = folder / f"{name}.png"
    user.screenshot(path)
    picture = QtGui.QImage(str(path))
    assert user.window.width() == WIDTH, "the panel is wider than a narrow one may be"
    assert cut_off(user.window) == []
    assert path.stat().st_size < 150_000
    colours = {picture.pixel(x, y) for x in range(0, WIDTH, 5) for y in range(0, 400, 5)}
    assert len(colours) > 10


def pretend_weights_are_stored(user: User) -> None:
    """A file of the right name; the stub network is there already, so nobody reads it."""
    from mois_core.weights import store

    store.store_dir().mkdir(parents=True)
    (store.store_dir() / "mois-sam2-b+.pt").write_bytes(b"")
    user.panel.model.refresh("mois-sam2-b+")
    user.panel.show()


def test_every_step_has_its_picture(theme, a_panel, folder):
    user = a_panel
    pretend_weights_are_stored(user)
    take(user, folder, f"1-opened-{theme}")
    volume_node(user.scene, scan_of(FIRST, SECOND, *MORE), MATRIX, "Whole-body phantom")
    user.start()
    user.press("newLesionButton")
    take(user, folder, f"2-started-{theme}")
    user.click_into(FIRST)
    user.press("newLesionButton")
    user.click_into(SECOND)
    user.press("outsideButton")
    user.click_at(5, 21, 5)
    take(user, folder, f"3-clicked-{theme}")
    user.find("searchGroup").setChecked(True)
    user.press("searchButton")
    user.wait()
    user.press("acceptButton")
    user.wait()
    user.press("rejectButton")
    user.wait()
    take(user, folder, f"4-found-{theme}")
    user.find("searchGroup").setChecked(False)
    user.press("acceptAllButton")
    user.wait()
    user.press("reportButton")
    user.wait()
    user.find("advancedSection").click()
    take(user, folder, f"5-report-{theme}")


def test_long_texts_fit_into_a_narrow_panel(theme, a_panel, folder):
    user = a_panel
    long = "Neurofibrom am linken Oberschenkel, Adduktorenloge, Verlaufskontrolle "
    volume_node(user.scene, scan_of(FIRST), MATRIX, long * 2)
    user.start()
    user.press("newLesionButton")
    user.click_into(FIRST)
    user.table.item(0, 0).setText(long)
    user.wait()
    user.panel.message_line.show(long * 5)
    user.panel.scan._show_progress(
        type("Job", (), {"background": True}), 3, 40, "following lesions through the slices"
    )

    take(user, folder, f"6-long-{theme}")


def test_missing_packages_and_missing_weights_have_their_picture(
    theme, a_slicer, folder, monkeypatch
):
    from MOISSAM2SegmentLib.setup import install

    missing = ["torch", "safetensors", "filelock", "SimpleITK"]
    monkeypatch.setattr(install, "missing_packages", lambda: missing)
    monkeypatch.setattr(install, "install", lambda ask, say: missing.clear() or True)
    user = User()
    user.open()
    assert not user.can("startButton")
    take(user, folder, f"7-not-installed-{theme}")

    user.press("installButton")

    assert not user.find("installFrame").isVisible()
    assert user.can("downloadButton")
    take(user, folder, f"8-no-weights-{theme}")
    user.close()
    assert "MOISSAM2SegmentPanel" in sys.modules

"""What goes on in another Slicer: quitting in a search, saved work, work of a Slicer that died."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
import slicer
from MOISSAM2SegmentLib.scene.transforms import to_world
from MOISSAM2SegmentLib.setup.self_test import check
from MOISSAM2SegmentLib.workspace import recovery_folder

from application_scenarios.reader import Reader, Sample
from application_scenarios.runner import PASSED

BUNDLE, LABELS, POINTS = "work ä.mrb", "labels.npy", "points.txt"
LEAVE = ("Exit", "OK")
"""Slicer asks whether to save; in another language, nothing is pressed and the scenario fails."""
RECOVERY = "recovery"


def quit_in_search(reader: Reader) -> None:
    """Close Slicer's window in the middle of a search: Slicer has to end, with status 0."""
    reader.open()
    sample = reader.quick_scan()
    _work(reader, sample)
    reader.begin_search()
    reader.step("A search is running")
    reader.dialogs.answers = LEAVE
    check(reader.window.close(), "the window may be closed")
    reader.record.step(f"The window is closed; Slicer asked: {reader.dialogs.answered}")
    check(not reader.dialogs.unexpected, f"no other dialog appears; {reader.dialogs.unexpected}")


def save_work(reader: Reader) -> None:
    """Work on a scan, and save the scene as a bundle."""
    reader.open()
    sample = reader.quick_scan()
    _work(reader, sample)
    reader.press("searchButton")
    reader.wait()
    if reader.ui.acceptAllButton.enabled:
        reader.press("acceptAllButton")
        reader.press("acceptSureButton")
        reader.wait()
    reader.step("Lesions are clicked and searched")
    check(slicer.util.saveScene(str(reader.shared / BUNDLE)), "the scene is saved")
    _keep(reader)
    reader.step("The scene is saved as a bundle")


def go_on_with_saved_work(reader: Reader) -> None:
    """Open the bundle in another Slicer, and go on."""
    slicer.util.loadScene(str(reader.shared / BUNDLE))
    reader.open()
    scan = reader.ui.scanBox.currentNode()
    check(scan is not None, "the scan of the bundle is chosen")
    reader.start(scan)
    _compare(reader)
    reader.step(f"The work goes on. The panel says: {reader.message}")
    _go_on(reader)


def work_until_killed(reader: Reader) -> None:
    """Work with recovery files, and die in the middle of a search."""
    reader.open()
    recovery = reader.workspace.recovery
    recovery.look_in(reader.shared / RECOVERY)
    recovery.files.allow(True)
    sample = reader.quick_scan()
    _work(reader, sample)
    _keep(reader)

    def is_kept() -> bool:
        recovery.tick()
        files = (reader.shared / RECOVERY).rglob(f"*{recovery_folder.ENDING}")
        return any(files) and not reader.panel.engine.is_busy

    # Files are written some seconds apart: the last one has to have everything.
    reader.let_pass(6.0)
    reader.until(is_kept, "a recovery file is written")
    reader.step("The work is kept in a recovery file")
    reader.begin_search()
    reader.step("A search is running, and Slicer dies")
    reader.record.end(PASSED)
    # Windows knows no such signal, and ends the program as hard with the other one.
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


def restore_after_crash(reader: Reader) -> None:
    """Find the work of the Slicer that died, restore it, and go on."""
    reader.open()
    recovery = reader.workspace.recovery
    recovery.look_in(reader.shared / RECOVERY)
    check(len(recovery.offers) == 1, f"one work is offered; there are {len(recovery.offers)}")
    (offer,) = recovery.offers
    check(offer.note is not None, "the file is not damaged")
    reader.step("The work of the Slicer that died is offered")
    restored: list[Any] = []
    recovery.restored.connect(restored.append)
    sample = reader.quick_scan()
    recovery.restore(offer)
    reader.until(lambda: bool(restored), f"the work is restored; {reader.message}")
    reader.wait()
    check(restored[0] is sample.node, "it is the work on this scan")
    if not reader.workspace.is_open:
        reader.start(sample.node)
    _compare(reader)
    reader.step(f"The work is restored. The panel says: {reader.message}")
    _go_on(reader)


def _work(reader: Reader, sample: Sample) -> None:
    """Outline two lesions, of which one has a name."""
    reader.start(sample.node)
    places = [to_world(sample.node, place)[0] for place in sample.places]
    for place in places[:2]:
        reader.click_into(place)
    reader.workspace.commands.rename(1, "Knie ä")
    reader.wait()
    # For the Slicer that goes on.
    np.savetxt(reader.shared / POINTS, places)
    reader.step("Two lesions are clicked")


def _keep(reader: Reader) -> None:
    np.save(reader.shared / LABELS, reader.labels)


def _compare(reader: Reader) -> None:
    before = np.load(reader.shared / LABELS)
    check(np.array_equal(reader.labels, before), "all lesions have the same voxels as before")
    check(reader.workspace.entries()[0].name == "Knie ä", "the lesion has its name")
    check([point.label for point in reader.points] == ["1+", "2+"], "the points are there")
    reader.check_segments()


def _go_on(reader: Reader) -> None:
    place = np.loadtxt(reader.shared / POINTS)[2]
    reader.click_into(place)
    reader.check_segments()
    reader.press("undoButton")
    reader.wait()
    _compare(reader)
    reader.step("A click and its undo, as if nothing had happened")

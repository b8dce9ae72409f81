"""A reader in front of Slicer's window, who works in our panel and notes what is seen."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import slicer
from MOISSAM2SegmentLib.scene import control_points
from MOISSAM2SegmentLib.setup.application_test import (
    MODULE,
    main_window,
    panel_of_module,
    wait_for,
)
from MOISSAM2SegmentLib.setup.sample_data import LESIONS, SIZE, SLICES, add_volume
from MOISSAM2SegmentLib.setup.self_test import check, give_model, phantom_to_click

from application_scenarios.dialogs import Dialogs
from application_scenarios.runner import Record

TESTING = Path(__file__).resolve().parents[2]
DESKTOP = (1600, 1000)
QUICK_SIZE, QUICK_SLICES = (256, 80), 20
"""Half of the sample scan in each direction of its slices, where a search may be quick."""
MANY_PLACES = 4
PATIENCE_S = 60.0
_TURN_S = 0.01


class Sample(NamedTuple):
    """A scan in the scene, and places inside its largest lesions."""

    node: Any
    places: list[np.ndarray]


class Reader:
    """Drives the panel as a user does. Each step is noted with a picture of the whole window.

    Raises `unittest.SkipTest` where Slicer has no window.
    """

    def __init__(self, record: Record, folder: Path, root: Path) -> None:
        """Pictures go into ``folder``; the record names them as seen from ``root``."""
        self.window = main_window()
        self.record = record
        self.folder = folder
        self.dialogs = Dialogs()
        self._root = root

    def close(self) -> None:
        """End what would keep Slicer from ending."""
        self.dialogs.close()

    @property
    def shared(self) -> Path:
        """The folder that the parts of a scenario share."""
        return self.folder.parent

    # ---- panel -----------------------------------------------------------------------------

    @property
    def panel(self) -> Any:
        """The panel; another one after a reload."""
        return panel_of_module()

    @property
    def ui(self) -> Any:
        """The panel's widgets by name."""
        return self.panel.ui

    @property
    def workspace(self) -> Any:
        """The panel's workspace."""
        return self.panel.workspace

    def open(
        self, size: tuple[int, int] = DESKTOP, model: Callable[[Any], Any] = give_model
    ) -> None:
        """Open the module in a window of this size, with a network."""
        self.window.showNormal()
        self.window.resize(*size)
        slicer.util.selectModule(MODULE)
        engine = self.panel.engine
        if not engine.is_ready:
            model(engine)
        self.wait()
        check(engine.is_ready, "a network is loaded")

    def sample_scan(self, size: tuple[int, int] = SIZE, slices: int = SLICES) -> Sample:
        """Add the phantom of Sample Data, or a smaller one, as it is added there."""
        volume, _, places = phantom_to_click(LESIONS, slices, size, MANY_PLACES)
        node = add_volume(slicer.mrmlScene, volume)
        return Sample(node, [place for _, place in places])

    def quick_scan(self) -> Sample:
        """Add a phantom with half of the sample scan's pixels in each direction."""
        return self.sample_scan(QUICK_SIZE, QUICK_SLICES)

    def choose(self, scan: Any) -> None:
        """Choose a scan, or none, in the panel's list."""
        self.ui.scanBox.setCurrentNode(scan)
        self.wait()

    def start(self, scan: Any) -> None:
        """Begin to work on a scan."""
        self.choose(scan)
        self.press("startButton")
        self.wait()
        check(self.workspace.is_open, f"the scan is open; the panel says: {self.message}")
        check(self.workspace.volume_node is scan, "it is the scan that was chosen")

    def press(self, name: str) -> None:
        """Click on a button of the panel, which has to be seen and enabled."""
        button = getattr(self.ui, name)
        check(button.isVisible(), f"{name} is seen")
        check(button.enabled, f"{name} can be pressed")
        button.click()
        slicer.app.processEvents()

    def press_key(self, key: str) -> None:
        """Do what Qt does when a key is pressed for which the window has a shortcut.

        A key event that is sent to a window which the desktop has not made active reaches none.
        """
        found = [
            one
            for one in self.window.children()
            if one.className() == "QShortcut" and one.enabled and one.key.toString() == key
        ]
        check(
            len(found) == 1, f"the window has one shortcut for the key {key}; it has {len(found)}"
        )
        (shortcut,) = found
        shortcut.activated.emit()
        self.wait()

    @property
    def message(self) -> str:
        """What the panel tells."""
        return self.ui.messageLabel.text

    def click_into(self, place: np.ndarray) -> int:
        """Begin a lesion with a point at a place in the scene; return the lesion's id."""
        self.workspace.commands.begin_lesion()
        self.workspace.points_node.AddControlPointWorld(*place.tolist())
        self.wait()
        lesion_id = self.workspace.commands.active_lesion
        check(lesion_id is not None and self.mask(lesion_id).any(), "a click outlines something")
        return lesion_id

    def begin_search(self) -> threading.Event:
        """Begin a search and come back in the middle of it, however fast this computer is.

        It goes on once the event that is returned is set, and can be cancelled until then.
        """
        session = self.workspace.session
        find = session.find_similar
        is_in_the_middle, go_on = threading.Event(), threading.Event()

        def held(progress: Callable, cancel: Any, *how: Any) -> Any:
            def hold(done: int, total: int, what: str) -> None:
                progress(done, total, what)
                if done:
                    is_in_the_middle.set()
                    while not go_on.wait(_TURN_S):
                        cancel.check()

            return find(hold, cancel, *how)

        session.find_similar = held
        self.press("searchButton")
        self.until(is_in_the_middle.is_set, "the search comes to its middle")
        del session.find_similar
        return go_on

    # ---- what is there ---------------------------------------------------------------------

    @property
    def points(self) -> list[Any]:
        """The points that are placed."""
        return control_points.placed_points(self.workspace.points_node)

    def mask(self, lesion_id: int) -> np.ndarray:
        """Return a lesion's mask."""
        return self.workspace.session.mask(lesion_id)

    @property
    def labels(self) -> np.ndarray:
        """The lesions as label values."""
        return self.workspace.session.labels()

    def check_segments(self) -> None:
        """Check that the segments are the lesions that count, each with just its voxels."""
        labels, segments = self.labels, self.workspace.segments
        for lesion in self.workspace.state.lesions.values():
            if lesion.status.counts:
                shown = segments.read(segments.segment_of(lesion.id))
                check(
                    np.array_equal(shown, labels == lesion.id),
                    f"the segment of lesion {lesion.id} is its mask",
                )

    # ---- time ------------------------------------------------------------------------------

    def wait(self) -> None:
        """Let Slicer run until the panel has nothing left to do."""
        slicer.app.processEvents()
        wait_for(self.panel)()
        slicer.app.processEvents()

    def let_pass(self, seconds: float) -> None:
        """Let Slicer run for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            slicer.app.processEvents()
            time.sleep(_TURN_S)

    def until(self, is_so: Callable[[], bool], what: str, seconds: float = PATIENCE_S) -> None:
        """Let Slicer run until something is so."""
        end = time.monotonic() + seconds
        while not is_so():
            slicer.app.processEvents()
            time.sleep(_TURN_S)
            check(time.monotonic() < end, what)

    # ---- notes -----------------------------------------------------------------------------

    def step(self, text: str) -> None:
        """Note that something is as it should be, with a picture of the window."""
        path = self.folder / f"{len(self.record.result.steps) + 1:02}.png"
        slicer.app.processEvents()
        slicer.util.forceRenderAllViews()
        pixmap = self.window.grab()
        is_written = pixmap.save(str(path))
        self.record.step(text, path.relative_to(self._root).as_posix() if is_written else "")
        check(is_written, f"the picture {path.name} is written")
        self.check_dialogs()

    def check_dialogs(self) -> None:
        """Fail if there was a dialog that nobody expected."""
        check(not self.dialogs.unexpected, f"no dialog appears; {self.dialogs.unexpected}")


def is_near(first: Sequence[float], second: Sequence[float], distance_mm: float) -> bool:
    """Return whether two places are no further apart than this."""
    return float(np.linalg.norm(np.subtract(first, second))) <= distance_mm


def use_stub(engine: Any) -> None:
    """Have the engine use the network of our tests, which finds what is as bright as a click.

    With it, a scan has just as many findings as it has blocks.
    """
    for folder in ("support", "slicer_logic"):
        if str(TESTING / folder) not in sys.path:
            sys.path.append(str(TESTING / folder))
    from stub_network import StubNetwork

    from mois_core.network.model_info import ModelInfo

    engine.use(StubNetwork(), ModelInfo("stub", "stub.pt", "0" * 64))

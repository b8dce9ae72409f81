"""The timer that brings results of the other thread to the panel, while there are any."""

from __future__ import annotations

from collections.abc import Callable

import qt
from MOISSAM2SegmentLib.workspace.workspace import Workspace

INTERVAL_MS = 5
"""With a turn of the pump that waits 4 ms, measured to give the worker full speed in Slicer."""


class Pump:
    """Turns the workspace's pump from the event loop, and rests when there is nothing to do."""

    def __init__(self, workspace: Workspace, guard: Callable) -> None:
        self._workspace = workspace
        self._timer = qt.QTimer()
        self._timer.setInterval(INTERVAL_MS)
        self._timer.connect("timeout()", guard(self._turn))
        self._busy = (
            workspace.engine.worker.busy_changed,
            workspace.engine.save_worker.busy_changed,
        )
        for signal in self._busy:
            signal.connect(self._wake)
        workspace.pump_requested.connect(self._wake)

    @property
    def is_turning(self) -> bool:
        """Whether the timer runs."""
        return self._timer is not None and self._timer.isActive()

    def close(self) -> None:
        """Stop for good."""
        for signal in (*self._busy, self._workspace.pump_requested):
            signal.disconnect(self._wake)
        self._timer.stop()
        # Its connection holds this object, and would for ever.
        self._timer.deleteLater()
        self._timer = None

    def _wake(self, *_: object) -> None:
        if self._timer is not None and not self._timer.isActive():
            self._timer.start()

    def _turn(self) -> None:
        self._workspace.pump()
        if self._timer is not None and not self._workspace.needs_pump:
            self._timer.stop()

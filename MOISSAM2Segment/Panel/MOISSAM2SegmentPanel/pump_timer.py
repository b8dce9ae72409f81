"""The timer that calls the workspace's `pump` while there is something to do."""

from __future__ import annotations

from collections.abc import Callable

import qt
from MOISSAM2SegmentLib.workspace.workspace import Workspace

INTERVAL_MS = 5
"""With calls of `pump` that wait 4 ms, measured to give the worker full speed in Slicer."""


class PumpTimer:
    """Calls the workspace's `pump` from Qt's event loop, and stops when there is nothing to do."""

    def __init__(self, workspace: Workspace, guard: Callable) -> None:
        self._workspace = workspace
        self._timer = qt.QTimer()
        self._timer.setInterval(INTERVAL_MS)
        self._timer.connect("timeout()", guard(self._pump))
        self._signals = (
            workspace.engine.worker.busy_changed,
            workspace.engine.save_worker.busy_changed,
            workspace.pump_requested,
        )
        for signal in self._signals:
            signal.connect(self._start)

    @property
    def is_running(self) -> bool:
        """Whether the timer runs."""
        return self._timer is not None and self._timer.isActive()

    def close(self) -> None:
        """Stop the timer for good."""
        for signal in self._signals:
            signal.disconnect(self._start)
        self._timer.stop()
        # Its connection keeps this object alive, and would for ever.
        self._timer.deleteLater()
        self._timer = None

    def _start(self, *_: object) -> None:
        if self._timer is not None and not self._timer.isActive():
            self._timer.start()

    def _pump(self) -> None:
        self._workspace.pump()
        if self._timer is not None and not self._workspace.needs_pump:
            self._timer.stop()

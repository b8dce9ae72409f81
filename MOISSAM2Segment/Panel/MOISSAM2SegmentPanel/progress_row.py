"""What is being computed, in the panel's top row, with a button that stops it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from MOISSAM2SegmentLib.worker.jobs import Job, Worker
from slicer.i18n import tr as _
from slicer.i18n import translate

from MOISSAM2SegmentPanel.message_line import MessageLine

BYTES = 10_000_000
"""A total above this is a number of bytes, shown in megabytes."""
SHOWN_AFTER_MS = 300
"""Shorter jobs, such as a decision, would only make the row flicker."""


class ProgressRow:
    """The label, the bar and the button *Cancel*, which take the row while a job runs.

    ``changed`` is called when `is_shown` changes.
    """

    def __init__(
        self, ui: Any, worker: Worker, message_line: MessageLine, changed: Callable[[], None]
    ) -> None:
        self._ui = ui
        self._worker = worker
        self._changed = changed
        self.is_shown = False
        """Whether a job has run long enough for its progress to be shown."""
        self._timer = qt.QTimer(ui.progressFrame)
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", message_line.guard(lambda: self._show(True)))
        ui.cancelButton.connect("clicked()", message_line.guard(self._cancel))
        worker.progressed.connect(self._progressed)
        worker.busy_changed.connect(self._busy_changed)
        ui.progressFrame.visible = ui.cancelButton.visible = False

    def close(self) -> None:
        """Disconnect from the worker."""
        self._worker.progressed.disconnect(self._progressed)
        self._worker.busy_changed.disconnect(self._busy_changed)
        self._timer.stop()

    def _progressed(self, job: Job, done: int, total: int, what: str) -> None:
        self._ui.progressBar.value = round(100 * done / total) if total else 0
        text = translate("MOISSAM2Segment", what[:1].upper() + what[1:])
        if total > BYTES:
            text = _("{done:.0f} of {total:.0f} MB: {what}").format(
                what=text, done=done / 1e6, total=total / 1e6
            )
        elif total > 1:
            text = _("{done} of {total}: {what}").format(what=text, done=done, total=total)
        if job.background:
            text = _("{what}; click any time").format(what=text)
        self._ui.progressLabel.text = self._ui.progressLabel.toolTip = text

    def _busy_changed(self, busy: bool) -> None:
        self._ui.progressBar.value = 0
        self._ui.progressLabel.text = self._ui.progressLabel.toolTip = ""
        self._ui.cancelButton.enabled = busy
        if busy:
            self._timer.start(SHOWN_AFTER_MS)
        else:
            self._timer.stop()
            self._show(False)

    def _show(self, wanted: bool) -> None:
        self.is_shown = wanted
        self._ui.progressFrame.visible = self._ui.cancelButton.visible = wanted
        self._changed()

    def _cancel(self) -> None:
        self._worker.cancel()
        self._ui.progressLabel.text = _("Stopping...")

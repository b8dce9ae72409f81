"""A look-out for dialogs: one that nobody expects would block Slicer for ever."""

from __future__ import annotations

from typing import Any

import qt
import slicer

INTERVAL_MS = 300
PATIENCE = 3
"""Looks after which a dialog is taken for one that waits for an answer."""
PROGRESS, QUESTION = "QProgressDialog", "QMessageBox"


class Dialogs:
    """Closes dialogs, and keeps their texts.

    `answers` are beginnings of the buttons' texts that are to be pressed, the most wanted first. A
    dialog without such a button was not expected.
    """

    def __init__(self) -> None:
        self.answers: tuple[str, ...] = ()
        self.answered: list[str] = []
        self.unexpected: list[str] = []
        self._seen: Any = None
        self._looks = 0
        self._timer = qt.QTimer()
        self._timer.setInterval(INTERVAL_MS)
        self._timer.connect("timeout()", self.look)
        self._timer.start()

    def close(self) -> None:
        """Stop looking."""
        self._timer.stop()
        self._timer.deleteLater()

    def look(self) -> None:
        """Answer the dialog that is open, if it has been for a while."""
        dialog = slicer.app.activeModalWidget()
        if dialog is None or dialog.inherits(PROGRESS):
            self._seen = None
            return
        self._looks = self._looks + 1 if dialog == self._seen else 1
        self._seen = dialog
        if self._looks < PATIENCE:
            return
        self._seen = None
        is_question = dialog.inherits(QUESTION)
        text = f"{dialog.windowTitle}: {dialog.text if is_question else dialog.className()}"
        button = _button_of(dialog, self.answers) if is_question else None
        if button is not None:
            self.answered.append(text)
            button.click()
        else:
            self.unexpected.append(text)
            dialog.close()


def _button_of(dialog: Any, beginnings: tuple[str, ...]) -> Any:
    for beginning in beginnings:
        for button in dialog.buttons():
            if button.text.replace("&", "").startswith(beginning):
                return button
    return None

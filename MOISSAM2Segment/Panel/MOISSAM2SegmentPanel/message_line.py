"""The line with messages to the user, and the guard that turns errors into messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from MOISSAM2SegmentLib.messages import error_message
from slicer.i18n import tr as _
from slicer.i18n import translate

STATUS_BAR_MS = 8000


class MessageLine:
    """A message in the panel, in the place of the hint, and for a while in the status bar.

    A message stands until the next one comes, or until the user begins something else.
    """

    def __init__(self, label: Any, hint_label: Any) -> None:
        self._label = label
        self._hint_label = hint_label
        self.clear()

    def show(self, text: str) -> None:
        """Show a message until the next one comes, or until it is removed.

        Messages of the module are translated where they are written. Those of the engine are not,
        and are looked up here.
        """
        text = translate("MOISSAM2Segment", text) if text else ""
        self._label.text = text
        self._label.visible = bool(text)
        self._hint_label.visible = not text
        if text:
            slicer.util.showStatusMessage(text, STATUS_BAR_MS)

    def clear(self) -> None:
        """Remove the message, which is no longer true."""
        self.show("")

    def guard(self, slot: Callable[..., None]) -> Callable[..., None]:
        """Return a slot whose errors are shown here: Qt would only print them to the console."""

        def guarded(*arguments: Any) -> None:
            try:
                slot(*arguments)
            except Exception as error:
                self.show(error_message(error))

        return guarded

    def guard_and_clear(self, slot: Callable[..., None]) -> Callable[..., None]:
        """Return a guarded slot that first removes the message, because something new begins."""

        def cleared(*arguments: Any) -> None:
            self.clear()
            slot(*arguments)

        return self.guard(cleared)

    def ask(self, text: str) -> bool:
        """Ask a question in a dialog, and return whether the answer is yes."""
        return slicer.util.confirmYesNoDisplay(text, windowTitle=_("MOISSAM2"))

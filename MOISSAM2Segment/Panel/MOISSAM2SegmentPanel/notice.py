"""What the panel tells the user, and the guard that turns errors into words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from MOISSAM2SegmentLib.messages import words_for
from slicer.i18n import tr as _
from slicer.i18n import translate

STATUS_BAR_MS = 8000


class Notice:
    """One line of the panel, repeated in the status bar for whoever has scrolled away from it."""

    def __init__(self, label: Any) -> None:
        self._label = label
        self.clear()

    def say(self, text: str) -> None:
        """Show a sentence until the next one comes."""
        text = translate("MOISSAM2Segment", text) if text else ""
        self._label.text = text
        if text:
            slicer.util.showStatusMessage(text, STATUS_BAR_MS)

    def clear(self) -> None:
        """What was said is no longer true."""
        self.say("")

    def guard(self, slot: Callable[..., None]) -> Callable[..., None]:
        """A slot whose errors are told in words: Qt would only print them where nobody looks."""

        def guarded(*arguments: Any) -> None:
            try:
                slot(*arguments)
            except Exception as error:
                self.say(words_for(error))

        return guarded

    def act(self, slot: Callable[..., None]) -> Callable[..., None]:
        """The same for what begins something: what was said before is old news then."""

        def acted(*arguments: Any) -> None:
            self.clear()
            slot(*arguments)

        return self.guard(acted)

    def ask(self, text: str) -> bool:
        """A question to be answered with yes or no."""
        return slicer.util.confirmYesNoDisplay(text, windowTitle=_("MOISSAM2"))

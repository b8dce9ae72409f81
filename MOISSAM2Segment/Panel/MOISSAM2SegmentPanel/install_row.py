"""The row that is shown while Python packages are missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from MOISSAM2SegmentLib.setup import install
from slicer.i18n import tr as _

from MOISSAM2SegmentPanel.notice import Notice


class InstallRow:
    """Says what is missing and offers to install it; nothing happens without a yes."""

    def __init__(self, ui: Any, notice: Notice, installed: Callable[[], None]) -> None:
        self._ui = ui
        self._notice = notice
        self._installed = installed
        ui.installButton.connect("clicked()", notice.guard(self._install))

    def refresh(self) -> bool:
        """Show what is missing; True if nothing is."""
        missing = install.missing_packages()
        self._ui.installFrame.visible = bool(missing)
        text = _("Before the first use, Python packages have to be installed: {names}.")
        self._ui.installLabel.text = text.format(names=", ".join(missing))
        return not missing

    def _install(self) -> None:
        self._ui.installButton.enabled = False
        try:
            install.install(self._notice.ask, self._step)
        except install.InstallFailed as failure:
            self._notice.say(str(failure))
        finally:
            self._ui.installButton.enabled = True
        if self.refresh():
            self._installed()

    def _step(self, text: str) -> None:
        self._notice.say(text)
        slicer.app.processEvents()

"""The section at the top of the panel that is shown while Python packages are missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from MOISSAM2SegmentLib.setup import install
from slicer.i18n import tr as _

from MOISSAM2SegmentPanel.message_line import MessageLine


class InstallSection:
    """Lists the missing packages and installs them if the user agrees.

    ``installed`` is called when no package is missing any more.
    """

    def __init__(self, ui: Any, message_line: MessageLine, installed: Callable[[], None]) -> None:
        self._ui = ui
        self._message_line = message_line
        self._installed = installed
        ui.installButton.connect("clicked()", message_line.guard(self._install))

    def refresh(self) -> bool:
        """Show the missing packages; return whether none is missing."""
        missing = install.missing_packages()
        self._ui.installFrame.visible = bool(missing)
        text = _("Before the first use, Python packages have to be installed: {names}.")
        self._ui.installLabel.text = text.format(names=", ".join(missing))
        return not missing

    def _install(self) -> None:
        self._ui.installButton.enabled = False
        try:
            install.install(self._message_line.ask, self._report)
        except install.InstallFailed as failure:
            self._message_line.show(str(failure))
        finally:
            self._ui.installButton.enabled = True
        if self.refresh():
            self._installed()

    def _report(self, text: str) -> None:
        self._message_line.show(text)
        slicer.app.processEvents()

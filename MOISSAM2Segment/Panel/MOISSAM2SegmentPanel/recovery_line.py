"""The line about unsaved work: whether to keep it in case that Slicer dies, and what was found."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from MOISSAM2SegmentLib.workspace.recovery_files import default_root
from MOISSAM2SegmentLib.workspace.recovery_folder import LeftBehind, WorkNote
from MOISSAM2SegmentLib.workspace.workspace import Workspace
from slicer.i18n import tr as _

from MOISSAM2SegmentPanel.lesion_rows import count_text
from MOISSAM2SegmentPanel.message_line import MessageLine
from MOISSAM2SegmentPanel.settings import read_setting, write_setting

KEY, YES, NO = "RecoveryFiles", "yes", "no"
INTERVAL_MS = 2000

QUESTION = _("Keep unsaved work on this computer, in case Slicer crashes? It is patient data.")
EXPLANATION = _(
    "If Slicer ends unexpectedly, the work is offered at the next start. It is kept in {folder}, "
    "where only your account can read it, and deleted when you save or close the scene."
)
OFFER = _("Work of {when} on scan {scan} ({lesions}) was not saved.")
DAMAGED = _("Work that was not saved was found, but its file is damaged and cannot be restored.")
WANTED = _("To restore the work, load the scan {scan} ({size} voxels, {spacing} mm).")
REALLY_DELETE = _("Delete the unsaved work of {when} on scan {scan}? It cannot be brought back.")
KEPT_IN = _("Unsaved work is kept in {folder}. You can change this in the section Advanced.")
NOT_KEPT = _("Unsaved work is not kept. You can change this in the section Advanced.")


class RecoveryLine:
    """One line with two buttons, shown while there is something to decide; and its check box.

    ``start`` is called with a scan whose work was restored.
    """

    def __init__(
        self, ui: Any, workspace: Workspace, message_line: MessageLine, start: Callable[[Any], None]
    ) -> None:
        self._ui = ui
        self._workspace = workspace
        self._recovery = workspace.recovery
        self._message_line = message_line
        self._actions: tuple[Callable[[], None], Callable[[], None]] | None = None
        self._root = default_root()
        guard = message_line.guard
        ui.recoveryBox.toolTip = EXPLANATION.format(folder=self._root)
        ui.recoveryBox.checked = read_setting(KEY) == YES
        ui.recoveryBox.connect("toggled(bool)", guard(self._switched))
        ui.recoveryYesButton.connect("clicked()", guard(lambda: self._press(0)))
        ui.recoveryNoButton.connect("clicked()", guard(lambda: self._press(1)))
        self._timer = qt.QTimer()
        self._timer.setInterval(INTERVAL_MS)
        self._timer.connect("timeout()", guard(self._recovery.tick))
        self._recovery.changed.connect(self.show)
        self._recovery.restored.connect(start)
        self.look()
        self._recovery.files.allow(ui.recoveryBox.checked)
        self.show()

    def look(self) -> None:
        """Look for work that a Slicer left behind when it died."""
        if self._recovery.wanted is None:
            self._recovery.look_in(self._root)

    def close(self) -> None:
        """Stop for good."""
        self._recovery.changed.disconnect(self.show)
        self._timer.stop()
        self._timer.deleteLater()
        self._timer = None

    def show(self) -> None:
        """Update the line: first what is being restored, then what was found, then the question."""
        if self._timer is not None:
            self._keep_time()
        wanted, offers = self._recovery.wanted, self._recovery.offers
        if wanted is not None:
            self._ask_for_scan(wanted)
        elif offers:
            self._offer(offers[0])
        elif self._is_time_to_ask():
            keep, leave = (lambda: self._answer(True)), (lambda: self._answer(False))
            tip = EXPLANATION.format(folder=self._root)
            self._put(QUESTION, _("Keep"), keep, _("No"), leave, tip)
        else:
            self._ui.recoveryFrame.visible = False

    def _keep_time(self) -> None:
        is_needed = self._recovery.files.is_allowed or self._recovery.wanted is not None
        if is_needed and not self._timer.isActive():
            self._timer.start()
        elif not is_needed:
            self._timer.stop()

    def _put(
        self,
        text: str,
        yes: str,
        accept: Callable[[], None],
        no: str,
        refuse: Callable[[], None],
        tip: str = "",
    ) -> None:
        """Show a text and two buttons; without a name the first button is hidden."""
        ui = self._ui
        ui.recoveryLabel.text = text
        for widget in (ui.recoveryLabel, ui.recoveryYesButton, ui.recoveryNoButton):
            widget.toolTip = tip or text
        ui.recoveryYesButton.text, ui.recoveryNoButton.text = yes, no
        ui.recoveryYesButton.visible = bool(yes)
        ui.recoveryFrame.visible = True
        self._actions = accept, refuse

    def _press(self, index: int) -> None:
        if self._actions is not None:
            self._actions[index]()

    # ---- the question ----------------------------------------------------------------------

    def _is_time_to_ask(self) -> bool:
        """Whether there is something to lose for the first time."""
        is_open = self._workspace.is_open
        return is_open and bool(self._workspace.state.lesions) and not read_setting(KEY)

    def _answer(self, is_allowed: bool) -> None:
        write_setting(KEY, YES if is_allowed else NO)
        self._ui.recoveryBox.checked = is_allowed
        self._recovery.files.allow(is_allowed)
        text = KEPT_IN.format(folder=self._root) if is_allowed else NOT_KEPT
        self._message_line.show(text)
        self.show()

    def _switched(self, is_allowed: bool) -> None:
        write_setting(KEY, YES if is_allowed else NO)
        self._recovery.files.allow(is_allowed)
        self.show()

    # ---- what was found --------------------------------------------------------------------

    def _offer(self, left: LeftBehind) -> None:
        note = left.note
        if note is None:
            self._put(DAMAGED, "", lambda: None, _("Delete"), lambda: self._delete(left, DAMAGED))
            return
        names = {"when": note.kept_at, "scan": note.scan_name}
        self._put(
            OFFER.format(lesions=count_text(note.lesions), **names),
            _("Restore"),
            lambda: self._recovery.restore(left),
            _("Delete"),
            lambda: self._delete(left, REALLY_DELETE.format(**names)),
        )

    def _delete(self, left: LeftBehind, question: str) -> None:
        if left.note is None or self._message_line.ask(question):
            self._recovery.delete(left)

    def _ask_for_scan(self, wanted: LeftBehind) -> None:
        note = wanted.note
        assert note is not None
        text = WANTED.format(scan=note.scan_name, size=_size(note), spacing=_spacing(note))
        file = note.scan_file
        load = _("Load the scan") if file and Path(file).is_file() else ""
        self._put(text, load, lambda: self._load(file), _("Not now"), self._recovery.leave)

    def _load(self, file: str) -> None:
        slicer.util.loadVolume(file)
        self._recovery.tick()


def _size(note: WorkNote) -> str:
    return " x ".join(str(count) for count in reversed(note.shape))


def _spacing(note: WorkNote) -> str:
    """Return the size of a voxel along the scan's own axes, as Slicer's Volumes shows it."""
    columns = zip(*(row[:3] for row in note.ijk_to_ras[:3]), strict=True)
    return " x ".join(f"{math.hypot(*column):.2f}" for column in columns)

"""The section *Advanced*: settings with defaults that suit most scans and computers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from MOISSAM2SegmentLib.setup.install import missing_packages
from MOISSAM2SegmentLib.worker.devices import Device, available_devices
from MOISSAM2SegmentLib.worker.jobs import Job
from MOISSAM2SegmentLib.workspace.workspace import Workspace
from slicer.i18n import tr as _

from MOISSAM2SegmentPanel.message_line import MessageLine
from MOISSAM2SegmentPanel.settings import read_setting, write_setting

if TYPE_CHECKING:
    from mois_core.session.state import Settings

BY_DISTANCE = -1
"""Shown for a lesion that is followed by distance instead of a number of slices."""
PRECISIONS = ("", "float32", "bfloat16")
GIB = 2**30
ARRANGE, YES, NO = "ArrangeViews", "yes", "no"


class AdvancedSection:
    """Settings of the scan, saved with the scene, and settings of this computer.

    ``choose`` is called with the names of device and precision, which are empty for the default.
    """

    def __init__(
        self,
        ui: Any,
        workspace: Workspace,
        message_line: MessageLine,
        choose: Callable[[str, str], None],
    ) -> None:
        self._ui = ui
        self._workspace = workspace
        self._message_line = message_line
        self._choose = choose
        self._devices: list[Device] = []
        self._is_filling = True
        names = (_("Suits the device"), _("Full (float32)"), _("Half (bfloat16)"))
        for name in names:
            ui.precisionBox.addItem(name)
        precision = read_setting("Precision")
        if precision in PRECISIONS:
            ui.precisionBox.setCurrentIndex(PRECISIONS.index(precision))
        ui.deviceBox.addItem(_("The fastest there is"))
        for box, key in ((ui.deviceMemoryBox, "DeviceMemory"), (ui.hostMemoryBox, "HostMemory")):
            box.value = int(read_setting(key, str(box.value)))
            box.connect("valueChanged(int)", lambda value, key=key: write_setting(key, value))
        for box in (ui.deviceBox, ui.precisionBox):
            box.connect("currentIndexChanged(int)", message_line.guard(self._computer_chosen))
        for box, kind in (
            (ui.propagationSlicesBox, "int"),
            (ui.smallestBox, "double"),
            (ui.exemplarsBox, "int"),
        ):
            box.connect(f"valueChanged({kind})", message_line.guard(lambda value: self._adjust()))
        ui.advancedSection.connect("contentsCollapsed(bool)", message_line.guard(self._opened))
        ui.arrangeBox.checked = read_setting(ARRANGE, YES) == YES
        ui.arrangeBox.connect("toggled(bool)", message_line.guard(self._arrange))
        workspace.opened.connect(self._show_settings)
        self._is_filling = False
        self._pass_on()

    def settings(self) -> Settings:
        """Return the settings for a new session."""
        from mois_core.session.state import Settings

        return Settings(
            **self._adjustable(),
            device_budget=self._ui.deviceMemoryBox.value * GIB or None,
            host_budget=self._ui.hostMemoryBox.value * GIB or None,
        )

    @property
    def arranges_views(self) -> bool:
        """Whether the reader wants the views to be laid out for the scan."""
        return self._ui.arrangeBox.checked

    def _arrange(self, wanted: bool) -> None:
        write_setting(ARRANGE, YES if wanted else NO)
        if self._workspace.is_open and wanted:
            self._workspace.views.arrange(self._workspace.volume_node)
        elif self._workspace.is_open:
            self._workspace.views.give_back()

    def _opened(self, is_collapsed: bool) -> None:
        """Look for devices in the background, as soon as the user opens the section.

        The first call of a graphics driver takes seconds.
        """
        if is_collapsed or self._devices or missing_packages():
            return
        job = Job(_("Devices"), lambda *how: available_devices(), self._take, owner=self)
        self._workspace.engine.worker.submit(job)

    def _take(self, devices: list[Device]) -> None:
        if self._devices:
            return
        self._devices = devices
        self._is_filling = True
        for device in devices:
            self._ui.deviceBox.addItem(device.title)
        names = [device.name for device in devices]
        wanted = read_setting("Device")
        if wanted in names:
            self._ui.deviceBox.setCurrentIndex(names.index(wanted) + 1)
        self._is_filling = False
        self._pass_on()

    def _computer_chosen(self, index: int) -> None:
        if not self._is_filling:
            self._pass_on()
            write_setting("Device", self._device())
            write_setting("Precision", self._precision())

    def _pass_on(self) -> None:
        self._choose(self._device(), self._precision())

    def _device(self) -> str:
        if not self._devices:
            return read_setting("Device")
        index = self._ui.deviceBox.currentIndex - 1
        return self._devices[index].name if index >= 0 else ""

    def _precision(self) -> str:
        return PRECISIONS[max(self._ui.precisionBox.currentIndex, 0)]

    def _adjustable(self) -> dict[str, Any]:
        slices = self._ui.propagationSlicesBox.value
        return {
            "propagation_slices": slices if slices >= 0 else None,
            "smallest_cm3": self._ui.smallestBox.value,
            "exemplars": self._ui.exemplarsBox.value,
        }

    def _adjust(self) -> None:
        if self._workspace.is_open and not self._is_filling:
            self._workspace.commands.adjust(**self._adjustable())

    def _show_settings(self) -> None:
        # A session that is resumed keeps the settings that it was stored with.
        settings = self._workspace.session.settings
        self._is_filling = True
        slices = settings.propagation_slices
        self._ui.propagationSlicesBox.value = BY_DISTANCE if slices is None else slices
        self._ui.smallestBox.value = settings.smallest_cm3
        self._ui.exemplarsBox.value = settings.exemplars
        self._is_filling = False

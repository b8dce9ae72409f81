"""The list of volumes that can be joined to one scan, opened by *Join stations...*."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from MOISSAM2SegmentLib.workspace.workspace import Workspace

from MOISSAM2SegmentPanel.message_line import MessageLine


class StationsList:
    """A check box for each volume; those that certainly belong together are checked beforehand.

    It is offered only while the scene has volumes to join.
    """

    def __init__(self, ui: Any, workspace: Workspace, message_line: MessageLine) -> None:
        self._ui = ui
        self._workspace = workspace
        self._message_line = message_line
        self.boxes: list[tuple[str, Any]] = []
        """The id of each volume, with its check box."""
        ui.stationsButton.connect("clicked()", message_line.guard_and_clear(self._open_or_close))
        ui.joinButton.connect("clicked()", message_line.guard_and_clear(self._join))
        self._close()

    def show(self, has_packages: bool) -> None:
        """Update what is offered from the scene."""
        can_join = has_packages and len(self._workspace.stations.volumes()) > 1
        self._ui.stationsButton.visible = can_join
        if not can_join:
            self._close()

    def _open_or_close(self) -> None:
        if self.boxes:
            self._close()
            return
        for node, is_certain in self._workspace.stations.candidates():
            # A single "&" would underline the letter after it.
            box = qt.QCheckBox(node.GetName().replace("&", "&&"))
            box.checked = is_certain
            box.toolTip = node.GetName()
            self._ui.stationsFrame.layout().insertWidget(len(self.boxes), box)
            self.boxes.append((node.GetID(), box))
        self._ui.stationsFrame.visible = True

    def _close(self) -> None:
        for _node_id, box in self.boxes:
            box.hide()
            box.deleteLater()
        self.boxes = []
        self._ui.stationsFrame.visible = False

    def _join(self) -> None:
        scene = self._workspace.scene
        chosen = [scene.GetNodeByID(node_id) for node_id, box in self.boxes if box.checked]
        self._workspace.stations.join([node for node in chosen if node is not None], self._take)
        self._close()

    def _take(self, node: Any) -> None:
        self._ui.scanBox.setCurrentNode(node)
        slicer.util.setSliceViewerLayers(background=node, fit=True)
        self._message_line.show(node.GetDescription())

"""The views of Slicer's window without their widgets: its own logics on the real scene."""

from __future__ import annotations

from typing import Any

import slicer
from MOISSAM2SegmentLib.scene.scan_layout import OURS

VIEW_KINDS = ("vtkMRMLAbstractViewNode", "vtkMRMLLayoutNode")
LARGE, BESIDE = (730, 860), (480, 420)
"""Pixels of the views in a window of 1600 x 1000."""


class SlicerWindow:
    """Slicer's layout logic, which puts the views of a layout into the scene, and their logics."""

    def __init__(self, scene: Any) -> None:
        self.scene = scene
        self.logic = slicer.vtkMRMLLayoutLogic()
        self.logic.SetMRMLScene(scene)
        self.layout.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self._slice_logics: dict[str, Any] = {}

    @property
    def layout(self) -> Any:
        return self.logic.GetLayoutNode()

    @property
    def arrangement(self) -> int:
        return self.layout.GetViewArrangement()

    def shown(self) -> list[str]:
        """Return the tags of the views that the layout shows, the first one first."""
        nodes = self.logic.GetViewNodes()
        return [nodes.GetItemAsObject(n).GetSingletonTag() for n in range(nodes.GetNumberOfItems())]

    def slice_view(self, tag: str) -> Any:
        return self.scene.GetSingletonNode(tag, "vtkMRMLSliceNode")

    def slice_views(self) -> list[Any]:
        return [self.slice_view(tag) for tag in ("Red", "Yellow", "Green")]

    def resize(self, tag: str, width: int, height: int) -> None:
        """Give a view another size, as its widget does some time after the layout has changed."""
        if tag not in self._slice_logics:
            logic = slicer.vtkMRMLSliceLogic()
            logic.SetMRMLScene(self.scene)
            logic.SetSliceNode(self.slice_view(tag))
            self._slice_logics[tag] = logic
        self._slice_logics[tag].ResizeSliceNode(width, height)

    def lay_out(self) -> None:
        """Give the views the size that they have in the layout that is shown."""
        shown = self.shown()
        for tag in ("Red", "Yellow", "Green"):
            is_large = self.arrangement in OURS and shown[0] == tag
            self.resize(tag, *(LARGE if is_large else BESIDE))

    def let_go(self) -> None:
        """Take the views out of the scene, where they would outlive the test."""
        for logic in self._slice_logics.values():
            logic.SetMRMLScene(None)
        self.logic.SetMRMLScene(None)
        for kind in VIEW_KINDS:
            for node in slicer.util.getNodesByClass(kind, self.scene):
                self.scene.RemoveNode(node)

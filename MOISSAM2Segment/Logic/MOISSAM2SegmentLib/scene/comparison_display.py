"""An earlier scan beside the present one: linked views, under a transform, in the same colours.

Everything that is set here is put back at the end. A scene that is saved in between keeps neither
the transform nor our views: the earlier scan lies where it lay. Its segments stay hidden there
until their eye is opened, and what is drawn on the present scan is restricted to the views of then
until work on a scan begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import slicer

from mois_core.results.colours import Colour
from MOISSAM2SegmentLib.scene.one_change import one_change
from MOISSAM2SegmentLib.scene.scan_layout import EARLIER, VIEW_OF_AXIS, compared_axes
from MOISSAM2SegmentLib.scene.slice_views import slice_views
from MOISSAM2SegmentLib.scene.transforms import numpy_to_matrix

_COMPOSITE = "vtkMRMLSliceCompositeNode"
_DISPLAY = "vtkMRMLSegmentationDisplayNode"
_TRANSFORM = "vtkMRMLLinearTransformNode"
_KEPT_APART = "MOISSAM2.KeptApart"
"""Attribute of display nodes that were restricted to some views here."""


class ComparisonDisplay:
    """Shows one earlier scan and its segments beside the scan that is open.

    The segments are drawn by a display node of ours, in the colours of the lesions that they
    became, and that of the reader is hidden meanwhile.
    """

    def __init__(self, present: Any, earlier: Any, segments: Any, axis: str) -> None:
        """The layout with the views is there already."""
        self._scene = present.GetScene()
        self._present, self._earlier, self._segments = present, earlier, segments
        self._axes = compared_axes(axis)
        self._moved = [(node, node.GetTransformNodeID()) for node in (earlier, segments)]
        self._hidden = [n for n in _displays(segments) if n.GetVisibility()]
        self._linked: dict[str, tuple[int, int]] = {}
        self._transform = self._add(_TRANSFORM, "EarlierScan")
        self._transform.SetAndObserveTransformNodeID(present.GetTransformNodeID())
        for node, _ in self._moved:
            node.SetAndObserveTransformNodeID(self._transform.GetID())
        self._display = self._add(_DISPLAY, "EarlierLesions")
        if segments.GetDisplayNode() is not None:
            self._display.CopyContent(segments.GetDisplayNode())
        for node in self._hidden:
            node.SetVisibility(False)
        self._display.SetVisibility(True)
        self._display.SetVisibility3D(False)
        segments.AddAndObserveDisplayNodeID(self._display.GetID())
        self.arrange()

    @property
    def nodes(self) -> tuple[Any, Any]:
        """The earlier scan and its segments."""
        return self._earlier, self._segments

    def arrange(self) -> None:
        """Set up the views of both scans; views that a layout has not made yet are left out."""
        views = {view.GetLayoutName(): view for view in slice_views(self._scene)}
        earlier = []
        for axis in self._axes:
            there, here = views.get(EARLIER[axis]), views.get(VIEW_OF_AXIS[axis])
            if there is None or here is None:
                continue
            earlier.append(there)
            there.SetSaveWithScene(False)
            self._turn(there, here)
            self._show_in(there, self._earlier)
            self._show_in(here, self._present)
        _restrict(self._display, [view.GetID() for view in earlier])

    def keep_apart(self, nodes: Iterable[Any]) -> None:
        """Draw nodes of the present scan on that scan only, and not on the earlier one too."""
        views = _ids_of_other_views(self._scene)
        for node in nodes:
            display = node.GetDisplayNode() if node is not None else None
            if display is not None:
                _restrict(display, views)
                display.SetAttribute(_KEPT_APART, "1")

    def colour(self, colours: Mapping[str, Colour]) -> None:
        """Draw earlier segments in colours, given by their ids; others keep their own."""
        with one_change(self._display):
            for segment_id, colour in colours.items():
                self._display.SetSegmentOverrideColor(segment_id, *map(float, colour))

    def align(self, here: np.ndarray, there: np.ndarray) -> None:
        """Have a place of the earlier scan lie on one of the present scan, both in their own RAS.

        The scan is shifted, not turned: its slices stay as sharp as they were acquired.
        """
        matrix = np.eye(4)
        matrix[:3, 3] = np.asarray(here) - np.asarray(there)
        self._transform.SetMatrixTransformToParent(numpy_to_matrix(matrix))

    def follow_transform(self) -> None:
        """Stay with the present scan, which is under another transform now."""
        self._transform.SetAndObserveTransformNodeID(self._present.GetTransformNodeID())

    def end(self, is_closing: bool = False) -> None:
        """Put everything back as it was. Nodes that were removed meanwhile are left out.

        With ``is_closing`` our own nodes are left to the scene, which removes them.
        """
        for node, transform_id in self._moved:
            if _is_in(self._scene, node) and node.GetTransformNodeID() == self._transform.GetID():
                node.SetAndObserveTransformNodeID(transform_id)
        for node in self._hidden:
            if _is_in(self._scene, node):
                node.SetVisibility(True)
        show_everywhere(self._scene)
        for composite_id, (linked, hot) in self._linked.items():
            composite = self._scene.GetNodeByID(composite_id)
            if composite is not None:
                composite.SetLinkedControl(linked)
                composite.SetHotLinkedControl(hot)
        for node in (self._display, self._transform):
            if not is_closing and _is_in(self._scene, node):
                self._scene.RemoveNode(node)

    def _turn(self, there: Any, here: Any) -> None:
        """Turn a view to the plane of another one, by which Slicer links them."""
        with one_change(there):
            there.GetSliceToRAS().DeepCopy(here.GetSliceToRAS())
            there.UpdateMatrices()

    def _show_in(self, view: Any, volume: Any) -> None:
        composite = self._composite_of(view)
        if composite.GetID() not in self._linked:
            linked = composite.GetLinkedControl(), composite.GetHotLinkedControl()
            self._linked[composite.GetID()] = linked
        with one_change(composite):
            composite.SetBackgroundVolumeID(volume.GetID())
            if volume is self._earlier:
                composite.SetForegroundVolumeID(None)
                composite.SetLabelVolumeID(None)
                composite.SetSaveWithScene(False)
            composite.SetLinkedControl(True)
            composite.SetHotLinkedControl(True)

    def _composite_of(self, view: Any) -> Any:
        found = slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(view)
        if found is None:
            # As the view's own logic does, which then takes this one.
            found = self._scene.CreateNodeByClass(_COMPOSITE)
            found.UnRegister(None)
            found.SetLayoutName(view.GetLayoutName())
            self._scene.AddNode(found)
        return found

    def _add(self, kind: str, name: str) -> Any:
        node = self._scene.CreateNodeByClass(kind)
        node.UnRegister(None)
        node.SetName(name)
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        node.SetUndoEnabled(False)
        return self._scene.AddNode(node)


def show_everywhere(scene: Any) -> None:
    """Draw in all views again what a comparison drew on its present scan only."""
    for display in slicer.util.getNodesByClass("vtkMRMLDisplayNode", scene):
        if display.GetAttribute(_KEPT_APART):
            display.RemoveAttribute(_KEPT_APART)
            _restrict(display, [])


def _displays(node: Any) -> Iterator[Any]:
    for number in range(node.GetNumberOfDisplayNodes()):
        yield node.GetNthDisplayNode(number)


def _ids_of_other_views(scene: Any) -> list[str]:
    """Return the ids of all views but those that show an earlier scan."""
    nodes = slicer.util.getNodesByClass("vtkMRMLAbstractViewNode", scene)
    return [node.GetID() for node in nodes if node.GetLayoutName() not in EARLIER.values()]


def _restrict(display: Any, view_ids: Iterable[str]) -> None:
    """Draw what a display node draws in some views only; in all if there are none."""
    wanted = tuple(view_ids)
    if tuple(display.GetViewNodeIDs()) == wanted:
        return
    with one_change(display):
        display.RemoveAllViewNodeIDs()
        for view_id in wanted:
            display.AddViewNodeID(view_id)


def _is_in(scene: Any, node: Any) -> bool:
    return node.GetScene() is scene

"""Events of the nodes that a workspace uses, kept as flags until there is time for them.

Events come in the middle of changes by others, hundreds during one drag, and inside `NodeModify`
without the index of the point that they are about.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk

from MOISSAM2SegmentLib.scene.observers import Observers

_MARKUPS = slicer.vtkMRMLMarkupsNode
_SEGMENTS = slicer.vtkSegmentation
_POINT_EVENTS = (
    _MARKUPS.PointAddedEvent,
    _MARKUPS.PointRemovedEvent,
    _MARKUPS.PointModifiedEvent,
    _MARKUPS.PointPositionDefinedEvent,
    _MARKUPS.PointPositionUndefinedEvent,
    slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
)
_SEGMENT_EVENTS = (
    _SEGMENTS.SegmentAdded,
    _SEGMENTS.SegmentRemoved,
    _SEGMENTS.SegmentModified,
    _SEGMENTS.SourceRepresentationModified,
)


class SceneEvents:
    """Observer of the nodes of one workspace."""

    def __init__(self, scene: Any) -> None:
        self.scene = scene
        self.points_changed = False
        self.segments_changed = False
        self.scan_changed = False
        self.is_dragging = False
        self.on_pump_requested: Callable[[], None] = lambda: None
        """Called when a flag is raised."""
        self.on_moved: Callable[[], None] = lambda: None
        """Called at once when the scan is moved by a transform: a point that is placed in the next
        moment must find the list of points where the scan is."""
        self.on_removed: Callable[[Any], None] = lambda node: None
        """Called just before a node is removed from the scene."""
        self.on_closing: Callable[[], None] = lambda: None
        """Called when the scene begins to close."""
        self.is_ours: Callable[[], bool] = lambda: False
        """Called to find out whether changes of segments are being made by ourselves."""
        self._observers = Observers()
        observers = self._observers
        observers.add(scene, slicer.vtkMRMLScene.StartCloseEvent, self._on_close)
        observers.add_with_object(
            scene, slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, self._on_remove
        )

    def watch_scan(self, node: Any) -> None:
        """Observe a scan's voxels and its transform."""
        self._observers.add(node, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent, self._on_scan)
        self._observers.add(node, vtk.vtkCommand.ModifiedEvent, self._on_scan)
        event = slicer.vtkMRMLTransformableNode.TransformModifiedEvent
        self._observers.add(node, event, self._on_transform)

    def watch_points(self, node: Any) -> None:
        """Observe a Markups list."""
        for event in _POINT_EVENTS:
            self._observers.add(node, event, self._on_points)
        self._observers.add(node, _MARKUPS.PointStartInteractionEvent, self._on_drag)
        self._observers.add(node, _MARKUPS.PointEndInteractionEvent, self._on_drop)

    def watch_segments(self, node: Any) -> None:
        """Observe a segmentation.

        The node passes its vtkSegmentation's events on, even if that is exchanged for another one.
        """
        for event in _SEGMENT_EVENTS:
            self._observers.add(node, event, self._on_segments)

    def forget(self, node: Any) -> None:
        """Stop observing a node."""
        self._observers.remove(node)

    def clear(self) -> None:
        """Stop observing all nodes."""
        self._observers.clear()

    def __len__(self) -> int:
        return len(self._observers)

    @property
    def is_flagged(self) -> bool:
        """Whether an event has come that was not dealt with."""
        points = self.points_changed and not self.is_dragging
        return points or self.segments_changed or self.scan_changed

    def _on_points(self, caller: Any, event: str) -> None:
        self.points_changed = True
        self.on_pump_requested()

    def _on_drag(self, caller: Any, event: str) -> None:
        self.is_dragging = True

    def _on_drop(self, caller: Any, event: str) -> None:
        self.is_dragging = False
        self._on_points(caller, event)

    def _on_segments(self, caller: Any, event: str) -> None:
        if not self.is_ours():
            self.segments_changed = True
            self.on_pump_requested()

    def _on_scan(self, caller: Any, event: str) -> None:
        self.scan_changed = True
        self.on_pump_requested()

    def _on_transform(self, caller: Any, event: str) -> None:
        self.on_moved()
        self._on_points(caller, event)

    def _on_close(self, caller: Any, event: str) -> None:
        self.on_closing()

    def _on_remove(self, caller: Any, event: str, node: Any) -> None:
        self.on_removed(node)

"""Surfaces of lesions in 3D, kept while labelmaps are written and made again where these changed.

A segmentation throws all its surfaces away when one of its labelmaps says that it was modified,
and those of hundreds of lesions take seconds to make. Slicer's own paint effect keeps them, and
makes only the surfaces of what it wrote again; so do we.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import slicer

from MOISSAM2SegmentLib.scene.shared_labelmap import SharedLabelmap

CLOSED_SURFACE = "Closed surface"
_EVENTS = slicer.vtkSegmentation


class SegmentSurfaces:
    """The closed surfaces of one segmentation node, if *Show 3D* has made any."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._kept: dict[str, Any] | None = None
        """The surfaces by segment while a block keeps them; None if none does."""
        self._changed: set[str] = set()
        self._moved: set[str] = set()

    @property
    def are_kept(self) -> bool:
        """Whether there are surfaces, and a block that keeps them."""
        return self._kept is not None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the surfaces while a block writes labelmaps; see `change` and `let_go`."""
        segmentation = self._node.GetSegmentation()
        if self.are_kept or not segmentation.ContainsRepresentation(CLOSED_SURFACE):
            yield
            return
        segments = {n: segmentation.GetSegment(n) for n in segmentation.GetSegmentIDs()}
        self._kept = {n: one.GetRepresentation(CLOSED_SURFACE) for n, one in segments.items()}
        try:
            yield
        finally:
            self._renew()
            self.let_go()

    def change(self, segment_id: str) -> None:
        """Have a segment's surface made again at the end of the block, and the views told."""
        if self.are_kept:
            self._changed.add(segment_id)

    def move(self, segment_id: str) -> None:
        """Have the views told at the end of the block that a segment is in another labelmap."""
        if self.are_kept:
            self._moved.add(segment_id)

    def let_go(self) -> None:
        """Keep the surfaces no longer, because too many have changed."""
        self._kept = None
        self._changed.clear()
        self._moved.clear()

    def notify(self, shared: SharedLabelmap) -> None:
        """Have Slicer draw what was written into the shared labelmap."""
        if self.are_kept:
            # An event of the image would throw them away; each changed segment has one of its own.
            shared.notify_arrays()
        else:
            shared.notify()

    def _renew(self) -> None:
        if self._kept is None:
            return
        segmentation = self._node.GetSegmentation()
        for segment_id, surface in self._kept.items():
            segment = segmentation.GetSegment(segment_id)
            if segment is None or surface is None:
                continue
            if segment_id in self._changed:
                segment.RemoveRepresentation(CLOSED_SURFACE)
            elif segment.GetRepresentation(CLOSED_SURFACE) is None:
                segment.AddRepresentation(CLOSED_SURFACE, surface)
        if self._changed:
            segmentation.CreateRepresentation(CLOSED_SURFACE)
        for event, segment_ids in (
            (_EVENTS.SourceRepresentationModified, self._changed | self._moved),
            (_EVENTS.RepresentationModified, self._changed),
        ):
            for segment_id in sorted(segment_ids):
                if segmentation.GetSegment(segment_id) is not None:
                    segmentation.InvokeEvent(event, segment_id)

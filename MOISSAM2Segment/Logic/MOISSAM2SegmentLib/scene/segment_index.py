"""Index of the segments that show lesions, with their names and colours.

A segment knows its lesion by a tag, which survives renaming and saving. Its name and colour belong
to the user once it is there. Segments without the tag are not ours and are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from MOISSAM2SegmentLib.scene.grid_images import BINARY_LABELMAP
from MOISSAM2SegmentLib.scene.segment_surfaces import SegmentSurfaces
from MOISSAM2SegmentLib.scene.segment_tags import default_name

if TYPE_CHECKING:
    from mois_core.results.colours import Colour


class SegmentIndex:
    """The segments of one segmentation node that show lesions."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.colours: dict[int, Colour] = {}
        """Colours by lesion, kept for lesions that come back by an undo."""
        self.is_writing = False
        """Whether the events that arrive now are caused by ourselves."""
        self.surfaces = SegmentSurfaces(node)
        self._segments: dict[int, str] = {}
        self._names: dict[int, str] = {}

    @property
    def segmentation(self) -> Any:
        """The node's vtkSegmentation."""
        return self.node.GetSegmentation()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Mark changes of the segmentation as ours, and let Slicer see them as one.

        Surfaces in 3D are kept, but for those of segments that `surfaces.change` was told of.
        """
        was_modifying, was_writing = self.node.StartModify(), self.is_writing
        self.is_writing = True
        try:
            with self.surfaces.kept():
                yield
        finally:
            # In this order: events that were held back come out now, and they are ours too.
            self.node.EndModify(was_modifying)
            self.is_writing = was_writing

    def enter(self, lesion_id: int, segment_id: str, name: str) -> None:
        """Note that a segment shows a lesion from now on."""
        self._segments[lesion_id], self._names[lesion_id] = segment_id, name

    def drop(self, lesion_id: int) -> None:
        """Note that no segment shows a lesion any more."""
        del self._segments[lesion_id], self._names[lesion_id]

    def lesions(self) -> list[int]:
        """Return the ids of lesions that have a segment."""
        return list(self._segments)

    def segments(self) -> dict[int, str]:
        """Return segment ids by lesion."""
        return dict(self._segments)

    def __contains__(self, lesion_id: int) -> bool:
        return lesion_id in self._segments

    def segment_of(self, lesion_id: int) -> str | None:
        """Return the id of the segment that shows a lesion; None if there is none."""
        return self._segments.get(lesion_id)

    def lesion_of(self, segment_id: str) -> int | None:
        """Return the id of the lesion that a segment shows; None if it shows none."""
        return next((n for n, own in self._segments.items() if own == segment_id), None)

    def segment(self, lesion_id: int) -> Any:
        """Return a lesion's vtkSegment; None if the user has removed it."""
        return self.segmentation.GetSegment(self._segments[lesion_id])

    def follow_colour(self, lesion_id: int) -> None:
        """Take over the colour that a lesion's segment has now."""
        self.colours[lesion_id] = tuple(self.segment(lesion_id).GetColor())

    def write_name(self, lesion_id: int, name: str) -> None:
        """Give a lesion's segment a name, or the default name if it is empty."""
        name = name or default_name(lesion_id)
        if self._names[lesion_id] != name:
            segment = self.segment(lesion_id)
            self._names[lesion_id] = name
            if segment is not None:
                segment.SetName(name)

    def expect_name(self, lesion_id: int, name: str) -> None:
        """Report any other name than this as one that the user gave."""
        self._names[lesion_id] = name

    def new_name(self, lesion_id: int) -> str | None:
        """Return the name that the user gave since the last call; None if there is none.

        It is empty where the user gave the lesion its default name.
        """
        name = self.segment(lesion_id).GetName() or ""
        if name == self._names[lesion_id]:
            return None
        self._names[lesion_id] = name
        return "" if name == default_name(lesion_id) else name


def members_by_image(
    segmentation: Any, segments: Mapping[int, str], first: Any = None
) -> list[tuple[Any, dict[int, int]]]:
    """Return the labelmaps that lesions' segments are in, each with its lesions by label value.

    ``segments`` are segment ids by lesion; the labelmap ``first`` comes first if any is in it.
    """
    found: dict[int, tuple[Any, dict[int, int]]] = {id(first): (first, {})}
    for lesion_id, segment_id in segments.items():
        segment = segmentation.GetSegment(segment_id)
        image = segment.GetRepresentation(BINARY_LABELMAP)
        members = found.setdefault(id(image), (image, {}))[1]
        members[segment.GetLabelValue()] = lesion_id
    return [pair for pair in found.values() if pair[1]]

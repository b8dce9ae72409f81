"""Opening a scan: going on with what the scene holds of it, or beginning anew.

Nothing that is stored is ever overwritten by beginning anew. A session that cannot be continued,
because another model is loaded or its file is damaged, stays in the scene for the day when it
can; its lesions are taken over as if the user had painted them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mois_core.colours import Colour
from mois_core.errors import BadInput
from MOISSAM2SegmentLib.layer import BINARY_LABELMAP, image_labels, on_grid
from MOISSAM2SegmentLib.lesion_segments import default_name, tagged_segments
from MOISSAM2SegmentLib.painting import Painter, Update
from MOISSAM2SegmentLib.placement import view_of
from MOISSAM2SegmentLib.stored_session import SEGMENTS, VOLUME, StoredSession, stored_sessions

if TYPE_CHECKING:
    from mois_core.geometry import Volume
    from mois_core.progress import CancelToken, Progress
    from mois_core.session import Session
    from mois_core.state import Settings
    from MOISSAM2SegmentLib.engine import Engine

TAKEN_OVER = (
    "{reason} Its lesions were taken over as outlined ones; the earlier work stays in the scene."
)


@dataclass(frozen=True, eq=False)
class Earlier:
    """A stored session as the worker gets it."""

    stored: StoredSession
    text: str
    lesions: dict[int, np.ndarray]
    """Cropped masks of its segments, in case it cannot be continued."""
    boxes: dict[int, tuple[slice, slice, slice]]
    names: dict[int, str]
    colours: dict[int, Colour]


@dataclass(frozen=True, eq=False)
class Opened:
    """A session that is ready, and how it came about."""

    session: Session
    painter: Painter
    update: Update
    resumed: StoredSession | None
    notice: str = ""
    colours: Mapping[int, Colour] = field(default_factory=dict)


def earlier_sessions(scene: Any, volume_node: Any) -> list[Earlier]:
    """What the scene holds of a scan, the newest first."""
    own = [s for s in stored_sessions(scene) if s.referenced(VOLUME) is volume_node]
    return [_earlier(stored, volume_node) for stored in reversed(own)]


def _earlier(stored: StoredSession, volume_node: Any) -> Earlier:
    node = stored.referenced(SEGMENTS)
    masks, boxes, names, colours = {}, {}, {}, {}
    if node is not None:
        scan = view_of(volume_node)
        segmentation = node.GetSegmentation()
        segments = tagged_segments(node)
        for number, identifier in segments.items():
            segment = segmentation.GetSegment(identifier)
            names[number], colours[number] = segment.GetName(), tuple(segment.GetColor())
        for image, members in _by_image(segmentation, segments):
            labels = on_grid(image, members, scan.ijk_to_ras, scan.array.shape)
            masks.update(_crops(labels, boxes))
    return Earlier(stored, stored.content, masks, boxes, names, colours)


def _by_image(segmentation: Any, segments: dict[int, str]) -> list[tuple[Any, dict[int, int]]]:
    found: dict[int, tuple[Any, dict[int, int]]] = {}
    for number, identifier in segments.items():
        segment = segmentation.GetSegment(identifier)
        image = segment.GetRepresentation(BINARY_LABELMAP)
        if image is not None and image_labels(image) is not None:
            members = found.setdefault(id(image), (image, {}))[1]
            members[segment.GetLabelValue()] = number
    return list(found.values())


def _crops(labels: np.ndarray, boxes: dict) -> dict[int, np.ndarray]:
    from scipy.ndimage import find_objects

    masks = {}
    for number, box in enumerate(find_objects(labels), start=1):
        if box is not None:
            masks[number], boxes[number] = labels[box] == number, box
    return masks


def open_scan(
    engine: Engine,
    volume: Volume,
    settings: Settings | None,
    earlier: Sequence[Earlier],
    progress: Progress,
    cancel: CancelToken,
) -> Opened:
    """The session for a scan. Runs on the worker."""
    progress(0, 1, "reading the scan")
    problem = ""
    for candidate in earlier:
        if not candidate.text:
            continue
        try:
            session = engine.resume(candidate.text, volume)
        except BadInput as error:
            problem = problem or str(error)
            continue
        painter = Painter(session)
        return Opened(session, painter, painter.whole(), candidate.stored)
    session = engine.open(volume, settings)
    notice, colours = "", {}
    source = next((candidate for candidate in earlier if candidate.lesions), None)
    if source is not None:
        _take_over(session, source, progress, cancel)
        colours = source.colours
        reason = problem or "the stored work cannot be continued"
        notice = TAKEN_OVER.format(reason=f"{reason[:1].upper()}{reason[1:].rstrip('.')}.")
    painter = Painter(session)
    return Opened(session, painter, painter.whole(), None, notice, colours)


def _take_over(session: Session, source: Earlier, progress: Progress, cancel: CancelToken) -> None:
    for done, (number, mask) in enumerate(source.lesions.items()):
        cancel.check()
        progress(done, len(source.lesions), "taking over lesions")
        whole = np.zeros(session.volume.array.shape, dtype=bool)
        whole[source.boxes[number]] = mask
        session.set_mask(number, whole)
        if source.names[number] != default_name(number):
            session.rename(number, source.names[number])

"""Opening a scan: resuming a session that the scene holds of it, or beginning a new one.

A new session never overwrites a stored one. A session that cannot be resumed, because another model
is loaded or its file is damaged, stays in the scene for the day when it can; its lesions are taken
over as if the user had painted them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mois_core.errors import BadInput
from mois_core.results.colours import Colour
from MOISSAM2SegmentLib.messages import error_message
from MOISSAM2SegmentLib.messages import tr as _
from MOISSAM2SegmentLib.scene.grid_images import has_matrix, image_labels, moved_image, on_grid
from MOISSAM2SegmentLib.scene.segment_index import members_by_image
from MOISSAM2SegmentLib.scene.segment_tags import default_name, tagged_segments
from MOISSAM2SegmentLib.scene.shared_labelmap import Canvas
from MOISSAM2SegmentLib.scene.stored_session import (
    POINTS,
    SEGMENTS,
    VOLUME,
    StoredSession,
    decode,
    stored_sessions,
)
from MOISSAM2SegmentLib.scene.transforms import copied, transform_between, view_of
from MOISSAM2SegmentLib.worker.label_updates import LabelUpdates, Update
from MOISSAM2SegmentLib.workspace.step_record import STEPS, Step, moved

if TYPE_CHECKING:
    from mois_core.geometry import Volume
    from mois_core.progress import CancelToken, Progress
    from mois_core.session import Session
    from mois_core.session.state import Settings
    from MOISSAM2SegmentLib.worker.engine import Engine

TAKEN_OVER = _(
    "{reason} Its lesions were taken over as outlined ones; the earlier work stays in the scene, "
    "hidden."
)
READING = _("reading the scan")
TAKING_OVER = _("taking over lesions")


@dataclass(frozen=True)
class EarlierSession:
    """A stored session, and the text of its node for the worker."""

    stored: StoredSession
    text: str


@dataclass(frozen=True, eq=False)
class OpenedScan:
    """A session on a scan that is ready to be worked on."""

    session: Session
    label_updates: LabelUpdates
    update: Update
    canvas: Canvas
    """Has the label values of the update, which has no patches."""
    resumed: StoredSession | None
    """The stored session that goes on; None if the session is new."""
    steps: list[Step] | None = None
    """What was done in it so far; None if that is not known."""
    place_before: np.ndarray | None = None
    """The scan's voxel-to-RAS matrix when the session was stored; None if it was not moved."""
    problem: str = ""
    """Why a stored session could not be resumed, in words for the user."""


@dataclass(frozen=True, eq=False)
class OutlinedLesion:
    """A lesion as its segment shows it."""

    lesion_id: int
    name: str
    colour: Colour
    box: tuple[slice, slice, slice]
    mask: np.ndarray
    """The lesion's voxels, inside the box."""


def earlier_sessions(scene: Any, volume_node: Any) -> list[EarlierSession]:
    """Return the sessions that the scene holds of a scan, the newest first."""
    own = [s for s in stored_sessions(scene) if s.referenced(VOLUME) is volume_node]
    return [EarlierSession(stored, stored.content) for stored in reversed(own)]


def open_scan(
    engine: Engine,
    volume: Volume,
    settings: Settings | None,
    earlier: Sequence[EarlierSession],
    progress: Progress,
) -> OpenedScan:
    """Return the session for a scan, stored or new. Runs on the worker.

    A stored one keeps the settings that it was begun with, but for those of this computer.
    ``volume`` has the node's own voxels. Who edits them while they are copied is noticed as soon as
    the scan is open, as they differ from the copy (`ScanWork.scan_change`).
    """
    from mois_core.session.session_file import describe
    from mois_core.session.state import MACHINE_SETTINGS

    progress(0, 1, READING)
    volume = copied(volume)
    problem = ""
    for candidate in earlier:
        if not candidate.text:
            continue
        try:
            content = decode(candidate.text)
            session, place_before = engine.resume(content, volume)
        except BadInput as error:
            problem = problem or error_message(error)
            continue
        if settings is not None:
            session.adjust(**{name: getattr(settings, name) for name in MACHINE_SETTINGS})
        updates = LabelUpdates(session)
        steps = describe(content).notes.get(STEPS)
        if steps is not None and place_before is not None:
            steps = moved(steps, volume.ijk_to_ras @ np.linalg.inv(place_before))
        painted = _painted(updates)
        return OpenedScan(session, updates, *painted, candidate.stored, steps, place_before)
    session = engine.open(volume, settings)
    updates = LabelUpdates(session)
    return OpenedScan(session, updates, *_painted(updates), None, problem=problem)


def _painted(updates: LabelUpdates) -> tuple[Update, Canvas]:
    """Return the update that a scan is opened with, and a canvas that has its label values, so that
    the main thread has none to write."""
    whole = updates.whole()
    # Part of what lesions are known by; it takes a while, so it is made here.
    _ = updates.session.volume.digest
    return replace(whole, patches=()), Canvas(whole.patches[0].labels)


def outlined_lesions(earlier: Sequence[EarlierSession], volume_node: Any) -> list[OutlinedLesion]:
    """Return the lesions of the newest stored session that has any in the scene."""
    for candidate in earlier:
        node = candidate.stored.referenced(SEGMENTS)
        lesions = _outlined(node.GetSegmentation(), node, volume_node) if node is not None else []
        if lesions:
            return lesions
    return []


def hide(earlier: Sequence[EarlierSession]) -> None:
    """Hide what earlier sessions show, so that nobody sees each lesion twice."""
    for candidate in earlier:
        for role in (SEGMENTS, POINTS):
            node = candidate.stored.referenced(role)
            if node is not None and node.GetDisplayNode() is not None:
                node.GetDisplayNode().SetVisibility(False)


def _outlined(segmentation: Any, node: Any, volume_node: Any) -> list[OutlinedLesion]:
    from scipy.ndimage import find_objects

    scan, segments = view_of(volume_node), tagged_segments(node)
    parents = (node.GetParentTransformNode(), volume_node.GetParentTransformNode())
    lesions = []
    for image, members in members_by_image(segmentation, segments):
        if image is None or image_labels(image) is None:
            continue
        if parents[0] is not parents[1] and not has_matrix(image, scan.ijk_to_ras):
            # The scan was moved without its lesions, which lie where they are seen.
            image = moved_image(image, transform_between(*parents))
        labels = on_grid(image, members, scan.ijk_to_ras, scan.array.shape)
        for lesion_id, box in enumerate(find_objects(labels), start=1):
            if box is not None:
                segment = segmentation.GetSegment(segments[lesion_id])
                name, colour = segment.GetName(), tuple(segment.GetColor())
                mask = labels[box] == lesion_id
                lesions.append(OutlinedLesion(lesion_id, name, colour, box, mask))
    return sorted(lesions, key=lambda lesion: lesion.lesion_id)


def take_over(
    session: Session, lesions: Sequence[OutlinedLesion], progress: Progress, cancel: CancelToken
) -> None:
    """Add outlined lesions to a session, as if the user had painted them."""
    for done, lesion in enumerate(lesions):
        cancel.check()
        progress(done, len(lesions), TAKING_OVER)
        whole = np.zeros(session.volume.array.shape, dtype=bool)
        whole[lesion.box] = lesion.mask
        session.set_mask(lesion.lesion_id, whole)
        if lesion.name != default_name(lesion.lesion_id):
            session.rename(lesion.lesion_id, lesion.name)

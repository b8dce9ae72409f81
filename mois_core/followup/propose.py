"""Begin a session on a new scan with the lesions of an earlier one, as findings for a yes or no."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mois_core.followup.registration import Registration
from mois_core.followup.time_point import TimePoint
from mois_core.geometry import Volume
from mois_core.progress import CancelToken, Progress, silent
from mois_core.session import Session
from mois_core.session.findings import MOSTLY, iou, redrawn
from mois_core.session.lesion import Lesion, Status
from mois_core.session.masks import Mask

_LEAST_LIKE = 0.1
"""Intersection over union of what the network outlines with what is expected: a lesion that grew
tenfold around where it was has as much."""


@dataclass(frozen=True)
class Proposal:
    """A finding that stands for a lesion of the earlier scan."""

    finding: int
    """Its id in the session."""
    earlier: int
    """The lesion's label value in the earlier scan."""
    uid: str
    """What the lesion is known by in all scans."""


def propose(
    session: Session,
    earlier: TimePoint,
    registration: Registration,
    progress: Progress = silent,
    cancel: CancelToken | None = None,
) -> list[Proposal]:
    """Add the lesions of an earlier scan to a session, as one step that undo takes back.

    The network is asked at the deepest point of where each lesion should be, and outlines it there;
    if it outlines something else, the earlier outline stands in. Lesions that the session has
    already, and those outside the scan, are left out. A search replaces findings that nobody has
    decided on: decide on these before, or search first.
    """
    moved = registration.labels_on_later(
        Volume(earlier.labels, earlier.scan.ijk_to_ras), session.volume
    )
    stack = session.stack.from_volume(moved)
    known = np.zeros(stack.shape, dtype=bool)
    for lesion in session.lesions:
        lesion.mask.paint(known, True)
    expected = {
        value: fresh
        for value in earlier.lesions
        if (fresh := _not_known(Mask.from_stack(stack == value), known))
    }
    if not expected:
        return []
    spacing = session.stack.pixel_spacing

    def run() -> list[Mask]:
        masks = list(expected.values())
        return redrawn(session.editor, masks, known, 1, spacing, progress, cancel)

    outlined = _shared_out(session.guard.run(run), expected)
    state, proposals = session.state, []
    for value, mask in outlined.items():
        name = earlier.names.get(value) or f"Lesion {value} before"
        finding = Lesion(state.next_id, Status.FOUND, mask, name, uid=earlier.uid(value))
        proposals.append(Proposal(finding.id, value, finding.uid))
        state = state.with_lesions(finding)
    if proposals:
        session.history.commit("propose lesions", state)
    return proposals


def _not_known(mask: Mask, known: np.ndarray) -> Mask | None:
    """Return what of a mask is no known lesion, or None if most of it is one."""
    if not mask or mask.read(known).mean() >= MOSTLY:
        return None
    return mask.without(known)


def _shared_out(outlined: Sequence[Mask], expected: dict[int, Mask]) -> dict[int, Mask]:
    """Return the outline of each earlier lesion: the one that it shares most voxels with.

    Where the network outlined next to nothing of it, or far more, what is expected stands in,
    unless most of that is in other lesions' outlines.
    """
    found: dict[int, Mask] = {}
    for mask in outlined:
        likeness = {value: iou(mask, where) for value, where in expected.items()}
        value = max(likeness, key=lambda n: (n not in found, likeness[n], -n))
        if value not in found and likeness[value] >= _LEAST_LIKE:
            found[value] = mask
    for value, where in expected.items():
        if value in found:
            continue
        rest = where
        for mask in found.values():
            rest = rest.minus(mask)
        if rest.voxels >= MOSTLY * where.voxels:
            found[value] = rest
    return dict(sorted(found.items()))

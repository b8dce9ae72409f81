"""Exemplars from lesions that were outlined elsewhere: in a file, or in an earlier scan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mois_core.errors import BadInput
from mois_core.geometry import Volume
from mois_core.session.exemplars import Exemplar, exemplar_view
from mois_core.session.masks import Mask

if TYPE_CHECKING:
    from mois_core.session import Session


def exemplars_from_labels(
    session: Session, labels: np.ndarray, volume: Volume | None, first: int, clock: int
) -> tuple[Exemplar, ...]:
    """One exemplar for each label value, from the slice on which it is largest.

    The lesions are numbered downwards from ``first``, apart from the session's own. A lesion of
    another scan is placed on the slice of this scan that lies nearest to it in the patient.
    """
    source = session if volume is None else _beside(session, volume)
    if labels.shape != source.volume.array.shape:
        raise BadInput(
            f"the outlined lesions have {labels.shape} voxels and the scan has "
            f"{source.volume.array.shape}; they must be on the same grid"
        )
    stack = source.stack.from_volume(labels)
    imported = []
    for value in np.unique(labels[labels > 0]):
        mask = Mask.from_stack(stack == value)
        number, plane = max(mask, key=lambda item: (int(item[1].pixels.sum()), -item[0]))
        slice_memory = source.tracker.painted(number, mask.image(number))
        row, column = np.argwhere(plane.pixels)[0] + (plane.row, plane.column)
        ras = source.stack.point_to_ras(number, column, row)
        place = float(session.stack.point_from_ras(ras)[0])
        nearest = int(np.clip(round(place), 0, session.stack.count - 1))
        view = exemplar_view(nearest, slice_memory, is_prompted=True)
        if view is not None:
            imported.append(Exemplar(first - len(imported), view, clock))
    if not imported:
        raise BadInput("there is no outlined lesion to take as an exemplar")
    return tuple(imported)


def _beside(session: Session, volume: Volume) -> Session:
    """A session of the same kind on another scan."""
    return type(session)(session.model, volume, session.settings, session.reference)

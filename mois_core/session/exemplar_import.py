"""Exemplars from lesions that were outlined elsewhere: in a file, or in an earlier scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from mois_core.errors import BadInput
from mois_core.geometry import SliceStack
from mois_core.session.exemplars import Exemplar, exemplar_view
from mois_core.session.lesion import SliceMemory
from mois_core.session.masks import Mask, Plane
from mois_core.session.slice_decoder import SliceDecoder


@dataclass(frozen=True, eq=False)
class OutlinedScan:
    """A scan on which lesions are outlined, ready for the network."""

    stack: SliceStack
    decoder: SliceDecoder


def exemplars_from_labels(
    labels: np.ndarray, source: OutlinedScan, target: SliceStack, first_id: int, clock: int
) -> tuple[Exemplar, ...]:
    """Make one exemplar of each label value, from the slice on which it is largest.

    The exemplars are numbered downwards from ``first_id``, apart from a session's own lesions. A
    lesion of another scan is placed on the slice of ``target`` that is nearest in the patient.
    """
    shape = source.stack.volume.array.shape
    if labels.shape != shape:
        raise BadInput(
            f"the outlined lesions have {labels.shape} voxels and the scan has {shape}; "
            "they must be on the same grid"
        )
    stack = source.stack.from_volume(labels if labels.dtype.kind in "iu" else labels.astype(int))
    largest: list[tuple[int, Plane]] = []
    for value, box in enumerate(ndimage.find_objects(stack), start=1):
        if box is None:
            continue
        areas = np.count_nonzero(stack[box] == value, axis=(1, 2))
        slice_index = box[0].start + int(areas.argmax())
        plane = Plane.crop(stack[slice_index] == value)
        assert plane is not None
        largest.append((slice_index, plane))
    imported: list[Exemplar] = []
    for (slice_index, plane), memory in zip(largest, _memories(largest, source), strict=True):
        row, column = np.argwhere(plane.pixels)[0] + (plane.row, plane.column)
        ras = source.stack.point_to_ras(slice_index, column, row)
        nearest = np.clip(round(float(target.point_from_ras(ras)[0])), 0, target.count - 1)
        view = exemplar_view(int(nearest), memory, is_prompted=True)
        if view is not None:
            imported.append(Exemplar(first_id - len(imported), view, clock))
    if not imported:
        raise BadInput("there is no outlined lesion to take as an exemplar")
    return tuple(imported)


def _memories(places: Sequence[tuple[int, Plane]], source: OutlinedScan) -> list[SliceMemory]:
    """Return what the network remembers of outlines, each on one slice."""
    memories: dict[int, SliceMemory] = {}
    with source.decoder.embeddings.visiting(dict.fromkeys(n for n, _ in places)) as order:
        rank = {slice_index: index for index, slice_index in enumerate(order)}
        for index in sorted(range(len(places)), key=lambda index: rank[places[index][0]]):
            slice_index, plane = places[index]
            mask = Mask(source.stack.shape, {slice_index: plane})
            memories[index] = source.decoder.remember_mask(slice_index, mask.image(slice_index))
    return [memories[index] for index in range(len(places))]

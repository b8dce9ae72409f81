"""Lesions as DICOM knows them: numbered from 1, tracked by UID, on the voxels of the scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mois_core.geometry import SliceStack
from mois_core.io.dicom_source import DicomSource
from mois_core.results.body_regions import BodyRegion, imaged_region, lesion_regions
from mois_core.results.colours import Colour, lesion_colour
from mois_core.results.dicom_equipment import NAME
from mois_core.results.lesion_report import LesionRow, measure_lesions, without_overlaps
from mois_core.results.lesion_uids import lesion_uid
from mois_core.session.lesion import Lesion

_LONGEST_LABEL = 64


@dataclass(frozen=True, eq=False)
class DicomLesion:
    """One lesion with everything that DICOM files say of it."""

    lesion: Lesion
    """With the voxels that a label map gives it."""
    row: LesionRow
    colour: Colour
    tracking_uid: str
    """The same in all files, and each time that results of this scan are written."""
    region: BodyRegion

    @property
    def label(self) -> str:
        """The lesion's name, as far as DICOM has room for it."""
        name = "".join(c if c.isprintable() and c != "\\" else " " for c in self.lesion.name)
        return " ".join(name.split())[:_LONGEST_LABEL] or f"Lesion {self.lesion.id}"

    @property
    def tracking_id(self) -> str:
        """The lesion's number; its name may change."""
        return f"{NAME} lesion {self.lesion.id}"


def dicom_lesions(
    source: DicomSource, stack: SliceStack, lesions: Sequence[Lesion], colours: Mapping[int, Colour]
) -> list[DicomLesion]:
    """Return the lesions that count and have voxels, as the lesion report measures them.

    ``colours`` are those of lesions (by id) that came with colours of their own.
    """
    own = without_overlaps(stack, lesions)
    regions = lesion_regions(stack, own, imaged_region(*source.body_part))
    return [
        DicomLesion(
            lesion,
            row,
            colours.get(lesion.id) or lesion_colour(lesion.id),
            lesion_uid(stack.volume, lesion),
            regions[lesion.id],
        )
        for lesion, row in zip(own, measure_lesions(stack, lesions), strict=True)
        if lesion.status.counts and row.voxels
    ]


def numbered_voxels(stack: SliceStack, lesions: Sequence[DicomLesion]) -> np.ndarray:
    """Return an array in the scan's own order [k, j, i]: 1 for the first lesion, and so on."""
    numbers = np.zeros(stack.array.shape, dtype=np.uint16)
    for number, lesion in enumerate(lesions, start=1):
        lesion.lesion.mask.paint(numbers, number)
    return stack.to_volume(numbers)

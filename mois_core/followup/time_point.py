"""One scan of a course with its lesions, and what is measured of them on its own voxels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property

import numpy as np
from scipy import ndimage

from mois_core.geometry import SliceStack, Volume
from mois_core.results.body_regions import BodyRegion, lesion_regions
from mois_core.results.lesion_report import LesionRow, measure_lesions
from mois_core.results.lesion_uids import numbered_uid
from mois_core.session.lesion import Lesion, Status
from mois_core.session.masks import Mask, Plane


@dataclass(frozen=True, eq=False)
class TimePoint:
    """A scan and its lesions."""

    scan: Volume
    labels: np.ndarray
    """Label values in the scan's own order [k, j, i]."""
    day: date | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    stored_uids: Mapping[int, str] = field(default_factory=dict)
    """What lesions were known by before, by label value."""
    imaged: BodyRegion = BodyRegion.UNKNOWN
    """What a scan of one part of the body shows, if its headers tell."""

    @cached_property
    def lesions(self) -> dict[int, Lesion]:
        """The lesions by label value, with masks on the coronal stack."""
        stack = SliceStack(self.scan)
        labels = stack.from_volume(self.labels)
        lesions = {}
        for value, box in enumerate(ndimage.find_objects(labels), start=1):
            if box is None:
                continue
            planes = {}
            for n, image in enumerate(labels[box] == value, start=box[0].start):
                plane = Plane.crop(image)
                if plane is not None:
                    row, column = plane.row + box[1].start, plane.column + box[2].start
                    planes[n] = Plane(row, column, plane.pixels)
            lesions[value] = Lesion(value, Status.PROMPTED, Mask(stack.shape, planes))
        return lesions

    @cached_property
    def rows(self) -> dict[int, LesionRow]:
        """What a radiologist would measure of each lesion, by label value."""
        lesions = list(self.lesions.values())
        return {row.lesion: row for row in measure_lesions(SliceStack(self.scan), lesions)}

    @cached_property
    def regions(self) -> dict[int, BodyRegion]:
        """The part of the body that each lesion lies in, by label value."""
        return lesion_regions(SliceStack(self.scan), list(self.lesions.values()), self.imaged)

    @property
    def burden_cm3(self) -> float:
        """Volume of all lesions."""
        return sum(row.volume_cm3 for row in self.rows.values())

    def uid(self, value: int) -> str:
        """Return what a lesion is known by: as stored, or as every file has it without that."""
        return self.stored_uids.get(value) or numbered_uid(self.scan, value)

"""Lesions as DICOM segmentations (SEG), on the slices that they were outlined on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from mois_core.geometry import Box
from mois_core.io.dicom_source import SourceStation
from mois_core.network.model_info import ModelInfo
from mois_core.results.dicom_equipment import algorithm, algorithm_type, equipment, new_uid
from mois_core.results.dicom_lesions import DicomLesion
from mois_core.session.lesion import Lesion, Status

if TYPE_CHECKING:
    import highdicom
    from pydicom.dataset import Dataset

SERIES_NUMBER = 9100
"""Far above what scanners count to; stations follow one another from here."""
_UTF_8 = "ISO_IR 192"
_CONTENT_LABEL = "LESIONS"
_HOW = {
    Status.PROMPTED: "Outlined from a reader's clicks",
    Status.FOUND: "Found by the search, not reviewed",
    Status.ACCEPTED: "Found by the search, accepted by a reader",
}
_GIVEN = "Outlined before, taken over as it was"
_DRAWN = "Drawn by a reader"


@dataclass(frozen=True, eq=False)
class StationSegmentation:
    """The segmentation of one station, and which lesion is which of its segments."""

    station: SourceStation
    dataset: highdicom.seg.Segmentation
    segment_numbers: dict[int, int]
    """By the id of the lesion."""
    slices: np.ndarray
    """Segment numbers on the slices of the station."""

    @cached_property
    def _boxes(self) -> list[Box]:
        """The box that each segment lies in, so that not all of the scan is searched for it."""
        return ndimage.find_objects(self.slices)

    def voxels_on(self, lesion_id: int) -> dict[int, int]:
        """Return the slices of the station that a lesion lies on, from 0, each with its voxels."""
        number = self.segment_numbers.get(lesion_id)
        if number is None:
            return {}
        box = self._boxes[number - 1]
        counts = np.count_nonzero(self.slices[box] == number, axis=(1, 2)).tolist()
        return {n: count for n, count in enumerate(counts, start=box[0].start) if count}


def segment_station(
    station: SourceStation,
    numbers: np.ndarray,
    lesions: Sequence[DicomLesion],
    model: ModelInfo,
    series_number: int = SERIES_NUMBER,
    part: str = "",
) -> StationSegmentation | None:
    """Return the segmentation of one station; None if no lesion lies in it.

    ``numbers`` say on the scan's voxels which of the lesions each belongs to, from 1; ``part``
    tells in the description which station it is.
    """
    import highdicom

    slices = station.on_slices(numbers)
    present = np.unique(slices)
    present = present[present > 0]
    if not present.size:
        return None
    # Segments have to be numbered without gaps; lesions may lie in other stations altogether.
    segment_of = np.zeros(len(lesions) + 1, dtype=np.uint16)
    segment_of[present] = np.arange(1, len(present) + 1)
    slices = segment_of[slices]
    here = [lesions[number - 1] for number in present.tolist()]
    dataset = highdicom.seg.Segmentation(
        source_images=station.headers,
        pixel_array=slices,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _description(number, lesion, model) for number, lesion in enumerate(here, start=1)
        ],
        series_instance_uid=new_uid(),
        series_number=series_number,
        sop_instance_uid=new_uid(),
        instance_number=1,
        series_description=f"Lesions{part}, segmentation",
        content_label=_CONTENT_LABEL,
        content_description="Lesions outlined by MOISSAM2",
        **equipment(model),
    )
    set_letters(dataset, lesions)
    # It has to be there, and it was a program.
    dataset.ContentCreatorName = ""
    if station.frame_numbers is not None:
        _refer_to_frames(dataset, station.frame_numbers)
    segments = {lesion.lesion.id: number for number, lesion in enumerate(here, start=1)}
    return StationSegmentation(station, dataset, segments, slices)


def _refer_to_frames(dataset: highdicom.seg.Segmentation, frame_numbers: Sequence[int]) -> None:
    """Say which frames of the file are meant, where slices of the station were counted."""
    # highdicom has frames of several segments share an item.
    images = {
        id(image): image
        for groups in dataset.PerFrameFunctionalGroupsSequence
        for derivation in groups.DerivationImageSequence
        for image in derivation.SourceImageSequence
    }
    for image in images.values():
        image.ReferencedFrameNumber = frame_numbers[image.ReferencedFrameNumber - 1]


def set_letters(dataset: Dataset, lesions: Sequence[DicomLesion]) -> None:
    """Have a file hold the letters that names of lesions need, if the source's do not do.

    highdicom takes an argument for that from 0.28 on; Slicer 5.12 brings 0.27.
    """
    if not all(lesion.label.isascii() for lesion in lesions):
        dataset.SpecificCharacterSet = _UTF_8


def _description(
    number: int, lesion: DicomLesion, model: ModelInfo
) -> highdicom.seg.SegmentDescription:
    import highdicom
    from pydicom.sr.codedict import codes

    description = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=lesion.label,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Neurofibroma,
        algorithm_type=algorithm_type(lesion.lesion),
        algorithm_identification=None if lesion.lesion.is_drawn else algorithm(model),
        tracking_uid=lesion.tracking_uid,
        tracking_id=lesion.tracking_id,
        display_color=highdicom.color.CIELabColor.from_rgb(
            *(round(part * 255) for part in lesion.colour)
        ),
    )
    description.SegmentDescription = _how(lesion.lesion)
    return description


def _how(lesion: Lesion) -> str:
    """Return in words how a lesion came about."""
    if lesion.is_as_given:
        return _GIVEN
    return _DRAWN if lesion.is_drawn else _HOW[lesion.status]

"""The files that bring a result to where its scan came from, the archive of a hospital (PACS)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from mois_core.errors import BadInput, Cancelled
from mois_core.geometry import SliceStack
from mois_core.io.dicom_source import DicomSource, private_headers
from mois_core.network.model_info import ModelInfo
from mois_core.progress import CancelToken, Progress, silent
from mois_core.results.colours import Colour
from mois_core.results.dicom_lesions import DicomLesion, dicom_lesions, numbered_voxels
from mois_core.results.dicom_pictures import secondary_captures, slices_with_lesions
from mois_core.results.dicom_report import structured_report
from mois_core.results.dicom_segmentation import (
    SERIES_NUMBER,
    StationSegmentation,
    segment_station,
)
from mois_core.session.lesion import Lesion, Status
from mois_core.session.masks import Mask

REPORT_NAME = "measurements.dcm"
PICTURES_NAME = "outlines"

_MEASURING, _WRITING = "measuring lesions", "writing DICOM"


@dataclass(frozen=True)
class WrittenDicom:
    """How many files of each kind there are."""

    segmentations: int
    pictures: int


def write_dicom_files(
    folder: Path,
    source: DicomSource,
    stack: SliceStack,
    lesions: Sequence[Lesion],
    model: ModelInfo,
    colours: Mapping[int, Colour] = MappingProxyType({}),
    progress: Progress = silent,
    cancel: CancelToken | None = None,
) -> WrittenDicom:
    """Write segmentation, measurements and pictures of the lesions that count into a folder.

    ``stack`` is the scan as it was read from ``source``, and the folder is there and empty. One
    segmentation is written for each station of the scan, since a segmentation belongs to a series
    in the place of which it is shown; the measurements are those of the whole scan. Scans without
    a lesion leave the folder empty: a segmentation has at least one segment.
    """
    cancel = cancel or CancelToken()
    with _reported():
        progress(0, 1, _MEASURING)
        found = dicom_lesions(source, stack, lesions, colours)
        if not found:
            return WrittenDicom(0, 0)
        slices = slices_with_lesions(found)
        # Measuring, each station and the report are a part each, and so is each picture.
        parts = 2 + len(source.stations) + len(slices)

        def go_on(done: int) -> None:
            cancel.check()
            progress(done, parts, _WRITING)

        segmentations = []
        for n, segmentation in enumerate(_segmentations(source, stack, found, model)):
            go_on(1 + n)
            if segmentation is not None:
                segmentations.append(segmentation)
                name = "segmentation" if len(source.stations) == 1 else f"segmentation-{n + 1}"
                segmentation.dataset.save_as(folder / f"{name}.dcm", enforce_file_format=True)
        go_on(1 + len(source.stations))
        report = structured_report(source, found, segmentations, model)
        report.save_as(folder / REPORT_NAME, enforce_file_format=True)
        pictures = folder / PICTURES_NAME
        pictures.mkdir()
        images = secondary_captures(source, stack, found, model)
        for done, (slice_index, image) in enumerate(images, start=parts - len(slices)):
            go_on(done)
            image.save_as(pictures / f"slice-{slice_index + 1:04}.dcm", enforce_file_format=True)
        progress(parts, parts, _WRITING)
    return WrittenDicom(len(segmentations), len(slices))


def check_writable(source: DicomSource, stack: SliceStack, model: ModelInfo) -> None:
    """Refuse a source whose headers cannot be taken over, before hours of work.

    Only an attempt tells: archives hold everything that scanners and programs ever wrote.
    """
    middle = np.zeros(stack.array.shape, dtype=bool)
    middle[tuple(size // 2 for size in stack.array.shape)] = True
    lesion = Lesion(1, Status.FOUND, Mask.from_stack(middle))
    with _reported():
        found = dicom_lesions(source, stack, [lesion], {})
        numbers = np.ones(stack.volume.array.shape, dtype=np.uint16)
        for station in source.stations:
            segmentation = segment_station(station, numbers, found, model)
            structured_report(source, found, [segmentation], model)
        next(secondary_captures(source, stack, found, model))


def _segmentations(
    source: DicomSource, stack: SliceStack, lesions: Sequence[DicomLesion], model: ModelInfo
) -> Iterator[StationSegmentation | None]:
    """Yield the segmentation of each station; None where no lesion lies in it."""
    numbers = numbered_voxels(stack, lesions)
    count = len(source.stations)
    for n, station in enumerate(source.stations):
        part = f", station {n + 1} of {count}" if count > 1 else ""
        how = (numbers, lesions, model, SERIES_NUMBER + n, part)
        yield segment_station(station, *how)


@contextmanager
def _reported() -> Iterator[None]:
    """Say that headers do not fit without what is in them: libraries quote it in their errors."""
    try:
        with private_headers():
            yield
    except (BadInput, Cancelled, OSError, MemoryError):
        raise
    except Exception as error:
        raise BadInput(
            "the scan's DICOM headers do not follow the standard, so DICOM results cannot be made "
            f"from them ({type(error).__name__}); export the scan anew from the archive, or leave "
            "out the DICOM results"
        ) from None

"""The headers of a DICOM scan, for results that go back to where the scan came from.

Reading a scan leaves out whatever names the patient. Results for an archive (PACS) have to carry
it, or they would be filed with nobody. So the headers are read here, apart from the scan, and only
if such results are asked for; nothing of them is shown, logged or kept with a session.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mois_core.errors import BadInput
from mois_core.geometry import Box, Volume, same_grid, turned_like
from mois_core.io.compose_stations import StationPlan
from mois_core.io.dicom import Station, find_stations, stations_of_files
from mois_core.io.scan import is_dicom_scan

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_NEEDED = {
    "StudyInstanceUID": "study",
    "SeriesInstanceUID": "series",
    "SOPInstanceUID": "image",
    "FrameOfReferenceUID": "frame of reference",
}
"""What results refer to, and what messages call it."""
_IDENTITY = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate")
# Elements that every image has to hold, if only empty. Programs that take names out remove some.
_OFTEN_REMOVED = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate"),
    *("StudyTime", "AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator"),
)
_SEXES = ("M", "F", "O")
_LOGGERS = ("pydicom", "highdicom")


@dataclass(frozen=True, eq=False)
class SourceStation:
    """One stack of slices of the source, and the part of the scan that came from it."""

    headers: tuple[Dataset, ...]
    """One for each slice in its order, or that of a multi-frame file, with these slices only."""
    frame_numbers: tuple[int, ...] | None
    """Each slice's number in the multi-frame file, from 1; None if each has a file of its own."""
    box: Box
    """Where its voxels are in the scan's array [k, j, i]."""

    @property
    def header(self) -> Dataset:
        """Return a header with all that is the same for the whole station."""
        return self.headers[0]

    def on_slices(self, labels: np.ndarray) -> np.ndarray:
        """Return labels on the scan's voxels [k, j, i] on the slices of the station.

        Stations lie at most half a voxel beside the voxels of a composed scan, so the label of
        the nearest voxel is that at the same place of the box.
        """
        return labels[self.box]


@dataclass(frozen=True, eq=False)
class DicomSource:
    """What a scan was read from."""

    stations: tuple[SourceStation, ...]
    """From the head down; one, unless the scan was composed."""

    @property
    def header(self) -> Dataset:
        """Return a header with what is the same for all of the scan: patient and study."""
        return self.stations[0].header

    @property
    def body_part(self) -> tuple[str, str]:
        """Return Body Part Examined and Laterality; empty where stations differ."""
        told = []
        for keywords in (("BodyPartExamined",), ("Laterality", "ImageLaterality")):
            own = {
                next((text for word in keywords if (text := str(s.header.get(word) or ""))), "")
                for s in self.stations
            }
            told.append(own.pop() if len(own) == 1 else "")
        return told[0], told[1]


def read_dicom_source(
    path: str | os.PathLike,
    scan: Volume,
    series: str | Sequence[str] | None = None,
    compose: bool = False,
) -> DicomSource:
    """Return what `read_scan`, called with the same arguments, read a scan from.

    Whatever results could not refer to is refused in words: other formats, files without UIDs or
    positions, and series in which files of several patients or studies are mixed.
    """
    path = Path(path)
    if not is_dicom_scan(path):
        raise BadInput(
            f"{path} is no DICOM scan, so there is no patient, study or series that DICOM results "
            "could belong to; give the scan as DICOM."
        )
    wanted = [series] if isinstance(series, str) else list(series or ())
    stations, plan = find_stations(path, wanted, compose)
    if not same_grid(_grid(stations, plan), scan):
        raise BadInput(f"{path} has changed since the scan was read; begin again.")
    return _source(stations, plan, str(path))


def source_of_files(
    files: Sequence[str | os.PathLike], scan: Volume, what: str
) -> tuple[DicomSource, Volume]:
    """Return what another program read a scan from, and the scan in the order of these files.

    ``what`` is what messages call the files, whose paths are not shown. Refused as well are scans
    that lie elsewhere than their images, as after a transform was hardened, and multi-frame files
    whose frames are in disorder, since programs differ in what they make of these.
    """
    stations, plan = stations_of_files([Path(file) for file in files], what)
    turned = turned_like(scan, _grid(stations, plan))
    if turned is None:
        raise BadInput(
            f"{what} do not lie where the scan does: it was moved, cropped or resampled since, or "
            "it was made of other images. Load the series again and work on it as it is."
        )
    source = _source(stations, plan, what)
    for station in source.stations:
        if station.frame_numbers is not None:
            steps = np.diff(station.frame_numbers)
            if not (np.all(steps > 0) or np.all(steps < 0)):
                raise BadInput(
                    f"{what} are in one file whose frames are not in the order of their places, "
                    "which programs read in different ways; export one file for each slice."
                )
    return source, turned


def _grid(stations: Sequence[Station], plan: StationPlan | None) -> Volume:
    """Return the grid of the scan that stations make, without its voxels."""
    if plan is None:
        return stations[0].stack.grid
    return Volume(np.broadcast_to(np.int8(0), plan.shape), plan.ijk_to_ras)


def _source(stations: Sequence[Station], plan: StationPlan | None, what: str) -> DicomSource:
    if plan is None:
        boxes = [tuple(slice(0, size) for size in stations[0].stack.grid.array.shape)]
    else:
        stations = [stations[n] for n in plan.order]
        boxes = [plan.boxes[n] for n in plan.order]
    with private_headers():
        source = DicomSource(tuple(map(_source_station, stations, boxes)))
        _check_identity(source, what)
    return source


@contextmanager
def private_headers() -> Iterator[None]:
    """Keep libraries from warning and logging in a block: they would quote what is in headers."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _source_station(station: Station, box: Box) -> SourceStation:
    frames = station.stack.frames
    files = list(dict.fromkeys(frame.file for frame in frames))
    headers = [_read_header(file, station.what) for file in files]
    is_classic = all(frame.is_classic for frame in frames)
    if not is_classic and len(files) > 1:
        raise BadInput(
            f"{station.what} spreads its slices over {len(files)} multi-frame files, and DICOM "
            "results can refer to one; leave out the DICOM results, or export it as one file or as "
            "a file for each slice."
        )
    for keyword, what in _NEEDED.items():
        values = {str(header.get(keyword) or "") for header in headers}
        if "" in values:
            raise BadInput(
                f"{station.what} does not say which {what} it is ({keyword}), so DICOM results "
                "cannot refer to it; export it anew from the archive."
            )
        if len(values) > 1 and keyword != "SOPInstanceUID":
            raise BadInput(
                f"{station.what} mixes files of more than one {what}; DICOM results belong to one. "
                "Export the series anew from the archive."
            )
    if is_classic:
        _make_classic_alike(headers, station)
        return SourceStation(tuple(headers), None, box)
    _keep_frames(headers[0], station)
    return SourceStation(tuple(headers), tuple(frame.index + 1 for frame in frames), box)


def _read_header(file: str, what: str) -> Dataset:
    """Read everything but the pixels, with what every image has to hold put in if it is missing."""
    import pydicom

    try:
        header = pydicom.dcmread(file, stop_before_pixels=True)
        # Elements are decoded when they are first looked at; a damaged one has to be found here.
        for keyword in (*_NEEDED, *_IDENTITY, *_OFTEN_REMOVED):
            header.get(keyword)
    except Exception as error:
        raise BadInput(f"{what} has damaged headers; export it again.") from error
    for keyword in _OFTEN_REMOVED:
        if keyword not in header:
            setattr(header, keyword, "")
    if header.PatientSex not in _SEXES:
        header.PatientSex = ""
    return header


def _make_classic_alike(headers: Sequence[Dataset], station: Station) -> None:
    """Let all slices say the same of their directions and sizes, which are rounded in files.

    The distance of slices comes from their positions and not from what the scanner says.
    """
    first = headers[0]
    for header in headers:
        if "ImagePositionPatient" not in header:
            raise BadInput(
                f"{station.what} does not say where its slices lie, so DICOM results cannot be put "
                "there; export it anew from the archive."
            )
        header.ImageOrientationPatient = first.ImageOrientationPatient
        header.PixelSpacing = first.PixelSpacing
        header.SliceThickness = first.get("SliceThickness") or _slice_distance(station)
        header.pop("SpacingBetweenSlices", None)


def _keep_frames(header: Dataset, station: Station) -> None:
    """Leave a multi-frame header with the station's frames: others may lie at the same places.

    Directions and sizes are moved to what all frames share; some scanners repeat them in each.
    """
    groups = header.PerFrameFunctionalGroupsSequence
    header.PerFrameFunctionalGroupsSequence = [groups[f.index] for f in station.stack.frames]
    header.NumberOfFrames = len(station.stack.frames)
    own = header.PerFrameFunctionalGroupsSequence[0]
    if not header.get("SharedFunctionalGroupsSequence"):
        header.SharedFunctionalGroupsSequence = [type(own)()]
    shared = header.SharedFunctionalGroupsSequence[0]
    for keyword in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        if keyword in own:
            setattr(shared, keyword, getattr(own, keyword))
    measures = shared.PixelMeasuresSequence[0]
    measures.SliceThickness = measures.get("SliceThickness") or _slice_distance(station)
    measures.pop("SpacingBetweenSlices", None)


def _slice_distance(station: Station) -> str:
    return f"{np.linalg.norm(station.stack.ijk_to_ras[:3, 2]):.6g}"


def _check_identity(source: DicomSource, what: str) -> None:
    """Refuse files of several patients or studies, without a word on who they are."""
    headers = [header for station in source.stations for header in station.headers]
    for keyword in _IDENTITY:
        if len({str(header.get(keyword) or "") for header in headers}) > 1:
            raise BadInput(
                f"{what} mixes files of more than one patient ({keyword} differs within the scan), "
                "so DICOM results would be filed with the wrong one; export the series anew from "
                "the archive."
            )

"""Read one series out of a DICOM folder, if its slices make an even volume.

ITK stacks whatever it is given and takes the mean distance for all: with a slice missing, every
position and every volume in cm3 would be wrong without a word. Such series are refused. Nothing
that names the patient is read or shown.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK

from mois_core.errors import BadInput
from mois_core.io.images import quiet

_DESCRIPTION = "0008|103e"
_POSITION = "0020|0032"
_ORIENTATION = "0020|0037"

# A slice may lie this part of a slice distance off its place; scanners round positions.
_OFF_PLACE = 0.1
_SAME_POSITION_MM = 0.01
_SAME_ORIENTATION = 1e-3


@dataclass(frozen=True)
class Series:
    """A series with what a user needs to choose it, and its files in no order."""

    uid: str
    description: str
    files: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.uid} ({self.description or 'no description'}, {len(self.files)} files)"


def read_dicom_folder(folder: Path, uid: str | None) -> SimpleITK.Image:
    """Read the series with a UID, or the only one there is."""
    series = _choose(find_series(folder), uid, folder)
    try:
        with quiet():
            if len(series.files) == 1:
                return SimpleITK.ReadImage(series.files[0])
            return SimpleITK.ReadImage(_stacking_order(series, folder))
    except RuntimeError as error:
        raise BadInput(
            f"Series {series} in {folder} is damaged, incomplete or compressed in a way that "
            "cannot be read; export it again."
        ) from error


def find_series(folder: Path) -> list[Series]:
    """Return every series of images in a folder and the folders below it."""
    files = defaultdict(list)
    found = []
    with quiet():
        for below, folders, all_names in os.walk(folder):
            folders.sort()
            unlisted = set(all_names) - {"DICOMDIR"}
            for uid in SimpleITK.ImageSeriesReader.GetGDCMSeriesIDs(below):
                listed = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(below, uid)
                files[uid] += listed
                unlisted -= {os.path.basename(file) for file in listed}
            if any(_claims_to_be_dicom(os.path.join(below, name)) for name in unlisted):
                raise BadInput(
                    f"{folder} holds a DICOM file that is damaged or incomplete; copy or export "
                    "the folder again."
                )
        for uid, names in sorted(files.items()):
            try:
                header = _read_header(names[0])
            except RuntimeError:  # reports, plans and other objects without an image
                continue
            found.append(Series(uid, _description(header), tuple(names)))
    return found


def _claims_to_be_dicom(file: str) -> bool:
    """Return whether a file begins as DICOM files do.

    Such a file outside every series is one that the series reader gave up on in silence.
    """
    try:
        with open(file, "rb") as opened:
            return opened.read(132)[128:] == b"DICM"
    except OSError:  # a dead link, a file of somebody else's
        return False


def _read_header(file: str) -> SimpleITK.ImageFileReader:
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(file)
    reader.ReadImageInformation()
    return reader


def _description(header: SimpleITK.ImageFileReader) -> str:
    if not header.HasMetaDataKey(_DESCRIPTION):
        return ""
    printable = "".join(c if c.isprintable() else " " for c in header.GetMetaData(_DESCRIPTION))
    return " ".join(printable.split())


def _choose(found: list[Series], uid: str | None, folder: Path) -> Series:
    if not found:
        raise BadInput(f"{folder} holds no DICOM images; give a scan's file or its DICOM folder.")
    listed = "; ".join(str(series) for series in found)
    if uid is not None:
        for series in found:
            if series.uid == uid:
                return series
        raise BadInput(f"{folder} holds no series {uid}; it holds: {listed}.")
    if len(found) > 1:
        raise BadInput(
            f"{folder} holds {len(found)} series; choose one with --series UID: {listed}."
        )
    return found[0]


def _stacking_order(series: Series, folder: Path) -> list[str]:
    """Return the files along their common normal; refuse them unless they make an even volume."""
    what = f"Series {series} in {folder}"
    headers = [_read_header(file) for file in series.files]
    if not all(h.HasMetaDataKey(_POSITION) and h.HasMetaDataKey(_ORIENTATION) for h in headers):
        raise BadInput(f"{what} does not say where its slices lie; export it as a volume.")
    if len({header.GetSize() for header in headers}) > 1:
        raise BadInput(f"{what} mixes images of different sizes; choose or export another series.")
    positions = np.array([_numbers(header, _POSITION, 3, what) for header in headers])
    orientations = np.array([_numbers(header, _ORIENTATION, 6, what) for header in headers])
    if np.abs(orientations - orientations[0]).max() > _SAME_ORIENTATION:
        raise BadInput(
            f"{what} mixes images of different directions, as localizers do; choose another series."
        )
    normal = np.cross(orientations[0, :3], orientations[0, 3:])
    order = np.argsort(positions @ normal, kind="stable")
    _check_even(positions[order], normal, what)
    return [series.files[n] for n in order]


def _numbers(header: SimpleITK.ImageFileReader, tag: str, count: int, what: str) -> list[float]:
    try:
        numbers = [float(text) for text in header.GetMetaData(tag).split("\\")]
    except ValueError:
        numbers = []
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise BadInput(f"{what} gives its slices' positions in a way that cannot be read.")
    return numbers


def _check_even(positions: np.ndarray, normal: np.ndarray, what: str) -> None:
    heights = positions @ normal
    gaps = np.diff(heights)
    if gaps.min() < _SAME_POSITION_MM:
        raise BadInput(
            f"{what} has several images at one position (echoes, time points or contrasts); "
            "export one of them as its own series."
        )
    usual = float(np.median(gaps))
    even = np.linspace(heights[0], heights[-1], len(heights))
    if np.abs(heights - even).max() > _OFF_PLACE * usual:
        raise BadInput(
            f"{what} has slices missing or unevenly spaced: usually {usual:.2f} mm apart, once "
            f"{gaps[np.abs(gaps - usual).argmax()]:.2f} mm; export it completely."
        )
    sideways = positions - positions[0] - np.outer(heights - heights[0], normal)
    if np.linalg.norm(sideways, axis=1).max() > _OFF_PLACE * usual:
        raise BadInput(
            f"{what} was acquired with tilted slices that are not stacked straight; resample it to "
            "a regular grid first."
        )

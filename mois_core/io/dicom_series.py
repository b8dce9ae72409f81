"""Find the series of DICOM files. Nothing that names the patient is read or shown."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path

import SimpleITK

from mois_core.errors import BadInput
from mois_core.io.dicom_elements import UnreadableElements, is_dicom, read_elements
from mois_core.io.dicom_frames import read_header
from mois_core.io.images import quiet

_DESCRIPTION, _SERIES, _STUDY = "0008|103e", "0020|000e", "0020|000d"
_FRAME_OF_REFERENCE = "0020|0052"
_STUDY_DATE = "0008|0020"
_BODY_PART, _LATERALITY, _IMAGE_LATERALITY = "0018|0015", "0020|0060", "0020|0062"
_ROWS = 0x0028_0010

PART_SIGN = "#"
"""Between a series' UID and the number of one of its scans, as in ``1.2.840.99#2``."""


@dataclass(frozen=True)
class Series:
    """A series with what a user needs to choose it, and its files in no order."""

    uid: str
    description: str
    files: tuple[str, ...]
    study: str = ""
    frame_of_reference: str = ""
    """Positions of series can be compared if this is the same."""

    def __str__(self) -> str:
        files = "1 file" if len(self.files) == 1 else f"{len(self.files)} files"
        return f"{self.uid} ({self.description or 'no description'}, {files})"


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
            if any(_is_damaged(Path(below, name)) for name in unlisted):
                raise BadInput(
                    f"{folder} holds a DICOM file that is damaged or incomplete; copy or export "
                    "the folder again."
                )
        for uid, names in sorted(files.items()):
            try:
                header = read_header(names[0])
            except RuntimeError:  # an object without an image that GDCM lists all the same
                continue
            found.append(_series(uid, header, tuple(names)))
    if not found:
        raise BadInput(f"{folder} holds no DICOM images; give a scan's file or its DICOM folder.")
    return found


def _is_damaged(path: Path) -> bool:
    """Return whether a file is DICOM that GDCM should have listed.

    Reports, plans and other objects without an image lie in many exports, and are none of that.
    """
    if not is_dicom(path):
        return False
    try:
        return _ROWS in read_elements(path, ())
    except UnreadableElements:
        return True


def series_of_file(path: Path, what: str = "") -> Series:
    """Return the series that a file is a part of, as if it were all of it.

    ``what`` is what messages call it, which is its path if nothing else is given.
    """
    with quiet(), readable(what or str(path)):
        header = read_header(str(path))
    uid = header.GetMetaData(_SERIES) if header.HasMetaDataKey(_SERIES) else ""
    return _series(uid.strip("\0 "), header, (str(path),))


def series_of_files(files: Sequence[Path], what: str) -> list[Series]:
    """Return the series that files are parts of, as if these were all of them."""
    parts: dict[str, list[Series]] = {}
    for file in files:
        series = series_of_file(file, what)
        parts.setdefault(series.uid, []).append(series)
    return [
        replace(own[0], files=tuple(file for part in own for file in part.files))
        for own in parts.values()
    ]


def study_day(path: Path, wanted: Sequence[str] = ()) -> date | None:
    """Return the day of a DICOM scan's study, which tells the order of scans, or None.

    ``wanted`` are the series that make the scan, if the folder holds others, too.
    """
    text = _texts(path, wanted, _STUDY_DATE)[0]
    try:
        return datetime.strptime(text, "%Y%m%d").date()
    except ValueError:
        return None


def body_part(path: Path, wanted: Sequence[str] = ()) -> tuple[str, str]:
    """Return Body Part Examined and Laterality of a DICOM scan; empty where its series differ."""
    parts, sides, of_images = (
        set(_texts(path, wanted, tag)) for tag in (_BODY_PART, _LATERALITY, _IMAGE_LATERALITY)
    )
    sides = sides | of_images - {""} if sides == {""} else sides
    sides.discard("")
    return parts.pop() if len(parts) == 1 else "", sides.pop() if len(sides) == 1 else ""


def _texts(path: Path, wanted: Sequence[str], tag: str) -> list[str]:
    """Return what the first header of each series of a scan has in an element."""
    found = find_series(path) if path.is_dir() else [series_of_file(path)]
    uids = {text.partition(PART_SIGN)[0] for text in wanted}
    texts = []
    with quiet(), readable(str(path)):
        for series in found:
            if not uids or series.uid in uids:
                header = read_header(series.files[0])
                text = header.GetMetaData(tag) if header.HasMetaDataKey(tag) else ""
                texts.append(text.strip("\0 "))
    return texts


def _series(uid: str, header: SimpleITK.ImageFileReader, files: tuple[str, ...]) -> Series:
    texts = []
    for tag in (_DESCRIPTION, _STUDY, _FRAME_OF_REFERENCE):
        text = header.GetMetaData(tag) if header.HasMetaDataKey(tag) else ""
        printable = "".join(c if c.isprintable() else " " for c in text)
        texts.append(" ".join(printable.split()))
    return Series(uid, texts[0], files, texts[1], texts[2])


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Say what GDCM could not read in words of our own."""
    try:
        yield
    except RuntimeError as error:
        raise BadInput(
            f"{what} is damaged, incomplete or compressed in a way that cannot be read; export it "
            "again."
        ) from error

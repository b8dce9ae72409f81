"""DICOM series for tests: written slice by slice, or as enhanced files; whole or damaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

ROW, COLUMN = np.array([1.0, 0, 0]), np.array([0, 0, -1.0])
NORMAL = np.cross(ROW, COLUMN)
DISTANCE = 7.8
FIRST = np.array([-100.0, 60, 400])
SPACING = (0.7, 0.6)
"""Millimetres between columns and between rows."""
PATIENT = "Geheim^Patient"
IDENTITY = {
    "FrameOfReferenceUID": "1.2.3.77",
    "PatientID": "Geheime-Nummer",
    "PatientBirthDate": "19900102",
    "PatientSex": "F",
    "StudyDate": "20200304",
    "StudyTime": "050607",
    "StudyID": "S1",
    "AccessionNumber": "A1",
    "ReferringPhysicianName": "Geheim^Arzt",
    "StudyDescription": "Geheime Studie",
    "SeriesNumber": "3",
    "Manufacturer": "Scanner",
}
"""What archives know a study by, for files that results are made from."""
IDENTITY_TAGS = {
    f"{tag_for_keyword(word) >> 16:04x}|{tag_for_keyword(word) & 0xFFFF:04x}": value
    for word, value in IDENTITY.items()
}
"""The same, as `write_series` takes it."""

EXPLICIT, IMPLICIT = ExplicitVRLittleEndian, ImplicitVRLittleEndian
DEFLATED, RUN_LENGTHS = DeflatedExplicitVRLittleEndian, RLELossless


def write_series(
    folder: Path,
    uid: str,
    places: Sequence[float],
    description: str = "STIR",
    size: tuple[int, int] = (12, 16),
    column: np.ndarray = COLUMN,
    sideways: Sequence[float] = (0, 0, 0),
    down: float = 0,
    values: np.ndarray | None = None,
    tags: Mapping[str, str] | None = None,
    prefix: str = "",
    spacing: tuple[float, float] = SPACING,
    row: np.ndarray = ROW,
) -> list[Path]:
    """Write one slice a file, coronal by default and filled with n + 1, at `places` times DISTANCE.

    `down` moves all of them, as the table moves between stations; `values` are slices to be
    written instead; `tags` are further elements, or others, of every file.
    """
    folder.mkdir(exist_ok=True)
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    files = []
    for n, place in enumerate(places):
        pixels = np.full(size[::-1], n + 1, dtype=np.int16) if values is None else values[n]
        image = SimpleITK.GetImageFromArray(pixels[np.newaxis])
        position = (
            FIRST
            + place * DISTANCE * np.cross(row, column)
            + n * np.array(sideways)
            + (0, 0, -down)
        )
        image.SetSpacing((*spacing, DISTANCE))
        elements = {
            "0008|0005": "ISO_IR 100",
            "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
            "0008|0018": f"{uid}.{n + 1}{len(prefix)}",
            "0008|0060": "MR",
            "0008|103e": description,
            "0010|0010": PATIENT,
            "0018|0050": str(DISTANCE),
            "0020|000d": "1.2.826.1",
            "0020|000e": uid,
            "0020|0013": str(n + 1),
            "0020|0032": "\\".join(f"{mm:.5f}" for mm in position),
            "0020|0037": "\\".join(f"{part:.5f}" for part in (*row, *column)),
        }
        for tag, value in (elements | dict(tags or {})).items():
            image.SetMetaData(tag, value)
        # Names in an order of their own: the stacking order has to come from the positions.
        files.append(folder / f"{prefix}{uid[-1]}_{(n * 7) % 10}{n}.dcm")
        writer.SetFileName(str(files[-1]))
        writer.Execute(image)
    return files


@dataclass(frozen=True)
class EnhancedFrame:
    """A frame of an enhanced file; what is None is left out of it."""

    place: float
    """Times the slice distance."""
    value: int = 1
    """Of all of its pixels."""
    down: float = 0
    echo: float | None = None
    time: int | None = None
    b_value: float | None = None
    kind: Sequence[str] | None = None
    stack: str | None = None
    acquisition: int | None = None
    trigger: float | None = None
    rescaling: tuple[float, float] | None = None
    dimensions: Sequence[int] = ()
    sideways: Sequence[float] = (0, 0, 0)
    row: Sequence[float] = tuple(ROW)
    column: Sequence[float] = tuple(COLUMN)
    spacing: tuple[float, float] = SPACING

    @property
    def position(self) -> np.ndarray:
        normal = np.cross(self.row, self.column)
        return FIRST + self.place * DISTANCE * normal + self.sideways + (0, 0, -self.down)


def write_enhanced(
    file: Path,
    frames: Sequence[EnhancedFrame],
    uid: str = "1.2.3.9",
    description: str = "STIR",
    size: tuple[int, int] = (12, 16),
    syntax: str = EXPLICIT,
    are_lengths_undefined: bool = False,
    pixels: np.ndarray | None = None,
    pointers: Sequence[int] = (),
    sop_class: str = EnhancedMRImageStorage,
    has_groups: bool = True,
    elements: Mapping[str, str] | None = None,
) -> Path:
    """Write an enhanced MR file whose pixels are the frames' values, or `pixels`.

    `elements` are further ones, by keyword.
    """
    columns, rows = size
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = sop_class
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = f"{uid}.1"
    image.file_meta.TransferSyntaxUID = EXPLICIT if syntax == RUN_LENGTHS else syntax
    image.Modality, image.PatientName = "MR", PATIENT
    image.StudyInstanceUID, image.SeriesInstanceUID = "1.2.826.1", uid
    image.SeriesDescription = description
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows, image.Columns, image.NumberOfFrames = rows, columns, len(frames)
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.PixelRepresentation = 0
    if pixels is None:
        pixels = np.array([np.full((rows, columns), frame.value) for frame in frames])
    image.PixelData = pixels.astype("<u2").tobytes()
    for keyword, value in (elements or {}).items():
        setattr(image, keyword, value)
    if pointers:
        image.DimensionIndexSequence = [_item(DimensionIndexPointer=tag) for tag in pointers]
    if has_groups:
        # What vendors add of their own, in a sequence that nobody else can know.
        private = Dataset()
        private.add_new(0x0021_0010, "LO", "VENDOR")
        private.add_new(0x0021_1001, "SQ", [_item(SliceThickness=3.0)])
        image.SharedFunctionalGroupsSequence = [private]
        image.PerFrameFunctionalGroupsSequence = [_groups(frame) for frame in frames]
    if are_lengths_undefined:
        for element in image.iterall():
            if element.VR == "SQ":
                element.is_undefined_length = True
                for item in element.value:
                    item.is_undefined_length_sequence_item = True
    if syntax == RUN_LENGTHS:
        image.compress(RUN_LENGTHS)
    file.parent.mkdir(exist_ok=True)
    image.save_as(file, enforce_file_format=True)
    return file


def _item(**elements: object) -> Dataset:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def _groups(frame: EnhancedFrame) -> Dataset:
    spacing = [f"{mm:.10g}" for mm in reversed(frame.spacing)]
    groups = _item(
        PlanePositionSequence=[_item(ImagePositionPatient=[f"{c:.8g}" for c in frame.position])],
        PlaneOrientationSequence=[
            _item(ImageOrientationPatient=[f"{c:.10g}" for c in (*frame.row, *frame.column)])
        ],
        PixelMeasuresSequence=[_item(PixelSpacing=spacing, SliceThickness=DISTANCE)],
    )
    content = Dataset()
    if frame.time is not None:
        content.TemporalPositionIndex = frame.time
    if frame.stack is not None:
        content.StackID = frame.stack
    if frame.acquisition is not None:
        content.FrameAcquisitionNumber = frame.acquisition
    if frame.dimensions:
        content.DimensionIndexValues = list(frame.dimensions)
    groups.FrameContentSequence = [content]
    if frame.echo is not None:
        groups.MREchoSequence = [_item(EffectiveEchoTime=frame.echo)]
    if frame.trigger is not None:
        groups.CardiacSynchronizationSequence = [
            _item(NominalCardiacTriggerDelayTime=frame.trigger)
        ]
    if frame.b_value is not None:
        groups.MRDiffusionSequence = [_item(DiffusionBValue=frame.b_value)]
    if frame.kind is not None:
        groups.MRImageFrameTypeSequence = [_item(FrameType=list(frame.kind))]
    if frame.rescaling is not None:
        slope, intercept = frame.rescaling
        groups.PixelValueTransformationSequence = [
            _item(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="US")
        ]
    return groups

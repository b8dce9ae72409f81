"""Scans as archives hold them, lesions in them, and what DICOM files say of where lesions lie."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from dicom_files import IDENTITY, IDENTITY_TAGS, EnhancedFrame, write_enhanced, write_series
from scipy.spatial import cKDTree

from mois_core.geometry import SliceStack
from mois_core.io import read_scan
from mois_core.io.dicom_source import DicomSource, read_dicom_source
from mois_core.network.model_info import ModelInfo
from mois_core.results.dicom_files import WrittenDicom, write_dicom_files
from mois_core.session.lesion import Lesion, Status
from mois_core.session.masks import Mask

MODEL = ModelInfo("phantom", "phantom.safetensors", "0123456789abcdef" * 4)
SIZE = (26, 34)
"""Columns and rows."""
# Rows of patients' scans are seldom exactly level, and files round.
TILTED = np.array([0.0, 0.09950, -0.99504])

needs_dciodvfy = pytest.mark.skipif(
    shutil.which("dciodvfy") is None,
    reason="dciodvfy is not installed (Debian's and Ubuntu's package dicom3tools)",
)


@dataclass(frozen=True, eq=False)
class ArchivedScan:
    """A scan that was read from DICOM files, and their headers."""

    path: Path
    stack: SliceStack
    source: DicomSource

    @classmethod
    def read(cls, path: Path, axis: str = "coronal", **how: object) -> ArchivedScan:
        volume = read_scan(path, say=lambda text: None, **how)
        return cls(path, SliceStack(volume, axis), read_dicom_source(path, volume, **how))


def classic(folder: Path, places: Sequence[float] = range(6), **more: object) -> Path:
    tags = IDENTITY_TAGS | more.pop("tags", {})
    pixels = noise(len(places))
    write_series(folder, "1.2.3.4", places, size=SIZE, values=pixels, tags=tags, **more)
    return folder


def enhanced(file: Path, frames: Sequence[EnhancedFrame], **more: object) -> Path:
    elements = IDENTITY | more.pop("elements", {})
    return write_enhanced(
        file, frames, size=SIZE, pixels=noise(len(frames)), elements=elements, **more
    )


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 900, (count, SIZE[1], SIZE[0])).astype(np.int16)


def lesion(
    stack: SliceStack, number: int, where: np.ndarray, status: Status = Status.PROMPTED, name=""
) -> Lesion:
    return Lesion(number, status, Mask.from_stack(where & np.ones(stack.array.shape, bool)), name)


def touching_lesions(stack: SliceStack) -> list[Lesion]:
    """Two that touch, one of two parts on other slices, and one that was rejected."""
    boxes = {
        2: [(slice(1, 3), slice(4, 12), slice(3, 9))],
        5: [(slice(1, 4), slice(4, 12), slice(9, 14))],
        9: [(slice(0, 1), slice(20, 21), slice(5, 6)), (slice(3, 5), slice(19, 26), slice(2, 4))],
        11: [(slice(2, 3), slice(0, 4), slice(0, 4))],
    }
    statuses = dict(zip(boxes, (*Status,)[:4], strict=True))
    made = []
    for number, parts in boxes.items():
        mask = np.zeros(stack.array.shape, dtype=bool)
        for part in parts:
            mask[part] = True
        made.append(lesion(stack, number, mask, statuses[number]))
    return made


def write(scan: ArchivedScan, lesions: Sequence[Lesion], folder: Path, **more) -> WrittenDicom:
    folder.mkdir()
    return write_dicom_files(folder, scan.source, scan.stack, lesions, MODEL, **more)


def errors_in(file: Path) -> list[str]:
    """What dciodvfy calls an error."""
    ran = subprocess.run(
        ["dciodvfy", str(file)],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    said = (ran.stdout + ran.stderr).splitlines()
    assert len(said) > 0
    return [line for line in said if line.startswith("Error")]


def places_of(dataset, segment_number: int) -> np.ndarray:
    """Where a segment's voxels lie in LPS mm, from what each frame says and nothing else."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    pixels = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    places = []
    for frame, own in zip(pixels, dataset.PerFrameFunctionalGroupsSequence, strict=True):

        def group(name, own=own):
            return (own.get(name) or shared.get(name))[0]

        if group("SegmentIdentificationSequence").ReferencedSegmentNumber != segment_number:
            continue
        position = np.array(group("PlanePositionSequence").ImagePositionPatient, float)
        directions = np.array(group("PlaneOrientationSequence").ImageOrientationPatient, float)
        rows_apart, columns_apart = map(float, group("PixelMeasuresSequence").PixelSpacing)
        at_rows, at_columns = np.nonzero(frame)
        places.append(
            position
            + np.outer(at_columns * columns_apart, directions[:3])
            + np.outer(at_rows * rows_apart, directions[3:])
        )
    return np.concatenate(places)


def places_in(stack: SliceStack, mask: Mask) -> np.ndarray:
    """Where the voxels of a mask lie in LPS mm."""
    stored = np.zeros(stack.array.shape, dtype=bool)
    mask.paint(stored, True)
    slices, rows, columns = np.nonzero(stored)
    return stack.point_to_ras(slices, columns, rows) * (-1, -1, 1)


def assert_same_places(found: np.ndarray, meant: np.ndarray) -> None:
    """Each voxel is where one was meant to be: much closer than any two voxels are."""
    assert found.shape == meant.shape
    apart, nearest = cKDTree(meant).query(found)
    assert apart.max() < 0.02
    assert len(set(nearest.tolist())) == len(meant)

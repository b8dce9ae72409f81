"""``--dicom-out``: results as DICOM files, for the archive that the scan came from."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mois_core.cli.outputs import check_output_folder

if TYPE_CHECKING:
    from mois_core.geometry import SliceStack
    from mois_core.io.dicom_source import DicomSource
    from mois_core.results.dicom_files import WrittenDicom

_OPTION = "--dicom-out"


@dataclass(frozen=True, eq=False)
class DicomOutput:
    """Where DICOM files go, and the scan that they belong to."""

    folder: Path
    source: DicomSource


def add_argument(group: argparse._ArgumentGroup) -> None:
    """Declare the option."""
    group.add_argument(
        _OPTION,
        type=Path,
        metavar="DIR",
        help="DICOM files for the archive (PACS) that the scan came from, in a new folder: "
        "segmentation (SEG), measurements (SR) and slices with outlines; they carry the patient's "
        "name as the scan does",
    )


def check_option(args: argparse.Namespace) -> None:
    """Refuse what can be refused before any scan is opened."""
    if args.dicom_out is None:
        return
    from mois_core.results.dicom_equipment import check_highdicom

    check_output_folder(_OPTION, args.dicom_out, args.scan)
    check_highdicom()


def open_output(args: argparse.Namespace, stack: SliceStack) -> DicomOutput | None:
    """Read the headers of the scan, and refuse those that files cannot be made from."""
    if args.dicom_out is None:
        return None
    from mois_core.io.dicom_source import read_dicom_source
    from mois_core.network.model_info import ModelInfo
    from mois_core.results.dicom_files import check_writable

    source = read_dicom_source(args.scan, stack.volume, args.series, args.compose)
    check_writable(source, stack, ModelInfo())
    return DicomOutput(args.dicom_out, source)


def written_line(folder: Path, written: WrittenDicom) -> str:
    """Return one line that says what there is now."""
    if not written.segmentations:
        return f"{folder}: not written, since DICOM files need a lesion and there is none"
    several = "s" if written.segmentations > 1 else ""
    pictures = "1 picture" if written.pictures == 1 else f"{written.pictures} pictures"
    return (
        f"{folder}: {written.segmentations} segmentation{several}, measurements and {pictures}, "
        "with the patient's name in them"
    )

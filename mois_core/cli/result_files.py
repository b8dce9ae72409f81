"""Result files of ``mois segment`` and ``mois demo``, written together or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mois_core.cli.dicom_option import DicomOutput
from mois_core.cli.matplotlib_folder import provide_matplotlib_folder
from mois_core.cli.outputs import all_or_none
from mois_core.errors import BadInput
from mois_core.geometry import SliceStack
from mois_core.io import check_segmentation_path, write_segmentation
from mois_core.network.model_info import ModelInfo
from mois_core.progress import Progress, silent
from mois_core.results import lesion_report, lesion_uids
from mois_core.results.colours import Colour, lesion_colour
from mois_core.session import Session
from mois_core.session.lesion import Lesion, Status

if TYPE_CHECKING:
    from mois_core.results.dicom_files import WrittenDicom

_PICTURE_ENDING = ".png"


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """Lesions of one scan, on its voxels as it was read, and what made them."""

    stack: SliceStack
    labels: np.ndarray
    """Label values in the scan's own order [k, j, i]."""
    lesions: list[Lesion]
    model: ModelInfo
    parameters: dict[str, object]
    session: Session
    colours: Mapping[int, Colour] = field(default_factory=dict)
    """Of lesions that came with colours of their own."""
    notes: Mapping[str, object] = field(default_factory=dict)
    """What is saved with the session."""
    notices: Sequence[str] = ()
    """What the session said."""


def check_endings(out: Path, table: Path | None, picture: Path | None) -> None:
    """Refuse formats that cannot be written, and pictures if matplotlib is not installed."""
    check_segmentation_path(out)
    if table is not None:
        lesion_report.check_report_path(table)
    if picture is None:
        return
    if picture.suffix.lower() != _PICTURE_ENDING:
        raise BadInput(f"{picture}: pictures are written as {_PICTURE_ENDING}; use this ending.")
    check_matplotlib("--picture")


def check_matplotlib(option: str) -> None:
    """Refuse pictures if matplotlib is not installed; ``option`` is what asks for them."""
    provide_matplotlib_folder()
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise BadInput(
            "pictures need matplotlib, which is not installed; install it with 'pip install "
            f"matplotlib', or leave out {option}"
        ) from error


def write_results(
    result: SegmentationResult,
    out: Path,
    table: Path | None = None,
    picture: Path | None = None,
    saved: Path | None = None,
    title: str = "",
    dicom: DicomOutput | None = None,
    progress: Progress = silent,
) -> WrittenDicom | None:
    """Write the segmentation, and each further file that has a path, and DICOM files if asked for.

    What is returned says which DICOM files there are.
    """
    from mois_core.session.session_file import save

    wanted = [path for path in (out, table, picture, saved) if path is not None]
    folders = [dicom.folder] if dicom else []
    with all_or_none(wanted, folders) as temporary:
        place = dict(zip([*wanted, *folders], temporary, strict=True))
        volume = result.stack.volume
        tags = lesion_uids.uid_tags(volume, result.lesions)
        write_segmentation(place[out], volume, result.labels, _segments(result), tags)
        if table is not None:
            rows = lesion_report.measure_lesions(result.stack, result.lesions)
            provenance = lesion_report.Provenance(
                result.model, result.parameters, notices=result.notices
            )
            lesion_report.write_report(place[table], rows, provenance)
        if picture is not None:
            provide_matplotlib_folder()
            from mois_core.results.picture import draw_picture

            what = (result.stack, result.lesions, title, result.colours)
            draw_picture(place[picture], *what)
        if saved is not None:
            save(result.session, place[saved], result.notes)
        if dicom is not None:
            from mois_core.results.dicom_files import write_dicom_files

            what = (dicom.source, result.stack, result.lesions, result.model, result.colours)
            return write_dicom_files(place[dicom.folder], *what, progress=progress)
    return None


def _segments(result: SegmentationResult) -> list:
    return [
        (
            lesion.id,
            lesion.name or f"Lesion {lesion.id}",
            result.colours.get(lesion.id) or lesion_colour(lesion.id),
        )
        for lesion in result.lesions
        if lesion.status.counts
    ]


def result_line(result: SegmentationResult) -> str:
    """Return one line that sums up the result."""
    summary = lesion_report.totals(lesion_report.measure_lesions(result.stack, result.lesions))
    given = sum(lesion.is_as_given for lesion in result.lesions)
    clicked = sum(lesion.status is Status.PROMPTED for lesion in result.lesions) - given
    found = sum(lesion.status is Status.FOUND for lesion in result.lesions)
    counted = f"{clicked} clicked and {found} found lesions"
    if given:
        counted = f"{given} given, {counted}"
    return f"{counted}, {summary.burden_cm3:,.1f} cm3 in total"

"""The lesions of the open scan as DICOM files, for the archive that the scan came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mois_core.errors import BadInput
from MOISSAM2SegmentLib.messages import tr as _
from MOISSAM2SegmentLib.scene.dicom_scan import source_files
from MOISSAM2SegmentLib.worker.jobs import Job
from MOISSAM2SegmentLib.workspace.scan_work import ScanWork

if TYPE_CHECKING:
    from mois_core.progress import CancelToken, Progress
    from mois_core.results.dicom_files import WrittenDicom
    from MOISSAM2SegmentLib.worker.engine import Engine

FOLDER = "MOISSAM2-lesions"
"""What is made in the folder that the user chooses. It names nobody."""
IMAGES = _("The scan's DICOM images")
READING = _("reading DICOM headers")
NO_LESION = _("No DICOM file was written, since there is no lesion to write.")
STOPPED = _("Stopped. No DICOM file was written.")
AMONG_IMAGES = _(
    "{folder} holds the scan's own DICOM files, or lies in a folder that does. Choose another "
    "folder."
)


class DicomResult(NamedTuple):
    """The folder with the files, and how many there are of each kind."""

    folder: Path
    written: WrittenDicom


class DicomExport:
    """Writer of DICOM files of the lesions as they are now."""

    def __init__(
        self, open_work: Callable[[], ScanWork], engine: Engine, message: Callable[[str], None]
    ) -> None:
        """``message`` is called with a sentence for the user if nothing could be written."""
        self._open_work = open_work
        self._engine = engine
        self._message = message

    def check(self) -> None:
        """Raise `BadInput` if the open scan does not come from DICOM files that are still there."""
        source_files(self._open_work().volume_node)

    def write(
        self, folder: str | Path, then: Callable[[DicomResult], None] = lambda result: None
    ) -> Job:
        """Write segmentation, measurements and pictures into a new folder inside another one.

        They are there all together or not at all. ``then`` is given the new folder, and what is in
        it. Raises `BadInput` as `check` does, and if the folder holds the scan itself.
        """
        work = self._open_work()
        files, parent = source_files(work.volume_node), Path(folder)
        _check_apart(parent, files)
        session, colours = work.session, dict(work.segments.index.colours)

        def export(progress: Progress, cancel: CancelToken) -> DicomResult:
            from mois_core.geometry import SliceStack
            from mois_core.io.atomic import atomic_folder
            from mois_core.io.dicom_source import source_of_files
            from mois_core.results.dicom_files import write_dicom_files

            progress(0, 1, READING)
            source, scan = source_of_files(files, session.volume, IMAGES)
            cancel.check()
            stack, made = SliceStack(scan, session.settings.axis), _free_folder(parent)
            what = (source, stack, session.lesions, session.model_info, colours)
            with atomic_folder(made) as temporary:
                written = write_dicom_files(temporary, *what, progress, cancel)
                if not written.segmentations:
                    raise BadInput(NO_LESION)
            return DicomResult(made, written)

        def stopped() -> None:
            self._message(STOPPED)

        job = Job("Save as DICOM", export, then, self._message, stopped, owner=work)
        return self._engine.worker.submit(job)


def _check_apart(folder: Path, files: Sequence[str]) -> None:
    """Refuse a folder in which the next one who reads the scan would find our files, too."""
    resolved = folder.resolve()
    if any(resolved.is_relative_to(parent) for parent in {Path(f).resolve().parent for f in files}):
        raise BadInput(AMONG_IMAGES.format(folder=folder))


def _free_folder(parent: Path) -> Path:
    names = (FOLDER if n == 1 else f"{FOLDER}-{n}" for n in count(1))
    return next(parent / name for name in names if not (parent / name).exists())

"""What lesions are known by outside of a session: one UID each, the same in every kind of file.

Segments carry it as a tag, DICOM files as Tracking UID, saved sessions with the lesion. Comparisons
of scans recognise lesions by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mois_core.geometry import Volume
from mois_core.results.dicom_equipment import derived_uid

if TYPE_CHECKING:
    from mois_core.session.lesion import Lesion

TAG = "MOISSAM2.LesionUID"
"""The tag of a segment, which Slicer keeps and shows."""


def numbered_uid(scan: Volume, number: int) -> str:
    """Return the UID of a scan's lesion of this number that is in no earlier scan.

    It is the same each time, and tells nothing of the patient.
    """
    return derived_uid(scan.digest, str(number))


def lesion_uid(scan: Volume, lesion: Lesion) -> str:
    """Return what a lesion was known by before, or else the UID of its number in its scan."""
    return lesion.uid or numbered_uid(scan, lesion.id)


def uid_tags(scan: Volume, lesions: Iterable[Lesion]) -> dict[int, dict[str, str]]:
    """Return the tags of the segments of lesions, by label value."""
    return {lesion.id: {TAG: lesion_uid(scan, lesion)} for lesion in lesions}

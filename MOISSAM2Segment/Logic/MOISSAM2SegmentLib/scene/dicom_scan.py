"""Which DICOM images a scan of the scene was loaded from, and where Slicer has their files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import slicer

from mois_core.errors import BadInput
from MOISSAM2SegmentLib.messages import tr as _

INSTANCES = "DICOM.instanceUIDs"
"""Attribute that Slicer gives a volume which comes from its DICOM database: an image's UID for each
slice, or that of a multi-frame file, separated by blanks."""
STATION_INSTANCES = "MOISSAM2.StationInstanceUIDs"
"""The same of a scan that was joined. Under Slicer's name, Slicer would take all of these for the
slices of one series."""

NOT_FROM_DICOM = _(
    "{name} was not loaded from Slicer's DICOM database, so there is no patient, study or series "
    "that DICOM files could belong to. Import the scan's DICOM files in the module DICOM and load "
    "it from there."
)
NO_DATABASE = _("Slicer's DICOM database is not open. Open the module DICOM, then try again.")
FILES_GONE = _(
    "{missing} of the {count} DICOM files of {name} are not in Slicer's DICOM database any more. "
    "Import the series again in the module DICOM."
)


def instance_uids(volume_node: Any) -> str:
    """Return the UIDs of a scan's images; empty if it does not come from DICOM."""
    return volume_node.GetAttribute(INSTANCES) or volume_node.GetAttribute(STATION_INSTANCES) or ""


def note_stations(volume_node: Any, stations: Sequence[Any]) -> None:
    """Note the images of the stations that a scan was joined of, if all come from DICOM."""
    uids = [instance_uids(station) for station in stations]
    if all(uids):
        volume_node.SetAttribute(STATION_INSTANCES, " ".join(uids))


def source_files(volume_node: Any) -> list[str]:
    """Return the files of a scan's images; raises `BadInput` if they cannot be found."""
    names = {"name": volume_node.GetName()}
    uids = list(dict.fromkeys(instance_uids(volume_node).split()))
    if not uids:
        raise BadInput(NOT_FROM_DICOM.format(**names))
    database = getattr(slicer, "dicomDatabase", None)
    if database is None or not database.isOpen:
        raise BadInput(NO_DATABASE)
    files = [database.fileForInstance(uid) for uid in uids]
    missing = sum(not os.path.isfile(file) for file in files)
    if missing:
        raise BadInput(FILES_GONE.format(missing=missing, count=len(files), **names))
    return files

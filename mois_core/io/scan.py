"""Read scans, and label maps that belong to them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from mois_core.errors import BadInput
from mois_core.geometry import Volume
from mois_core.io.dicom import read_dicom_folder
from mois_core.io.images import read_image, volume_from_image

HIGHEST_LABEL = 65535
"""Highest lesion id: instance label maps are kept in at most 16 bits."""


def read_scan(path: str | os.PathLike, series: str | None = None) -> Volume:
    """Read a scan in any format that SimpleITK reads, or one series of a DICOM folder."""
    path = Path(path)
    if path.is_dir():
        return volume_from_image(read_dicom_folder(path, series), path)
    if series is not None:
        raise BadInput(f"{path} is no DICOM folder, so there is no series to choose from it.")
    return volume_from_image(read_image(path), path)


def read_labels(path: str | os.PathLike) -> Volume:
    """Read a label map: whole numbers from 0 up, whatever number format they were saved in."""
    volume = read_scan(path)
    highest = volume.array.max()
    # Written so that NaN, which compares false with everything, is caught too.
    if not (volume.array.min() >= 0 and highest <= HIGHEST_LABEL):
        raise BadInput(f"{path} is no label map: it has values outside 0 to {HIGHEST_LABEL}.")
    labels = volume.array.astype(np.min_scalar_type(int(np.ceil(highest))))
    if not np.array_equal(labels, volume.array):
        raise BadInput(f"{path} is no label map: it has values that are not whole numbers.")
    return Volume(labels, volume.ijk_to_ras)

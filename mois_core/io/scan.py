"""Read what the user names as the scan, and label maps that belong to it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from mois_core.errors import BadInput
from mois_core.geometry import Volume
from mois_core.io.dicom import read_dicom_folder
from mois_core.io.images import read_image, volume_from_image

HIGHEST_LABEL = 65535
"""Instance label maps are kept in at most 16 bits; so are the numbers of lesions."""


def read_scan(path: str | os.PathLike, series: str | None = None) -> Volume:
    """A scan in any format SimpleITK reads, or one series of a DICOM folder."""
    path = Path(path)
    if path.is_dir():
        return volume_from_image(read_dicom_folder(path, series), path)
    if series is not None:
        raise BadInput(f"{path} is no DICOM folder, so there is no series to choose from it.")
    return volume_from_image(read_image(path), path)


def read_labels(path: str | os.PathLike) -> Volume:
    """A label map: whole numbers from 0 up, whatever number format they were saved in."""
    volume = read_scan(path)
    highest = volume.array.max()
    # Written so that NaN, which compares false with everything, is caught too.
    if not (volume.array.min() >= 0 and highest <= HIGHEST_LABEL):
        raise BadInput(f"{path} is no label map: it has values outside 0 to {HIGHEST_LABEL}.")
    labels = volume.array.astype(np.min_scalar_type(int(np.ceil(highest))))
    if not np.array_equal(labels, volume.array):
        raise BadInput(f"{path} is no label map: it has values that are not whole numbers.")
    return Volume(labels, volume.ijk_to_ras)

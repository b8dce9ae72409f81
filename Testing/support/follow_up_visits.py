"""The patient whose visits the tests of follow-up compare."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from dicom_files import write_series

from mois_core.geometry import Volume
from mois_core.io import read_scan, write_image
from mois_core.phantom import Phantom

SEED = 100_005
SMALL = {"size": (128, 40), "slices": 20, "lesions": 12}


def write_dicom_visit(
    folder: Path, phantom: Phantom, uid: str, tags: Mapping[str, str], description: str = "STIR"
) -> None:
    """Add a phantom's scan to a folder as a DICOM series, head up as scanners write them."""
    column_mm, row_mm, _ = phantom.spacing
    slices = phantom.scan[:, ::-1]
    places = list(range(len(slices)))
    spacing = (column_mm, row_mm)
    write_series(
        folder, uid, places, description, values=slices, spacing=spacing, tags=tags, prefix=uid
    )


def write_labels_of_dicom(path: Path, folder: Path, uid: str, phantom: Phantom) -> None:
    """Write the true lesions on the voxels of a series that `write_dicom_visit` wrote."""
    labels = np.ascontiguousarray(phantom.instances[:, ::-1])
    write_image(path, Volume(labels, read_scan(folder, uid).ijk_to_ras))

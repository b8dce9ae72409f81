"""Read scans, and label maps that belong to them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mois_core.errors import BadInput
from mois_core.geometry import Volume
from mois_core.io.compose_stations import ComposedVolume
from mois_core.io.dicom import read_dicom
from mois_core.io.images import grey_values, image_io, read_image_and_gaps, volume_from_image
from mois_core.io.slicer_segments import is_segmentation, merged_layers, put_on_grid

HIGHEST_LABEL = 65535
"""Highest lesion id: instance label maps are kept in at most 16 bits."""

_DICOM_IO = "GDCMImageIO"
_MOST_REPAIRED = 1 / 1000
"""Part of a scan's voxels; a few come from resampling, more from something that went wrong."""


def tell_on_stderr(text: str) -> None:
    """Tell the user what was done to a scan, where nobody else does."""
    print(text, file=sys.stderr, flush=True)


def read_scan(
    path: str | os.PathLike,
    series: str | Sequence[str] | None = None,
    compose: bool = False,
    say: Callable[[str], None] = tell_on_stderr,
) -> Volume:
    """Read a scan in any format that SimpleITK reads, or one scan of a DICOM folder.

    `series` is the UID of a series, or several; `compose` joins them, or all of the folder, if
    they are stations of one scan. Stations that certainly belong together are joined in any case;
    then the result is a `ComposedVolume`. A few voxels whose values are no finite numbers become 0,
    a scan with more of them is refused. `say` is told in one line of what was joined or repaired.
    """
    path = Path(path)
    wanted = [series] if isinstance(series, str) else list(series or ())
    if is_dicom_scan(path):
        volume = read_dicom(path, wanted, compose)
        gaps = np.flatnonzero(~np.isfinite(volume.array))
    elif wanted:
        raise BadInput(f"{path} is no DICOM folder, so there is no series to choose from it.")
    elif compose:
        raise BadInput(f"{path} is no DICOM folder, so there are no stations to join.")
    else:
        image, gaps = read_image_and_gaps(path)
        volume = volume_from_image(image, path)
    if isinstance(volume, ComposedVolume):
        say(volume.note)
    return _repaired(volume, gaps, path, say)


def is_dicom_scan(path: Path) -> bool:
    """Return whether a path is read as DICOM: a folder, or a DICOM file."""
    return path.is_dir() or (path.exists() and image_io(path) == _DICOM_IO)


def _repaired(volume: Volume, gaps: np.ndarray, path: Path, say: Callable[[str], None]) -> Volume:
    if not gaps.size:
        return volume
    voxels = "1 voxel" if gaps.size == 1 else f"{gaps.size} voxels"
    if gaps.size > _MOST_REPAIRED * volume.array.size:
        raise BadInput(
            f"{path} has {voxels} whose values are not finite numbers (NaN or infinity), too many "
            "to put 0 in their place; export it again."
        )
    array = volume.array.copy()
    array.reshape(-1)[gaps] = 0
    say(f"{path}: 0 was put in the place of {voxels} whose values were not finite numbers.")
    return replace(volume, array=array)


def read_labels(path: str | os.PathLike, on: Volume | None = None) -> Volume:
    """Read a label map: whole numbers from 0 up, whatever number format they were saved in.

    Of a segmentation that Slicer wrote in several layers, a label map is made; where segments
    overlap, the later one wins. If `on` is given, a segmentation that Slicer cropped is put in its
    place on that grid; one that does not fit there comes as it is.
    """
    path = Path(path)
    if is_dicom_scan(path):
        volume = read_dicom(path)
        if isinstance(volume, ComposedVolume):
            raise BadInput(f"{path} holds several stations; labels of stations are not composed.")
        return replace(volume, array=_whole_numbers(volume.array, False, path))
    image, gaps = read_image_and_gaps(path)
    is_from_slicer = is_segmentation(image)
    is_layered = is_from_slicer and image.GetNumberOfComponentsPerPixel() > 1
    values = merged_layers(image, path) if is_layered else grey_values(image, path)
    labels = volume_from_image(image, path, _whole_numbers(values, bool(gaps.size), path))
    return put_on_grid(labels, on) if is_from_slicer and on is not None else labels


def _whole_numbers(values: np.ndarray, has_gaps: bool, path: Path) -> np.ndarray:
    """Return labels in the smallest type that holds them."""
    highest = values.max()
    # Written so that NaN, which compares false with everything, is caught too.
    if has_gaps or not (values.min() >= 0 and highest <= HIGHEST_LABEL):
        raise BadInput(f"{path} is no label map: it has values outside 0 to {HIGHEST_LABEL}.")
    labels = values.astype(np.min_scalar_type(int(np.ceil(highest))))
    if not np.array_equal(labels, values):
        raise BadInput(f"{path} is no label map: it has values that are not whole numbers.")
    return labels

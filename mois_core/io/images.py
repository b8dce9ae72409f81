"""Read and write volumes with SimpleITK, one file at a time.

ITK works in LPS millimetres and Slicer and we in RAS; the two first axes change sign between
them. ITK also forgives what a measuring program must not: it fills the missing half of a
truncated NIfTI file with zeros, and does not notice a full disk. Both are checked here.
"""

from __future__ import annotations

import gzip
import math
import os
import sys
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK

from mois_core.errors import BadInput
from mois_core.geometry import Volume, same_grid
from mois_core.io.atomic import atomic_write

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_STDERR = 2
_stderr_lock = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries under ITK from printing: our own message says what went wrong, once.

    Some of them write to the process's standard error from C++, past every setting.
    """
    with _stderr_lock:
        warnings_shown = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
        try:
            stderr = os.dup(_STDERR)
        except OSError:  # a Windows program without a console has none
            stderr = None
        try:
            if stderr is not None:
                if sys.stderr is not None:
                    sys.stderr.flush()
                with open(os.devnull, "wb") as nowhere:
                    os.dup2(nowhere.fileno(), _STDERR)
            yield
        finally:
            if stderr is not None:
                os.dup2(stderr, _STDERR)
                os.close(stderr)
            SimpleITK.ProcessObject.SetGlobalWarningDisplay(warnings_shown)


def read_image(path: Path) -> SimpleITK.Image:
    """Read one image file with SimpleITK; refuse it if anything of it is missing."""
    if not path.exists():
        raise BadInput(f"{path} does not exist.")
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet():
            reader.ReadImageInformation()
            if reader.HasMetaDataKey("vox_offset"):
                _check_nifti_is_whole(path, reader)
            return reader.Execute()
    except RuntimeError as error:
        raise BadInput(_why_unreadable(path, str(error))) from error


def _why_unreadable(path: Path, itk_message: str) -> str:
    if not os.access(path, os.R_OK):
        return f"{path} cannot be opened; check its permissions."
    if "Unable to determine ImageIO reader" in itk_message:
        return (
            f"{path} is not an image that can be read; use NIfTI, NRRD, MetaImage or DICOM, "
            "and check that the file is complete."
        )
    if "orthonormal" in itk_message:
        return (
            f"The axes of {path} are not at right angles, which NIfTI readers do not support; "
            "resample it to a regular grid first."
        )
    return f"{path} cannot be read as an image: it is damaged or incomplete."


def _check_nifti_is_whole(path: Path, reader: SimpleITK.ImageFileReader) -> None:
    bits = int(reader.GetMetaData("bitpix"))
    voxels = math.prod(reader.GetSize()) * reader.GetNumberOfComponents()
    expected = int(float(reader.GetMetaData("vox_offset"))) + voxels * bits // 8
    data_file = path.with_suffix(".img") if path.suffix.lower() == ".hdr" else path
    try:
        size = _uncompressed_size(data_file)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"{path} is damaged or incomplete; copy or export it again.") from error
    if size < expected:
        raise BadInput(
            f"{path} is incomplete: {size} of {expected} bytes are there; copy or export it again."
        )


def _uncompressed_size(path: Path) -> int:
    with open(path, "rb") as file:
        is_compressed = file.read(2) == b"\x1f\x8b"
    if not is_compressed:
        return path.stat().st_size
    # Reading to the end also has gzip compare its checksum.
    with gzip.open(path) as file:
        return sum(len(block) for block in iter(lambda: file.read(1 << 20), b""))


def volume_from_image(image: SimpleITK.Image, path: Path) -> Volume:
    """Return a SimpleITK image as a `Volume`; refuse it if it is not 3-D with one grey value."""
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise BadInput(
            f"{path} has {image.GetNumberOfComponentsPerPixel()} values in each voxel (a colour "
            "or vector image); an image of single grey values is needed."
        )
    if "complex" in image.GetPixelIDTypeAsString():
        raise BadInput(f"{path} has complex values; save its magnitude image and use that.")
    size = " x ".join(str(n) for n in image.GetSize())
    if image.GetDimension() != 3:
        raise BadInput(
            f"{path} is {image.GetDimension()}-D ({size}); one 3-D volume is needed"
            + ("." if image.GetDimension() < 3 else ": save one of its volumes and use that.")
        )
    lps = np.eye(4)
    lps[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    lps[:3, 3] = image.GetOrigin()
    try:
        return Volume(SimpleITK.GetArrayFromImage(image), LPS_TO_RAS @ lps)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error


def write_image(
    path: str | os.PathLike, volume: Volume, header: Mapping[str, str] | None = None
) -> None:
    """Write a volume in the format of the path's ending, with extra header fields for NRRD.

    The file is read back before it takes its place: ITK reports neither a full disk nor axes
    that NIfTI cannot express.
    """
    image = SimpleITK.GetImageFromArray(volume.array)
    lps = LPS_TO_RAS @ volume.ijk_to_ras
    image.SetSpacing(volume.spacing)
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / volume.spacing).ravel().tolist())
    for key, value in (header or {}).items():
        image.SetMetaData(key, value)
    with atomic_write(path) as temporary:
        try:
            with quiet():
                SimpleITK.WriteImage(image, str(temporary), useCompression=True)
            written = volume_from_image(read_image(temporary), temporary)
        except (RuntimeError, BadInput) as error:
            raise BadInput(
                f"{path} could not be written completely; check the folder's permissions and the "
                "free disk space."
            ) from error
        if not np.array_equal(written.array, volume.array):
            raise BadInput(f"{path} could not be written completely; check the free disk space.")
        if not same_grid(written, volume):
            raise BadInput(
                f"{path}: this format cannot hold axes that are not at right angles; "
                "write .nrrd or .seg.nrrd instead."
            )

"""Read and write volumes with SimpleITK, one file at a time.

ITK works in LPS millimetres and Slicer and we in RAS; the two first axes change sign between
them. ITK also forgives what a measuring program must not: it fills the missing half of a
truncated NIfTI file with zeros (see `nifti`), and does not notice a full disk.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK

from mois_core.errors import BadInput
from mois_core.geometry import Volume, same_grid
from mois_core.io.atomic import atomic_write
from mois_core.io.nifti import check_nifti

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_NIFTI_ENDINGS = (".nii.gz", ".nii")
_META_ENDINGS = (".mha", ".mhd")
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
    return read_image_and_gaps(path)[0]


def read_image_and_gaps(path: Path) -> tuple[SimpleITK.Image, np.ndarray]:
    """Read one image file, and say which of its values are no finite numbers.

    They are counted as in the flattened array; ITK has put 0 in the place of some, not of all.
    """
    if not path.exists():
        raise BadInput(f"{path} does not exist.")
    try:
        with quiet(), _as_itk_knows_it(path) as known:
            reader = SimpleITK.ImageFileReader()
            reader.SetFileName(str(known))
            ending = path.suffix.lower()
            if ending in _META_ENDINGS and path.suffix != ending:
                reader.SetImageIO("MetaImageIO")
            reader.ReadImageInformation()
            is_nifti = image_io(known) == "NiftiImageIO"
            gaps = check_nifti(path, reader) if is_nifti else None
            image = reader.Execute()
    except RuntimeError as error:
        raise BadInput(_why_unreadable(path, str(error))) from error
    if gaps is None:
        values = SimpleITK.GetArrayViewFromImage(image)
        has_gaps = values.dtype.kind in "fc" and not np.isfinite(values).all()
        gaps = np.flatnonzero(~np.isfinite(values)) if has_gaps else np.zeros(0, dtype=np.int64)
    return image, gaps


def image_io(path: Path) -> str:
    """Return ITK's name for the format of a file, or an empty text if it knows none."""
    with quiet():
        return SimpleITK.ImageFileReader.GetImageIOFromFileName(str(path))


@contextmanager
def _as_itk_knows_it(path: Path) -> Iterator[Path]:
    """Give a path to a file with an ending that ITK accepts: it takes x.NII.GZ, but not x.nii.GZ.

    The link is called ``image``, so that no name gets into a temporary folder.
    """
    name = path.name
    ending = next((end for end in _NIFTI_ENDINGS if name.lower().endswith(end)), "")
    own = name[len(name) - len(ending) :]
    if own in (ending, ending.upper()):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, f"image{ending}")
        try:
            os.symlink(path.resolve(), link)
        except OSError:  # Windows lets only some users make links, but its names ignore case
            link = path.with_name(name[: len(name) - len(ending)] + ending)
        yield link


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


def grey_values(image: SimpleITK.Image, what: Path | str) -> np.ndarray:
    """Return the voxels [k, j, i] of an image; refuse one that is not 3-D with one grey value."""
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise BadInput(
            f"{what} has {image.GetNumberOfComponentsPerPixel()} values in each voxel (a colour "
            "or vector image); an image of single grey values is needed."
        )
    if "complex" in image.GetPixelIDTypeAsString():
        raise BadInput(f"{what} has complex values; save its magnitude image and use that.")
    size = " x ".join(str(n) for n in image.GetSize())
    if image.GetDimension() != 3:
        raise BadInput(
            f"{what} is {image.GetDimension()}-D ({size}); one 3-D volume is needed"
            + ("." if image.GetDimension() < 3 else ": save one of its volumes and use that.")
        )
    return SimpleITK.GetArrayFromImage(image)


def volume_from_image(
    image: SimpleITK.Image, what: Path | str, values: np.ndarray | None = None
) -> Volume:
    """Return a SimpleITK image as a `Volume`; refuse it if it is not 3-D with one grey value.

    `values` are voxels [k, j, i] to put in the place of its own.
    """
    if values is None:
        values = grey_values(image, what)
    lps = np.eye(4)
    lps[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    lps[:3, 3] = image.GetOrigin()
    try:
        return Volume(values, LPS_TO_RAS @ lps)
    except BadInput as error:
        raise BadInput(f"{what}: {error}") from error


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

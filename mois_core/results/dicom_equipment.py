"""What all DICOM files of ours say of their maker, and the UIDs that they get."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4, uuid5

from mois_core import __version__
from mois_core.errors import BadInput
from mois_core.network.model_info import ModelInfo

if TYPE_CHECKING:
    import highdicom

    from mois_core.session.lesion import Lesion

NAME = "MOISSAM2"
NOT_FOR_DIAGNOSIS = "Not for diagnostic use"

_UUID_ROOT = "2.25"
"""UIDs below it are random or derived numbers that no organisation has to hand out."""
_OURS = UUID("5c1f7b0a-7d35-4f0e-9a52-7a2c0e6d9b41")
"""Keeps UIDs that we derive apart from those that others derive from the same texts."""
_LONGEST_CHECKSUM = 16


def check_highdicom() -> None:
    """Refuse DICOM results where the package that writes them is not installed."""
    try:
        import highdicom  # noqa: F401
    except ModuleNotFoundError as error:
        raise BadInput(
            "DICOM results need highdicom, which is not installed; install it with 'pip install "
            "highdicom', or leave out the DICOM results"
        ) from error


def new_uid() -> str:
    """Return a UID that nothing else has."""
    return f"{_UUID_ROOT}.{uuid4().int}"


def derived_uid(*parts: str) -> str:
    """Return a UID that is always the same for the same texts."""
    return f"{_UUID_ROOT}.{uuid5(_OURS, '/'.join(parts)).int}"


def equipment(model: ModelInfo) -> dict[str, str]:
    """Return the maker's name, version and number, as highdicom's classes are told them."""
    return {
        "manufacturer": NAME,
        "manufacturer_model_name": NAME,
        "software_versions": __version__,
        # The network's checksum: with another network it would be another device.
        "device_serial_number": model.sha256[:_LONGEST_CHECKSUM] or "unknown",
    }


def algorithm_name(model: ModelInfo) -> str:
    """Return what files call the network that outlined."""
    return f"{NAME}, network {model.preset}"


def algorithm_type(lesion: Lesion) -> str:
    """Return how a lesion came about, in DICOM's words."""
    from mois_core.session.lesion import Status

    if lesion.is_drawn:
        return "MANUAL"
    return "SEMIAUTOMATIC" if lesion.status is Status.PROMPTED else "AUTOMATIC"


def algorithm(model: ModelInfo) -> highdicom.AlgorithmIdentificationSequence:
    """Return the network that outlined, and its version."""
    import highdicom
    from pydicom.sr.codedict import codes

    checksum = model.sha256[:_LONGEST_CHECKSUM] or "unknown"
    return highdicom.AlgorithmIdentificationSequence(
        name=algorithm_name(model),
        family=codes.DCM.ArtificialIntelligence,
        version=f"{__version__}, checkpoint {checksum}",
        source=NAME,
    )

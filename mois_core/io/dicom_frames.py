"""The frames of DICOM files: where each one lies, and what tells it from others at its place.

A classic file is one frame and says so on its top level. An enhanced file holds many, in any
order, and says it in functional groups: one that all frames share, and one for each.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK

from mois_core.errors import BadInput
from mois_core.io.dicom_elements import Elements, UnreadableElements, read_elements

Trait = float | str

ECHO_TIME, INVERSION_TIME, B_VALUE = "echo time", "inversion time", "b-value"
KIND, STACK, ACQUISITION = "kind of image", "stack", "acquisition"

UNITS = {ECHO_TIME: " ms", INVERSION_TIME: " ms", "trigger time": " ms", B_VALUE: " s/mm2"}

CONTRAST = (ECHO_TIME, INVERSION_TIME, B_VALUE, KIND)
"""Traits that make another picture of the same tissue."""

# Top-level elements of classic files, in the order in which they are tried.
_CLASSIC_TRAITS = {
    ECHO_TIME: "0018|0081",
    "time point": "0020|0100",
    B_VALUE: "0018|9087",
    INVERSION_TIME: "0018|0082",
    KIND: "0008|0008",
    "trigger time": "0018|1060",
    ACQUISITION: "0020|0012",
}
_POSITION, _ORIENTATION = "0020|0032", "0020|0037"

_SHARED, _PER_FRAME = 0x5200_9229, 0x5200_9230
_PLANE_POSITION, _PLANE_ORIENTATION, _PIXEL_MEASURES = 0x0020_9113, 0x0020_9116, 0x0028_9110
_PIXEL_TRANSFORMATION, _FRAME_CONTENT = 0x0028_9145, 0x0020_9111
_MR_ECHO, _MR_MODIFIER, _MR_DIFFUSION = 0x0018_9114, 0x0018_9115, 0x0018_9117
_DIFFUSION_DIRECTION, _CARDIAC, _MR_FRAME_TYPE = 0x0018_9076, 0x0018_9118, 0x0018_9226
_TEMPORAL_POSITION, _DIMENSIONS = 0x0020_9310, 0x0020_9222
_SEQUENCES = (
    *(_SHARED, _PER_FRAME, _PLANE_POSITION, _PLANE_ORIENTATION, _PIXEL_MEASURES),
    *(_PIXEL_TRANSFORMATION, _FRAME_CONTENT, _MR_ECHO, _MR_MODIFIER, _MR_DIFFUSION),
    *(_DIFFUSION_DIRECTION, _CARDIAC, _MR_FRAME_TYPE, _TEMPORAL_POSITION, _DIMENSIONS),
)
# Each trait of an enhanced file: the functional group, the element in it, how it is stored.
_ENHANCED_TRAITS = {
    ECHO_TIME: (_MR_ECHO, 0x0018_9082, "d"),
    "time point": (_FRAME_CONTENT, 0x0020_9128, "I"),
    "time offset": (_TEMPORAL_POSITION, 0x0020_930D, "d"),
    B_VALUE: (_MR_DIFFUSION, 0x0018_9087, "d"),
    INVERSION_TIME: (_MR_MODIFIER, 0x0018_9079, "d"),
    KIND: (_MR_FRAME_TYPE, 0x0008_9007, "text"),
    "part of the signal": (_MR_FRAME_TYPE, 0x0008_9208, "text"),
    "trigger time": (_CARDIAC, 0x0020_9153, "d"),
    STACK: (_FRAME_CONTENT, 0x0020_9056, "text"),
    ACQUISITION: (_FRAME_CONTENT, 0x0020_9156, "H"),
}
_DIMENSION_POINTER, _DIMENSION_VALUES = 0x0020_9165, 0x0020_9157
# Dimensions that say where a frame lies: in-stack position, stack, position of the plane.
_SPATIAL_DIMENSIONS = (0x0020_9057, 0x0020_9056, 0x0020_0032)
_NO_RESCALING = (1.0, 0.0)
_RESCALE = ("0028|1053", "0028|1052")
# Where GDCM puts an image that does not say where it lies.
_ORIGIN, _AXIAL = (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of a DICOM file, in the LPS millimetres of DICOM."""

    file: str
    index: int
    """Its number in the file, from 0."""
    is_classic: bool
    size: tuple[int, int]
    """Columns and rows."""
    spacing: tuple[float, float]
    """Millimetres from one column to the next, and from one row to the next."""
    position: np.ndarray
    """The middle of the first voxel."""
    orientation: np.ndarray
    """Directions in which columns and rows are counted, as rows of a 2 x 3 matrix."""
    slice_spacing: float
    """What the file says of the distance to the next slice; for a frame that is alone."""
    rescaling: tuple[float, float] = _NO_RESCALING
    """Slope and intercept from what GDCM gives to intensities. They change nothing in most files:
    GDCM scales all frames of a file as its first one."""
    scale: tuple[str, ...] = ()
    """How a classic file scales its intensities, by which GDCM chooses a type for them."""
    traits: Mapping[str, Trait] = field(default_factory=dict)
    """What may tell it from other frames at its place, by name, the likeliest first."""


def read_header(file: str) -> SimpleITK.ImageFileReader:
    """Return a reader that has read everything of a DICOM file but its pixels."""
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(file)
    reader.ReadImageInformation()
    return reader


def frames_of(file: str, what: str, is_alone: bool) -> list[Frame]:
    """Return the frames of a DICOM file; `what` names its series in messages.

    An image that is alone (`is_alone`) may keep to itself where it lies.
    """
    header = read_header(file)
    is_one = header.GetSize()[2] == 1
    if is_one and header.HasMetaDataKey(_POSITION) and header.HasMetaDataKey(_ORIENTATION):
        position = _decimals(header.GetMetaData(_POSITION))
        orientation = _decimals(header.GetMetaData(_ORIENTATION))
        return [_classic_frame(file, header, position, orientation, what)]
    try:
        elements = read_elements(Path(file), _SEQUENCES)
    except UnreadableElements as error:
        raise BadInput(
            f"{what} is damaged, or stored in a way that cannot be read; export it again."
        ) from error
    if not elements.get(_PER_FRAME):
        if is_one and is_alone:
            return [_classic_frame(file, header, _ORIGIN, _AXIAL, what)]
        raise BadInput(f"{what} does not say where its slices lie; export it as a volume.")
    return _enhanced_frames(file, header, elements, what)


def _classic_frame(
    file: str,
    header: SimpleITK.ImageFileReader,
    position: Sequence[float],
    orientation: Sequence[float],
    what: str,
) -> Frame:
    traits = {
        name: _number_or_text(header.GetMetaData(tag))
        for name, tag in _CLASSIC_TRAITS.items()
        if header.HasMetaDataKey(tag)
    }
    return Frame(
        file=file,
        index=0,
        is_classic=True,
        size=header.GetSize()[:2],
        spacing=header.GetSpacing()[:2],
        position=_checked(position, 3, what),
        orientation=_checked(orientation, 6, what).reshape(2, 3),
        slice_spacing=header.GetSpacing()[2],
        scale=tuple(header.GetMetaData(tag) for tag in _RESCALE if header.HasMetaDataKey(tag)),
        traits=traits,
    )


def _enhanced_frames(
    file: str, header: SimpleITK.ImageFileReader, elements: Elements, what: str
) -> list[Frame]:
    shared = next(iter(elements.get(_SHARED, [])), {})
    groups = [_Groups(own, shared) for own in elements[_PER_FRAME]]
    count = header.GetSize()[2]
    if len(groups) != count:
        raise BadInput(
            f"{what} has {count} images in a file that describes {len(groups)}; export it again."
        )
    dimensions = [
        _unpack(dimension.get(_DIMENSION_POINTER, b""), "HH")
        for dimension in elements.get(_DIMENSIONS, [])
    ]
    tags = [group << 16 | element for group, element in (d or (0, 0) for d in dimensions)]
    size = header.GetSize()[:2]
    first = groups[0].rescaling()
    return [
        _enhanced_frame(file, index, size, own, tags, first, what)
        for index, own in enumerate(groups)
    ]


class _Groups:
    """The functional groups of one frame: its own, and those that all frames share."""

    def __init__(self, own: Elements, shared: Elements) -> None:
        self._own, self._shared = own, shared

    def value(self, group: int, tag: int) -> bytes:
        """Return an element of a functional group as it is stored; empty if it is not there."""
        items = self._own.get(group) or self._shared.get(group) or [{}]
        value = items[0].get(tag, b"")
        return value if isinstance(value, bytes) else b""

    def decimals(self, group: int, tag: int) -> list[float]:
        return _decimals(self.value(group, tag).decode("latin-1"))

    def rescaling(self) -> tuple[float, float]:
        """Return slope and intercept from what is stored to intensities."""
        slope = self.decimals(_PIXEL_TRANSFORMATION, 0x0028_1053)
        intercept = self.decimals(_PIXEL_TRANSFORMATION, 0x0028_1052)
        return (slope[0], intercept[0]) if slope and intercept and slope[0] else _NO_RESCALING

    def diffusion_direction(self) -> tuple[float, ...]:
        items = self._own.get(_MR_DIFFUSION) or self._shared.get(_MR_DIFFUSION) or [{}]
        directions = items[0].get(_DIFFUSION_DIRECTION) or [{}]
        return _unpack(directions[0].get(0x0018_9089, b""), "ddd")


def _enhanced_frame(
    file: str,
    index: int,
    size: tuple[int, int],
    groups: _Groups,
    dimensions: list[int],
    first_rescaling: tuple[float, float],
    what: str,
) -> Frame:
    position = _checked(groups.decimals(_PLANE_POSITION, 0x0020_0032), 3, what)
    orientation = _checked(groups.decimals(_PLANE_ORIENTATION, 0x0020_0037), 6, what)
    rows_apart, columns_apart = _checked(groups.decimals(_PIXEL_MEASURES, 0x0028_0030), 2, what)
    between = groups.decimals(_PIXEL_MEASURES, 0x0018_0088)
    thickness = groups.decimals(_PIXEL_MEASURES, 0x0018_0050)
    slope, intercept = groups.rescaling()
    correction = slope / first_rescaling[0]
    return Frame(
        file=file,
        index=index,
        is_classic=False,
        size=size,
        spacing=(float(columns_apart), float(rows_apart)),
        position=position,
        orientation=orientation.reshape(2, 3),
        slice_spacing=next((mm[0] for mm in (between, thickness) if mm and mm[0] > 0), 1.0),
        rescaling=(correction, intercept - correction * first_rescaling[1]),
        traits=_enhanced_traits(groups, dimensions),
    )


def _enhanced_traits(groups: _Groups, dimensions: list[int]) -> dict[str, Trait]:
    traits: dict[str, Trait] = {}
    for name, (group, tag, how) in _ENHANCED_TRAITS.items():
        value = groups.value(group, tag)
        if how == "text" and value:
            traits[name] = _plain(value.decode("latin-1"))
        elif numbers := _unpack(value, how) if how != "text" else ():
            traits[name] = float(numbers[0])
    direction = groups.diffusion_direction()
    if direction:
        traits["diffusion direction"] = " ".join(f"{part:.4g}" for part in direction)
    indices = _unpack(groups.value(_FRAME_CONTENT, _DIMENSION_VALUES), "I" * len(dimensions))
    for number, (tag, index) in enumerate(zip(dimensions, indices, strict=False), start=1):
        if tag not in _SPATIAL_DIMENSIONS:
            traits[f"dimension {number}"] = float(index)
    return traits


def _unpack(value: bytes | list, kinds: str) -> tuple[float, ...]:
    """Return the first of a stored element's numbers, or none if it is not that long."""
    form = "<" + kinds
    if not isinstance(value, bytes) or not kinds or len(value) < struct.calcsize(form):
        return ()
    return struct.unpack_from(form, value)


def _decimals(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split("\\")]
    except ValueError:
        return []


def _checked(numbers: Sequence[float], count: int, what: str) -> np.ndarray:
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise BadInput(f"{what} gives its slices' positions in a way that cannot be read.")
    return np.array(numbers)


def _number_or_text(text: str) -> Trait:
    numbers = _decimals(text)
    return numbers[0] if len(numbers) == 1 and np.isfinite(numbers[0]) else _plain(text)


def _plain(text: str) -> str:
    """Return what a message can show of an element's text."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split()).strip()

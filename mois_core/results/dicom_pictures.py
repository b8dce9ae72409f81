"""Slices with outlines burned in (secondary captures), for archives that show nothing else.

They are made for reading: upright, with square pixels, and with a line on each that says what they
are. There is one for each slice that holds a lesion; the others show nothing that the scan itself
does not show better.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from mois_core import __version__
from mois_core.geometry import OPPOSITE, VIEWS, SliceStack
from mois_core.io.dicom_source import DicomSource
from mois_core.network.model_info import ModelInfo
from mois_core.results.dicom_equipment import NAME, NOT_FOR_DIAGNOSIS, equipment, new_uid
from mois_core.results.dicom_lesions import DicomLesion
from mois_core.results.grey_window import grey_window
from mois_core.results.id_places import Rectangle, free_place

if TYPE_CHECKING:
    import highdicom

_SERIES_NUMBER = 9300
_LONG_SIDE = 1024
"""Pixels that the longer side of a picture has at least, so that thin outlines stay thin."""
_NARROWEST = 260
"""Pixels that the line of text needs."""
_FONT_PIXELS, _LINE_PIXELS = 14, 20
_HEAD_PIXELS = 2 * _LINE_PIXELS
_ID_GAP = 4
_ABOVE_DIGITS = 2
"""Pixels that the font leaves empty above digits."""
_PLAIN = "1.2.840.10008.1.2.1"
"""Explicit, little-endian and not compressed: what every archive takes."""
_WHITE = (255, 255, 255)
_ORIENTATION = {"L": "L", "P": "P", "I": "F"}
"""DICOM's letters for where columns and rows of our upright slices run to."""


def secondary_captures(
    source: DicomSource, stack: SliceStack, lesions: Sequence[DicomLesion], model: ModelInfo
) -> Iterator[tuple[int, highdicom.sc.SCImage]]:
    """Yield the number of each slice that holds a lesion, from 0, and its picture."""
    import highdicom

    series = new_uid()
    window = grey_window(stack.array)
    _, rows_to, columns_to = VIEWS[stack.axis]
    for number, slice_index in enumerate(slices_with_lesions(lesions), start=1):
        picture, pixel_mm = outlined_slice(stack, slice_index, lesions, window)
        image = highdicom.sc.SCImage.from_ref_dataset(
            source.header,
            picture,
            photometric_interpretation=highdicom.PhotometricInterpretationValues.RGB,
            bits_allocated=8,
            coordinate_system=highdicom.CoordinateSystemNames.PATIENT,
            series_instance_uid=series,
            series_number=_SERIES_NUMBER,
            sop_instance_uid=new_uid(),
            instance_number=number,
            pixel_spacing=(pixel_mm, pixel_mm),
            patient_orientation=(_ORIENTATION[columns_to], _ORIENTATION[rows_to]),
            transfer_syntax_uid=_PLAIN,
            series_description=f"Lesions, outlines. {NOT_FOR_DIAGNOSIS}",
            **equipment(model),
        )
        image.copy_patient_and_study_information(source.header)
        # Outlines and numbers are burned in, and nothing that names the patient.
        image.BurnedInAnnotation = "NO"
        # It has to be there; most scans show both sides and do not say so.
        image.Laterality = source.header.get("Laterality") or ""
        yield slice_index, image


def slices_with_lesions(lesions: Sequence[DicomLesion]) -> list[int]:
    """Return the slices that there is a picture of, from 0."""
    return sorted({n for lesion in lesions for n in lesion.lesion.mask.slices})


def outlined_slice(
    stack: SliceStack,
    slice_index: int,
    lesions: Sequence[DicomLesion],
    window: tuple[float, float],
) -> tuple[np.ndarray, float]:
    """Return a slice with outlines as [rows, columns, RGB], and how many mm wide its pixels are."""
    heights, widths = np.multiply(stack.shape, stack.pixel_spacing).tolist()
    pixel_mm = min(stack.pixel_spacing)
    pixel_mm /= math.ceil(_LONG_SIDE * pixel_mm / max(heights, widths))
    size = round(widths / pixel_mm), round(heights / pixel_mm)
    low, high = window
    grey = np.clip((stack.image(slice_index) - low) / (high - low), 0, 1) * 255
    scaled = Image.fromarray(grey.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    pixels = np.repeat(np.asarray(scaled)[..., np.newaxis], 3, axis=2)
    here = [lesion for lesion in lesions if slice_index in lesion.lesion.mask.planes]
    boxes = []
    for lesion in here:
        mask = Image.fromarray(lesion.lesion.mask.image(slice_index))
        mask = np.asarray(mask.resize(size, Image.Resampling.NEAREST))
        # Each outline runs inside its lesion, so those of lesions that touch are both seen.
        pixels[mask & ~ndimage.binary_erosion(mask)] = _rgb(lesion)
        boxes.append(ndimage.find_objects(mask.astype(np.uint8))[0])
    page = Image.new("RGB", (max(size[0], _NARROWEST), size[1] + _HEAD_PIXELS))
    page.paste(Image.fromarray(pixels), (0, _HEAD_PIXELS))
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(_FONT_PIXELS)
    counted = "1 lesion" if len(here) == 1 else f"{len(here)} lesions"
    place = f"{NAME} {__version__}, slice {slice_index + 1} of {stack.count}, {counted}"
    for line, text in enumerate((NOT_FOR_DIAGNOSIS, place)):
        draw.text((_ID_GAP, line * _LINE_PIXELS + 2), text, _WHITE, font)
    taken = _write_sides(draw, font, size[0], VIEWS[stack.axis][2])
    # The numbers of large lesions first; one without room is left out, as in other pictures.
    for lesion, box in sorted(zip(here, boxes, strict=True), key=lambda pair: -_area(pair[1])):
        text = str(lesion.lesion.id)
        room = (draw.textlength(text, font), _FONT_PIXELS)
        picture = Rectangle(0, 0, *size)
        beside = free_place(box, room, (_ID_GAP, _ID_GAP), picture, taken)
        if beside is not None:
            taken.append(beside)
            where = (beside.left, beside.top + _HEAD_PIXELS - _ABOVE_DIGITS)
            draw.text(where, text, _rgb(lesion), font, stroke_width=1, stroke_fill=(0, 0, 0))
    return np.asarray(page), pixel_mm


def _write_sides(
    draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont, width: int, columns_to: str
) -> list[Rectangle]:
    """Write at the left and right edge which side of the patient it is; return where."""
    places = []
    for letter, at_right in ((OPPOSITE[columns_to], False), (columns_to, True)):
        across = draw.textlength(letter, font)
        left = width - across - _ID_GAP if at_right else _ID_GAP
        draw.text((left, _HEAD_PIXELS), letter, _WHITE, font, stroke_width=1, stroke_fill=(0, 0, 0))
        places.append(Rectangle(left, 0, left + across, _LINE_PIXELS))
    return places


def _area(box: tuple[slice, slice]) -> int:
    rows, columns = box
    return (rows.stop - rows.start) * (columns.stop - columns.start)


def _rgb(lesion: DicomLesion) -> tuple[int, int, int]:
    red, green, blue = (round(part * 255) for part in lesion.colour)
    return red, green, blue

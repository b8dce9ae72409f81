"""Segmentations as Slicer writes them (.seg.nrrd): layers of segments, cropped to what they hold.

Segments that overlap lie in layers of their own, and each layer has its own label values: 1 in
the first and 1 in the second are two segments. Fields of the header say which is which. The
origin of a cropped image is that of its own first voxel.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK

from mois_core.errors import BadInput
from mois_core.geometry import Volume, same_grid
from mois_core.io.images import quiet

_SEGMENTATION_FIELDS = (
    "Segmentation_MasterRepresentation",
    "Segmentation_SourceRepresentation",
    "Segmentation_ContainedRepresentationNames",
    "Segmentation_ReferenceImageExtentOffset",
)
_EMPTY = (1, 1, 1)
"""Size of the image in the file of a segmentation without any voxel."""

NameAndColour = tuple[str, tuple[float, float, float] | None]
"""A segment's name, and its colour as red, green and blue from 0 to 1 if it has one."""


def is_segmentation(image: SimpleITK.Image) -> bool:
    """Return whether an image has the header fields of a segmentation."""
    return any(image.HasMetaDataKey(key) for key in ("Segment0_ID", *_SEGMENTATION_FIELDS))


def merged_layers(image: SimpleITK.Image, path: Path) -> np.ndarray:
    """Return the label values [k, j, i] of a segmentation in several layers.

    Where segments overlap, the later one wins. Segments keep their label values if no two have the
    same; otherwise they are numbered from 1 in their order.
    """
    if image.GetDimension() != 3:
        raise BadInput(f"{path} is a segmentation of {image.GetDimension()} dimensions, not of 3.")
    layers = SimpleITK.GetArrayFromImage(image)  # [k, j, i, layer]
    segments = _segments(image, path)
    values = _label_values(segments)
    merged = np.zeros(layers.shape[:3], dtype=np.int64)
    known = np.zeros(layers.shape, dtype=bool)
    for (layer, in_layer), value in zip(segments, values, strict=True):
        if not 0 <= layer < layers.shape[3]:
            raise BadInput(f"{path} is damaged: a segment lies in a layer that is not there.")
        mask = layers[..., layer] == in_layer
        merged[mask] = value
        known[..., layer] |= mask
    if (layers[~known] != 0).any():
        raise BadInput(f"{path} is damaged: it has voxels that belong to no segment.")
    return merged


def read_segment_names(path: Path) -> dict[int, NameAndColour]:
    """Return what the segments in a file are called, by their label values as they are read.

    An image that is no segmentation has none.
    """
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet():
            reader.ReadImageInformation()
    except RuntimeError:  # a DICOM folder, say
        return {}
    values = _label_values(_segments(reader, path))
    return {value: _name_and_colour(reader, n) for n, value in enumerate(values)}


def _name_and_colour(image: SimpleITK.ImageFileReader, n: int) -> NameAndColour:
    name, text = (
        image.GetMetaData(key) if image.HasMetaDataKey(key) else ""
        for key in (f"Segment{n}_Name", f"Segment{n}_Color")
    )
    try:
        red, green, blue = (min(max(float(part), 0.0), 1.0) for part in text.split())
    except ValueError:
        return name, None
    return name, (red, green, blue)


def _label_values(segments: list[tuple[int, int]]) -> list[int]:
    """Return the label value by which each segment is known in a label map of all layers."""
    own = [value for _, value in segments]
    return own if len(set(own)) == len(own) else list(range(1, len(own) + 1))


def _segments(
    image: SimpleITK.Image | SimpleITK.ImageFileReader, path: Path
) -> list[tuple[int, int]]:
    """Return layer and label value of each segment; old versions of Slicer left both out."""
    segments: list[tuple[int, int]] = []
    while image.HasMetaDataKey(f"Segment{len(segments)}_ID"):
        n = len(segments)
        texts = [
            image.GetMetaData(key) if image.HasMetaDataKey(key) else missing
            for key, missing in ((f"Segment{n}_Layer", str(n)), (f"Segment{n}_LabelValue", "1"))
        ]
        try:
            layer, value = (int(text) for text in texts)
        except ValueError as error:
            raise BadInput(f"{path} is damaged: a segment has no layer or label value.") from error
        segments.append((layer, value))
    return segments


def put_on_grid(labels: Volume, grid: Volume) -> Volume:
    """Return cropped labels in their place on a grid, or as they are if they do not fit there.

    They fit if their voxels are voxels of the grid, and none outside of it is labelled.
    """
    if same_grid(labels, grid):
        return labels
    placed = np.zeros(grid.array.shape, dtype=labels.array.dtype)
    if labels.array.shape == _EMPTY and not labels.array.any():
        return Volume(placed, grid.ijk_to_ras)
    offset = np.round((grid.ras_to_ijk @ labels.ijk_to_ras)[:3, 3]).astype(int)
    moved = grid.ijk_to_ras.copy()
    moved[:3, 3] = (grid.ijk_to_ras @ (*offset, 1))[:3]
    if not same_grid(labels, Volume(labels.array, moved)):
        return labels
    inside, outside = [], []
    for start, size, room in zip(
        offset[::-1].tolist(), labels.array.shape, grid.array.shape, strict=True
    ):
        first, last = max(start, 0), min(start + size, room)
        inside.append(slice(first, max(first, last)))
        outside.append(slice(first - start, max(first, last) - start))
    part = labels.array[tuple(outside)]
    if np.count_nonzero(part) != np.count_nonzero(labels.array):
        return labels
    placed[tuple(inside)] = part
    return Volume(placed, grid.ijk_to_ras)

"""The UIDs of lesions in segmentation files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import SimpleITK

from mois_core.geometry import Volume
from mois_core.io.images import quiet
from mois_core.io.segmentation import Segment, write_segmentation
from mois_core.results.lesion_uids import TAG

_UID = re.compile(r"(?=.{1,64}$)[0-2](\.(0|[1-9]\d*))+")
"""What DICOM takes for one; other programs may write anything into a tag."""


def read_uids(path: Path) -> dict[int, str]:
    """Return the UIDs of lesions in a segmentation by label value; other files have none."""
    try:
        with quiet():
            reader = SimpleITK.ImageFileReader()
            reader.SetFileName(str(path))
            reader.ReadImageInformation()
    except RuntimeError:  # a DICOM folder, say
        return {}
    return uids_in(reader)


def uids_in(header: SimpleITK.ImageFileReader | SimpleITK.Image) -> dict[int, str]:
    """Return the UIDs by label value that a header tells.

    Segments that share a label value, in several layers, have none, nor have those that share a
    UID, as a segment and its copy do.
    """
    found: dict[int, str] = {}
    shared = set()
    n = 0
    while header.HasMetaDataKey(f"Segment{n}_ID"):
        texts = {
            key: header.GetMetaData(f"Segment{n}_{key}")
            for key in ("LabelValue", "Tags")
            if header.HasMetaDataKey(f"Segment{n}_{key}")
        }
        tags = dict(part.partition(":")[::2] for part in texts.get("Tags", "").split("|"))
        value = texts.get("LabelValue", "")
        if value.isdecimal():
            shared |= {int(value)} & found.keys()
            if _UID.fullmatch(tags.get(TAG, "")):
                found[int(value)] = tags[TAG]
        n += 1
    times = Counter(found.values())
    return {n: uid for n, uid in found.items() if n not in shared and times[uid] == 1}


def write_with_uids(
    path: Path, volume: Volume, labels: np.ndarray, segments: list[Segment], uids: Mapping[int, str]
) -> None:
    """Write a segmentation whose segments tell which lesions they are."""
    write_segmentation(path, volume, labels, segments, {n: {TAG: uid} for n, uid in uids.items()})

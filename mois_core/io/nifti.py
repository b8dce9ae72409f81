"""Check of NIfTI files for what ITK forgives in silence.

ITK fills the missing half of a truncated file with zeros, and puts zeros in the place of values
that are no finite numbers. Neither may go into a measurement without a word.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK

from mois_core.errors import BadInput

_BLOCK = 1 << 20
_HEADER_SIZES = (348, 540)
_FLOATS = {16: "f4", 64: "f8"}
"""Stored types of real numbers that have NaN and infinity, by NIfTI's code."""


def check_nifti(path: Path, reader: SimpleITK.ImageFileReader) -> np.ndarray:
    """Refuse a NIfTI file that is incomplete; return which of its values are no finite numbers.

    `reader` has read the header. Values are counted as they are stored, which is the order of a
    flattened array [k, j, i].
    """
    start = int(float(reader.GetMetaData("vox_offset")))
    count = math.prod(reader.GetSize()) * reader.GetNumberOfComponents()
    expected = start + count * int(reader.GetMetaData("bitpix")) // 8
    kind = _FLOATS.get(int(reader.GetMetaData("datatype")))
    data_file = path.with_suffix(".img") if path.suffix.lower() == ".hdr" else path
    try:
        if kind is None:
            size = _size(data_file)
            not_finite = np.zeros(0, dtype=np.int64)
        else:
            size, not_finite = _find_not_finite(path, data_file, start, count, np.dtype(kind))
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"{path} is damaged or incomplete; copy or export it again.") from error
    if size < expected:
        raise BadInput(
            f"{path} is incomplete: {size} of {expected} bytes are there; copy or export it again."
        )
    return not_finite


def _is_compressed(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _size(path: Path) -> int:
    if not _is_compressed(path):
        return path.stat().st_size
    return sum(len(block) for block in _blocks(path))


def _blocks(path: Path) -> Iterator[bytes]:
    """Yield what a file holds, uncompressed. At its end gzip also compares its checksum."""
    with gzip.open(path) if _is_compressed(path) else open(path, "rb") as file:
        yield from iter(lambda: file.read(_BLOCK), b"")


def _find_not_finite(
    path: Path, data_file: Path, start: int, count: int, kind: np.dtype
) -> tuple[int, np.ndarray]:
    header = next(_blocks(path), b"")[:4]
    if int.from_bytes(header, "little") not in _HEADER_SIZES:
        kind = kind.newbyteorder(">")
    size, found, rest = 0, [], b""
    for block in _blocks(data_file):
        values = rest + block[max(start - size, 0) :]
        size += len(block)
        whole = len(values) // kind.itemsize * kind.itemsize
        first = (size - start - len(values)) // kind.itemsize
        numbers = np.frombuffer(values[:whole], dtype=kind)
        found.append(first + np.flatnonzero(~np.isfinite(numbers)))
        rest = values[whole:]
    positions = np.concatenate(found) if found else np.zeros(0, dtype=np.int64)
    return size, positions[positions < count]

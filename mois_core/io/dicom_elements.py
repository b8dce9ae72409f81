"""Read the elements of a DICOM file that lie in sequences.

An enhanced (multi-frame) file says in nested sequences where each of its frames lies. SimpleITK
hands out top-level elements only, and GDCM below it takes the first frame's for all of them. So
these few elements are read here; pixels, with all their compressions, stay with GDCM.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Collection
from pathlib import Path

Elements = dict[int, "bytes | list[Elements]"]
"""Values by tag, group before element: bytes as they are stored, or the items of a sequence."""

_MAGIC_OFFSET = 128
_MAGIC = b"DICM"
_TRANSFER_SYNTAX = 0x0002_0010
_IMPLICIT = b"1.2.840.10008.1.2"
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_BIG_ENDIAN = b"1.2.840.10008.1.2.2"

_PIXELS = 0x7FE0_0008
"""The first of the elements that hold pixels; nothing that is looked for comes after them."""
_AFTER_META = 0x0003_0000
"""Elements below describe the file itself, and are explicit in every file."""
_ITEM, _END_OF_ITEM, _END_OF_SEQUENCE = 0xFFFE_E000, 0xFFFE_E00D, 0xFFFE_E0DD
_UNDEFINED = 0xFFFF_FFFF
_WITH_LONG_LENGTH = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_KNOWN_SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_DEEPEST = 16
"""Deeper nesting than in any kind of image; a damaged file must not exhaust the stack."""


class UnreadableElements(ValueError):
    """A file that does not follow the rules of DICOM, or one of a kind that is not read."""


def is_dicom(path: Path) -> bool:
    """Return whether a file begins as DICOM files do."""
    try:
        with open(path, "rb") as file:
            return file.read(_MAGIC_OFFSET + len(_MAGIC))[_MAGIC_OFFSET:] == _MAGIC
    except OSError:  # a dead link, a file of somebody else's
        return False


def read_elements(path: Path, sequences: Collection[int]) -> Elements:
    """Read everything before the pixels; of the sequences, those that are named.

    Other sequences are passed over, so that what vendors add costs neither memory nor time.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _read_file(data, frozenset(sequences))
    except (struct.error, IndexError, OSError, ValueError, zlib.error) as error:
        raise UnreadableElements("the file's elements do not follow one another") from error


def _read_file(data: mmap.mmap, sequences: frozenset[int]) -> Elements:
    start = _MAGIC_OFFSET + len(_MAGIC)
    if data[_MAGIC_OFFSET:start] != _MAGIC:
        raise UnreadableElements("the file does not begin as DICOM files do")
    end = len(data)
    meta, body = _Parser(data, frozenset(), _AFTER_META).elements(start, end, explicit=True)
    syntax = bytes(meta.get(_TRANSFER_SYNTAX, b"")).rstrip(b"\0 ")
    if syntax == _BIG_ENDIAN:
        raise UnreadableElements("the file's bytes are in the retired order")
    if syntax == _DEFLATED:
        inflated = zlib.decompress(data[body:], -zlib.MAX_WBITS)
        return _Parser(inflated, sequences).elements(0, len(inflated), explicit=True)[0]
    return _Parser(data, sequences).elements(body, end, explicit=syntax != _IMPLICIT)[0]


class _Parser:
    """The elements in a block of little-endian bytes, up to the first with a tag from `stop` on."""

    def __init__(
        self, data: mmap.mmap | bytes, sequences: frozenset[int], stop: int = _PIXELS
    ) -> None:
        self._data = data
        self._sequences = sequences
        self._stop = stop

    def elements(
        self, start: int, end: int, explicit: bool, depth: int = 0
    ) -> tuple[Elements, int]:
        """Read elements up to `end`, the end of their item, or `stop`; return where that is."""
        if depth > _DEEPEST:
            raise UnreadableElements("sequences lie in one another without end")
        found: Elements = {}
        position = start
        while position < end:
            tag = self._tag(position)
            if tag == _END_OF_ITEM:
                return found, position + 8
            if depth == 0 and tag >= self._stop:
                return found, position
            kind, length, position = self._header(position, explicit)
            # What another program did not know it stored as UN, and what is in it implicitly.
            inner_explicit = explicit and kind != b"UN"
            if tag in self._sequences and kind not in (b"", b"SQ", b"UN"):
                raise UnreadableElements("a sequence is stored as something else")
            if length == _UNDEFINED and kind in (b"OB", b"OW"):  # a compressed icon
                position = self._after_fragments(position)
            elif length == _UNDEFINED:
                items, position = self._items(position, end, inner_explicit, True, depth)
                if tag in self._sequences:
                    found[tag] = items
            elif position + length > end:
                raise UnreadableElements("an element is longer than the file")
            elif tag in self._sequences:
                sequence_end = position + length
                found[tag], position = self._items(
                    position, sequence_end, inner_explicit, False, depth
                )
            else:
                if kind != b"SQ":
                    found[tag] = self._data[position : position + length]
                position += length
        return found, position

    def _items(
        self, start: int, end: int, explicit: bool, is_delimited: bool, depth: int
    ) -> tuple[list[Elements], int]:
        """Read the items of a sequence; return them and where the sequence ends."""
        items = []
        position = start
        while position < end:
            tag, (length,) = self._tag(position), struct.unpack_from("<I", self._data, position + 4)
            position += 8
            if is_delimited and tag == _END_OF_SEQUENCE:
                return items, position
            if tag != _ITEM:
                raise UnreadableElements("a sequence holds something that is no item")
            item_end = end if length == _UNDEFINED else position + length
            if item_end > end:
                raise UnreadableElements("an item is longer than its sequence")
            item, position = self.elements(position, item_end, explicit, depth + 1)
            items.append(item)
        if is_delimited:
            raise UnreadableElements("a sequence does not end")
        return items, position

    def _after_fragments(self, position: int) -> int:
        while self._tag(position) == _ITEM:
            (length,) = struct.unpack_from("<I", self._data, position + 4)
            position += 8 + length
        return position + 8

    def _tag(self, position: int) -> int:
        group, element = struct.unpack_from("<HH", self._data, position)
        return group << 16 | element

    def _header(self, position: int, explicit: bool) -> tuple[bytes, int, int]:
        """Return the kind of a value (VR; empty if implicit), its length and where it begins."""
        if not explicit:
            (length,) = struct.unpack_from("<I", self._data, position + 4)
            return b"", length, position + 8
        kind = self._data[position + 4 : position + 6]
        if kind in _WITH_LONG_LENGTH:
            (length,) = struct.unpack_from("<I", self._data, position + 8)
            return kind, length, position + 12
        if kind not in _KNOWN_SHORT:
            raise UnreadableElements("an element is of a kind that DICOM does not know")
        (length,) = struct.unpack_from("<H", self._data, position + 6)
        return kind, length, position + 8

"""Scans with known lesions, sessions on them, and ways to say what a session holds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields

import numpy as np
import torch
from stub_network import StubNetwork

from mois_core.geometry import Volume
from mois_core.network.model_info import ModelInfo
from mois_core.session import Session
from mois_core.session.lesion import Lesion, Origin, Painting, SliceMemory
from mois_core.session.masks import Mask, Plane
from mois_core.session.state import Settings, State

SIDE = 32
"""Rows and columns of the scans, one for each pixel of the stub network's masks."""

CORONAL = np.array([[-0.62, 0, 0, 0], [0, 0, 7.8, 0], [0, -0.62, 0, 0], [0, 0, 0, 1]])
"""Of a volume stored as its coronal slices are seen: k is the slice, j the row, i the column."""

BACKGROUND, LESION, OTHER = 20, 180, 110
"""Brightness of the body, of the lesions meant, and of what looks different."""


@dataclass(frozen=True)
class Block:
    """A box-edited lesion: slices, rows and columns, the last ones not included."""

    slices: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]
    brightness: int = LESION

    @property
    def where(self) -> tuple[slice, slice, slice]:
        return tuple(slice(*extent) for extent in (self.slices, self.rows, self.columns))

    @property
    def voxels(self) -> int:
        return int(
            np.prod([last - first for first, last in (self.slices, self.rows, self.columns)])
        )

    @property
    def middle(self) -> tuple[int, int, int]:
        """Slice, row and column of a voxel in the middle."""
        return tuple((first + last) // 2 for first, last in (self.slices, self.rows, self.columns))


FIRST = Block((3, 8), (6, 13), (5, 12))
SECOND = Block((4, 7), (20, 27), (4, 10))
THIRD = Block((9, 11), (8, 12), (22, 27))
OTHER_KIND = Block((3, 9), (20, 27), (20, 27), OTHER)
TINY = Block((1, 2), (16, 18), (16, 18))
SCENE = (FIRST, SECOND, THIRD, OTHER_KIND, TINY)


def scan_of(*blocks: Block, slices: int = 12) -> np.ndarray:
    """A scan [slices, rows, columns] in which brightness stays as it is when normalised.

    A dark and a bright row at the top are what the percentiles are taken from.
    """
    scan = np.full((slices, SIDE, SIDE), BACKGROUND, dtype=np.int16)
    for block in blocks:
        scan[block.where] = block.brightness
    scan[:, 0], scan[:, 1] = 255, 1
    return scan


def volume_of(stack: np.ndarray) -> Volume:
    """A volume that is seen as exactly these slices."""
    return Volume(stack, CORONAL)


def stub_session(*blocks: Block, slices: int = 12, reference: bool = False, **how) -> Session:
    """A session on a scan with the given lesions (all of them by default) and the stub network."""
    scan = scan_of(*(blocks or SCENE), slices=slices)
    info = ModelInfo("stub", "stub.pt", "0" * 64)
    return Session(StubNetwork(), volume_of(scan), Settings(**how), reference, info)


def ras(session: Session, number: int, row: float, column: float) -> np.ndarray:
    """The place of a pixel in the patient."""
    return session.stack.point_to_ras(number, column, row)


def click_on(session: Session, block: Block, **how) -> int:
    """Click into the middle of a lesion."""
    return session.click(ras(session, *block.middle), **how)


def stack_of(session: Session, number: int) -> np.ndarray:
    """A lesion's mask [slices, rows, columns]."""
    return session.stack.from_volume(session.mask(number))


def painted(block: Block, slices: int = 12) -> np.ndarray:
    """A block as a mask [slices, rows, columns]."""
    stack = np.zeros((slices, SIDE, SIDE), dtype=bool)
    stack[block.where] = True
    return stack


def is_exactly(session: Session, number: int, block: Block) -> bool:
    """Whether a lesion's mask is a block, voxel for voxel."""
    return np.array_equal(stack_of(session, number), painted(block, session.stack.count))


def digest(value: object) -> str:
    """What a state, a lesion, a mask or a memory holds, down to the last bit, as a short text."""
    sha = hashlib.sha256()
    _feed(sha, value)
    return sha.hexdigest()


def _feed(sha, value: object) -> None:
    if isinstance(value, torch.Tensor):
        value = value.contiguous().view(torch.uint8).numpy()
    if isinstance(value, np.ndarray):
        sha.update(repr((value.shape, value.dtype)).encode() + value.tobytes())
    elif isinstance(value, (State, Lesion, SliceMemory, Origin, Painting)):
        for one in fields(value):
            sha.update(one.name.encode())
            _feed(sha, getattr(value, one.name))
    elif isinstance(value, Mask):
        for slice_index, plane in value:
            _feed(sha, (slice_index, plane))
    elif isinstance(value, Plane):
        _feed(sha, (value.row, value.column, value.pixels))
    elif hasattr(value, "items"):
        for key, item in value.items():
            _feed(sha, (key, item))
    elif isinstance(value, tuple):
        sha.update(f"({len(value)}".encode())
        for item in value:
            _feed(sha, item)
    elif isinstance(value, frozenset):
        _feed(sha, tuple(sorted(value)))
    elif hasattr(value, "view") and hasattr(value, "changed"):
        _feed(sha, (value.lesion, value.changed, *vars(value.view).values()))
    else:
        sha.update(repr(value).encode())

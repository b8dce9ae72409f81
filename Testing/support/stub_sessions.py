"""Sessions on the scans of `engine_fixtures`, and ways to say what a session holds."""

from __future__ import annotations

import hashlib
from dataclasses import fields

import numpy as np
import torch
from engine_fixtures import SCENE, Block, painted, scan_of, volume_of
from stub_network import StubNetwork

from mois_core.network.model_info import ModelInfo
from mois_core.session import Session
from mois_core.session.lesion import Absorbed, Lesion, Origin, Painting, SliceMemory
from mois_core.session.masks import Mask, Plane
from mois_core.session.state import Settings, State


def stub_session(*blocks: Block, slices: int = 12, reference: bool = False, **how) -> Session:
    """Return a session of the stub network on a scan with the given lesions, or else all."""
    scan = scan_of(*(blocks or SCENE), slices=slices)
    info = ModelInfo("stub", "stub.pt", "0" * 64)
    return Session(StubNetwork(), volume_of(scan), Settings(**how), reference, info)


def ras(session: Session, slice_index: int, row: float, column: float) -> np.ndarray:
    """Return the place of a pixel in the patient."""
    return session.stack.point_to_ras(slice_index, column, row)


def click_on(session: Session, block: Block, **how) -> int:
    """Click into the middle of a lesion and return its id."""
    return session.click(ras(session, *block.middle), **how)


def stack_of(session: Session, lesion_id: int) -> np.ndarray:
    """Return a lesion's mask [slices, rows, columns]."""
    return session.stack.from_volume(session.mask(lesion_id))


def is_exactly(session: Session, lesion_id: int, block: Block) -> bool:
    """Return whether a lesion's mask is a block, voxel for voxel."""
    return np.array_equal(stack_of(session, lesion_id), painted(block, session.stack.count))


def digest(value: object) -> str:
    """Return a checksum of a state, a lesion, a mask or a memory, down to the last bit."""
    sha = hashlib.sha256()
    _feed(sha, value)
    return sha.hexdigest()


def _feed(sha, value: object) -> None:
    if isinstance(value, torch.Tensor):
        value = value.contiguous().view(torch.uint8).numpy()
    if isinstance(value, np.ndarray):
        sha.update(repr((value.shape, value.dtype)).encode() + value.tobytes())
    elif isinstance(value, (State, Lesion, SliceMemory, Origin, Painting, Absorbed)):
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

"""Any scan that a session may be opened on, and any settings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from random import Random

import numpy as np
from engine_fixtures import CORONAL, LESION, OTHER, Block, scan_of
from orientations import STORAGE_ORDERS, stored_as

from mois_core.geometry import SliceStack, Volume
from mois_core.session.state import Settings

BLOCKS = (
    Block((1, 6), (6, 13), (5, 12)),
    Block((2, 5), (20, 27), (4, 10)),
    Block((5, 7), (8, 12), (22, 27), LESION + 16),
    Block((1, 7), (20, 27), (20, 27), OTHER),
)
"""Lesions on a scan of `BLOCKS_SLICES`; on others their slices are in proportion."""
BLOCKS_SLICES = 8

SLICES = {7.8: (6, 9), 2.0: (10, 14), 1.0: (16, 20)}
"""How many slices a scan has at least and at most, by their thickness in mm."""
FEW_SLICES = {7.8: (3, 4), 2.0: (4, 5)}
"""The same for networks that take seconds for a slice."""

LARGEST_TILT = np.radians(30)


@dataclass(frozen=True, eq=False)
class Case:
    """A scan with lesions in known places."""

    volume: Volume
    blocks: tuple[Block, ...]
    """In slices, rows and columns of `stack`."""

    @cached_property
    def stack(self) -> SliceStack:
        """The coronal slices, whichever ones a session works on."""
        return SliceStack(self.volume)


def any_case(random: Random, is_large: bool = False) -> Case:
    """Return a scan with thick or thin slices, stored in any order, straight or oblique."""
    thickness, (fewest, most) = random.choice(list((FEW_SLICES if is_large else SLICES).items()))
    slices = random.randint(fewest, most)
    size = {"rows": random.randint(28, 36), "columns": random.randint(28, 36)}
    blocks = tuple(_in_proportion(block, slices) for block in BLOCKS)
    affine = CORONAL.copy()
    affine[:3] *= np.where(np.abs(CORONAL[:3]) > 1, thickness / 7.8, 1)
    affine[:3, 3] = [random.uniform(-500, 500) for _ in range(3)]
    if random.random() < 0.5:
        affine[:3] = _rotation(random) @ affine[:3]
    scan = scan_of(*blocks, slices=slices, **size)
    volume = stored_as(Volume(scan, affine), *random.choice(STORAGE_ORDERS))
    case = Case(Volume(np.ascontiguousarray(volume.array), volume.ijk_to_ras), blocks)
    assert np.array_equal(case.stack.array, scan)
    return case


def _in_proportion(block: Block, slices: int) -> Block:
    first, last = (round(n * slices / BLOCKS_SLICES) for n in block.slices)
    return replace(block, slices=(first, max(last, first + 1)))


def _rotation(random: Random) -> np.ndarray:
    """Return a rotation about any axis, by less than what would turn one view into another."""
    axis = np.array([random.gauss(0, 1) for _ in range(3)])
    x, y, z = axis / np.linalg.norm(axis)
    across = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = random.uniform(-LARGEST_TILT, LARGEST_TILT)
    return np.eye(3) + np.sin(angle) * across + (1 - np.cos(angle)) * across @ across


def any_settings(random: Random, is_large: bool = False) -> Settings:
    """Return settings of which each may be anything that makes sense."""
    return Settings(
        axis="coronal" if is_large else random.choice(["coronal"] * 4 + ["sagittal", "axial"]),
        propagation_mm=random.choice([0, 8, 24]),
        propagation_slices=random.choice([0, 1] if is_large else [None, None, 0, 1, 3]),
        exemplars=random.randint(1, 10),
        smallest_cm3=random.choice([0, 0.01, 0.1]),
        fill_holes=random.random() < 0.5,
        findings=random.choice(["components", "reprompted"]),
        min_confidence=random.choice([None, 0, 0.3, 1]),
        absorb=random.random() < 0.6,
        connected=random.random() < 0.6,
        learn_from_rejections=random.random() < 0.7,
        accepted_as_exemplars=random.random() < 0.4,
        gate=random.random() < 0.5,
        **any_budgets(random),
        heed_clicks=random.random() < 0.6,
        grey_window=random.choice([None, None, (0.0, 500.0), (-100.0, 2000.0)]),
    )


def any_budgets(random: Random) -> dict[str, int | None]:
    """Return memory budgets: as much as there is, some, or none at all."""
    return {
        "device_budget": random.choice([None, 2**22, 2**20, 0]),
        "host_budget": random.choice([None, None, 2**22, 0]),
        "undo_budget": random.choice([None, None, None, 2**18, 0]),
    }

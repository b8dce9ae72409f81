"""A small patient at three visits, in memory."""

from __future__ import annotations

import pytest
from follow_up_visits import SEED, SMALL

from mois_core.phantom import make_follow_up, make_phantom


@pytest.fixture(scope="session")
def visits():
    """Phantoms of three visits, and what became of lesions at the second and the third."""
    first = make_phantom(SEED, **SMALL)
    second, changes = make_follow_up(first, 1, posture=0.7, merge=1, split_off=1)
    third, later_changes = make_follow_up(second, 2, posture=0.7)
    return (first, second, third), (changes, later_changes)

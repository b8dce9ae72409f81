"""Fixtures of the trainer's tests."""

from __future__ import annotations

import pytest
from training_fixtures import blobs

from mois_core.training.resized_case import ResizedCase


@pytest.fixture(scope="module")
def scans() -> list[ResizedCase]:
    """Three scans of squares."""
    return [blobs(seed) for seed in range(3)]

"""Fixtures for tests of sessions."""

from __future__ import annotations

import pytest
from stub_sessions import stub_session

from mois_core.session import Session


@pytest.fixture
def session() -> Session:
    """A session of the stub network on the scan with all lesions, before the first click."""
    return stub_session()

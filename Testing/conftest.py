"""What tests ask for by name."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def one_thread():
    """One thread for arithmetic so small that starting others takes longer than the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

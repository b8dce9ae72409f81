"""A session file that an earlier version wrote opens, and work goes on from it."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from engine_fixtures import SCENE, scan_of, volume_of
from paths import DATA
from session_days import the_next_day
from stub_network import StubNetwork

from mois_core.network.model_info import ModelInfo
from mois_core.session import Session
from mois_core.session.session_file import restore, to_bytes

EARLIER = DATA / "earlier"
INFO = ModelInfo("stub", "stub.pt", "0" * 64)

pytestmark = pytest.mark.usefixtures("one_thread")


def told(session: Session) -> dict:
    """What a session holds, in terms that no version changes."""
    return {
        "labels": sha256(session.labels()),
        "lesions": [
            [le.id, le.status.value, le.name, len(le.clicks), sha256(session.mask(le.id))]
            for le in session.lesions
        ],
    }


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


@pytest.fixture
def expected() -> dict:
    return json.loads((EARLIER / "session-1.json").read_text(encoding="utf-8"))


@pytest.fixture
def restored() -> Session:
    return restore(EARLIER / "session-1.zip", StubNetwork(), volume_of(scan_of(*SCENE)), INFO)


def test_an_earlier_file_holds_what_was_saved(restored, expected):
    assert told(restored) == expected["restored"]
    assert restored.settings.propagation_slices == expected["settings"]["window"]
    assert restored.settings.min_confidence == expected["settings"]["certainty"]
    assert len(restored.state.imported) == 1


def test_work_goes_on_as_it_would_have_then(restored, expected):
    assert told(the_next_day(restored)) == expected["continued"]


def test_an_earlier_file_that_is_saved_again_is_a_file_of_today(restored, expected):
    again = restore(to_bytes(restored), restored.model, restored.volume, INFO)

    assert told(again) == expected["restored"]

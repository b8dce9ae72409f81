"""Whatever a user does in whatever order, the session stays sound.

This is the quick part; ``python Testing/session_fuzz.py`` does thousands of operations.
"""

from __future__ import annotations

import inspect
from collections import Counter
from dataclasses import fields
from itertools import compress
from random import Random

import pytest
from fuzz_life import Life
from fuzz_scans import any_case, any_settings
from fuzz_user import AnyUser
from small_networks import MOIS, SAM, SLM, lively
from stub_network import any_stub

from mois_core.session import Session
from mois_core.session.state import Settings

pytestmark = pytest.mark.usefixtures("one_thread")

LIVES, LENGTH = 10, 40

LOOKING = {"exemplars_for", "labels", "lesion", "mask"}
"""What only looks at a session, which the invariants do after every operation."""


def public_operations() -> set[str]:
    methods = inspect.getmembers(Session, inspect.isfunction)
    return {name for name, _ in methods if not name.startswith("_")} - LOOKING


@pytest.mark.parametrize("seed", range(LIVES))
def test_any_sequence_of_operations_keeps_the_session_sound(seed):
    Life(seed, any_stub(seed)).live(LENGTH)


@pytest.mark.parametrize("config", [MOIS, SLM, SAM], ids=["MOIS-SAM2", "SLM-SAM 2", "SAM 2.1"])
def test_any_sequence_of_operations_keeps_a_session_of_a_real_network_sound(config):
    Life(1, lively(config)).live(LENGTH // 3)


def test_no_operation_of_a_session_is_left_out():
    assert set(AnyUser.operations()) == public_operations()


def test_every_operation_succeeds_now_and_then_and_every_disturbance_happens():
    done, outcomes = Counter(), Counter()
    for seed in range(100, 106):
        life = Life(seed, any_stub(seed))
        for _ in range(LENGTH):
            life.step()
        done += life.successes
        outcomes += life.outcomes

    assert set(done) == public_operations()
    happened = {"done", "refused", "cancelled", "the same undisturbed", "the same reopened"}
    assert set(outcomes) == happened | {"taken back"}
    assert outcomes["refused"] + outcomes["cancelled"] < outcomes["done"]


def test_every_setting_is_tried_with_different_values():
    tried = [any_settings(Random(seed)) for seed in range(100)]

    for setting in fields(Settings):
        values = {getattr(settings, setting.name) for settings in tried}
        assert len(values) > 1, f"{setting.name} is always {values}"


def test_scans_are_thick_and_thin_straight_and_oblique_and_stored_in_any_order():
    volumes = [any_case(Random(seed)).volume for seed in range(300)]
    axes = [volume.ijk_to_ras[:3, :3] / volume.spacing for volume in volumes]
    straight = [abs(abs(one).max(axis=0) - 1).max() < 1e-6 for one in axes]
    orders = {tuple(one.round().ravel()) for one in compress(axes, straight)}

    assert {round(max(volume.spacing), 1) for volume in volumes} == {1.0, 2.0, 7.8}
    assert 100 < sum(straight) < 200
    assert len(orders) > 40

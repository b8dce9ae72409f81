"""Which of its own memories a lesion sees on the next slice, and where it is propagated to."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mois_core.session.memory_bank import (
    select_memories,
    select_pointers,
    select_recent,
)
from mois_core.session.propagation import around_every_prompt, around_first_prompt

PROMPTED = {5: "prompted 5", 9: "prompted 9"}
PROPAGATED = {n: f"propagated {n}" for n in (3, 4, 6, 7, 8, 10)}


# ---- what is seen ------------------------------------------------------------------------------


def test_all_prompted_maps_are_seen_and_the_nearest_propagated_ones_from_behind():
    assert select_memories(PROMPTED, PROPAGATED, 11, False, memories=4) == [
        (3, "prompted 5"),
        (3, "prompted 9"),
        (2, "propagated 8"),
        (0, "propagated 10"),
    ]
    assert select_memories(PROMPTED, PROPAGATED, 2, True, memories=3) == [
        (2, "prompted 5"),
        (2, "prompted 9"),
        (1, "propagated 4"),
        (0, "propagated 3"),
    ]


def test_propagated_maps_in_front_are_not_seen():
    assert select_memories({5: "prompted 5"}, {7: "propagated 7"}, 6, False, 7) == [
        (6, "prompted 5")
    ]
    assert select_memories({5: "prompted 5"}, {7: "propagated 7"}, 6, True, 7) == [
        (6, "prompted 5"),
        (0, "propagated 7"),
    ]


def test_prompted_pointers_are_seen_from_behind_only_with_their_distances():
    assert select_pointers(PROMPTED, {}, 7, False, 20, 16) == [(2, "prompted 5")]
    assert select_pointers(PROMPTED, {}, 7, True, 20, 16) == [(2, "prompted 9")]
    assert select_pointers(PROMPTED, {}, 9, False, 20, 16) == [(4, "prompted 5"), (0, "prompted 9")]


@pytest.mark.parametrize(("slices", "reach"), [(3, 2), (16, 15), (100, 15)])
def test_propagated_pointers_are_seen_as_far_as_the_scan_and_the_limit_go(slices, reach):
    propagated = {n: n for n in range(60)}

    assert select_pointers({}, propagated, 50, False, slices, 16) == [
        (d, 50 - d) for d in range(1, reach + 1)
    ]


def test_a_scan_of_one_slice_has_no_propagated_pointers():
    assert select_pointers({0: "p"}, {}, 0, False, 1, 16) == [(0, "p")]


def test_the_short_memory_sees_only_what_is_near_prompted_or_not():
    assert select_recent(PROMPTED, PROPAGATED, 11, False, 2) == [
        (1, "propagated 10"),
        (2, "prompted 9"),
    ]
    assert select_recent(PROMPTED, PROPAGATED, 2, True, 3) == [
        (1, "propagated 3"),
        (2, "propagated 4"),
        (3, "prompted 5"),
    ]
    assert select_recent(PROMPTED, PROPAGATED, 20, False, 7) == []


# ---- where a lesion is propagated to -----------------------------------------------------------

prompts = st.sets(st.integers(0, 19), min_size=1, max_size=5)
distances = st.integers(0, 25)


@given(prompts, st.sets(st.integers(0, 19), max_size=4), distances)
@settings(max_examples=200, deadline=None)
def test_every_slice_near_a_prompt_is_a_target_once_and_fixed_ones_never(prompted, drawn, reach):
    fixed = prompted | drawn
    targets = [t for own in around_every_prompt(prompted, fixed, reach, 20) for t in own]

    near = {n for n in range(20) if any(abs(n - p) <= reach for p in prompted)}
    assert sorted(t.slice for t in targets) == sorted(near - fixed)
    for target in targets:
        assert target.source in prompted
        assert target.reverse == (target.slice < target.source)
        assert abs(target.slice - target.source) == min(abs(target.slice - p) for p in prompted)


@given(prompts, distances)
@settings(max_examples=100, deadline=None)
def test_targets_come_in_rounds_of_growing_distance(prompted, reach):
    for distance, own in enumerate(around_every_prompt(prompted, prompted, reach, 20), start=1):
        assert all(abs(t.slice - t.source) == distance for t in own)


@given(prompts, distances)
@settings(max_examples=100, deadline=None)
def test_the_published_app_goes_up_and_then_down_from_the_first_prompt_only(prompted, reach):
    rounds = around_first_prompt(prompted, prompted, reach, 20)
    first = min(prompted)
    up = [n for n in range(first + 1, min(first + reach, 19) + 1) if n not in prompted]
    down = [n for n in range(first - 1, max(first - reach, 0) - 1, -1) if n not in prompted]

    assert [[t.slice for t in own] for own in rounds] == [[n] for n in up + down]
    assert all(t.source == first for own in rounds for t in own)

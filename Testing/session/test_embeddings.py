"""Slices are encoded once, nearest first, and kept as long as the budget allows."""

from __future__ import annotations

import math

import pytest
import torch
from engine_fixtures import FIRST, SECOND
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import MOIS, lively, some_slices
from stub_network import STUB, StubNetwork
from stub_sessions import click_on, digest, is_exactly, stub_session

from mois_core.errors import Cancelled
from mois_core.network.model import SliceFeatures
from mois_core.progress import CancelToken
from mois_core.session import embeddings as module
from mois_core.session import search
from mois_core.session.embeddings import Embeddings, outwards

pytestmark = pytest.mark.usefixtures("one_thread")

COUNT = 8
HUGE = 2**40
ONE = StubNetwork().encode(torch.zeros(1, 1, *STUB.image_size)).nbytes
"""Bytes of an encoded slice."""
QUERY = math.prod(STUB.map_size) * STUB.width * 4


class Slices:
    """Slices as the network's input, noting which were asked for."""

    def __init__(self, count=COUNT, size=STUB.image_size):
        self.images = some_slices(count, size)
        self.asked = []

    def __call__(self, slice_index):
        self.asked.append(slice_index)
        return self.images[slice_index]


def kept(device_budget=HUGE, host_budget=HUGE, count=COUNT):
    slices = Slices(count)
    return Embeddings(StubNetwork(), slices, count, device_budget, host_budget), slices


@pytest.fixture
def with_a_device(monkeypatch):
    """A second memory to move features to, though both are the processor's."""
    monkeypatch.setattr(module, "HOST", torch.device("cpu", 0))
    assert torch.device("cpu") != module.HOST


# ---- order -------------------------------------------------------------------------------------


@given(st.integers(1, 50), st.integers(-5, 60))
@settings(max_examples=100, deadline=None)
def test_the_order_starts_at_the_slice_looked_at_and_goes_outwards(count, start):
    order = outwards(count, start)
    distances = [abs(n - start) for n in order]

    assert sorted(order) == list(range(count))
    assert distances == sorted(distances)


def test_all_slices_are_encoded_once_nearest_first():
    embeddings, slices = kept()
    embeddings.prepare(5)
    embeddings.prepare(0)
    for slice_index in range(COUNT):
        embeddings.features(slice_index)

    assert slices.asked == [5, 4, 6, 3, 7, 2, 1, 0]
    assert embeddings.encoded == COUNT == embeddings.ready


def test_only_the_slices_asked_for_are_encoded():
    embeddings, slices = kept()
    embeddings.prepare(0, slice_indices=[6, 2])

    assert slices.asked == [2, 6]
    assert [n for n in range(COUNT) if embeddings.is_ready(n)] == [2, 6]


def test_a_slice_that_is_not_ready_is_encoded_when_it_is_needed():
    embeddings, slices = kept()
    embeddings.features(3)
    embeddings.memory_query(6)

    assert slices.asked == [3, 6]


def test_encoding_goes_on_where_it_was_cancelled():
    embeddings, slices = kept()
    token = CancelToken()

    def progress(done, total, what):
        if done == 3:
            token.cancel()

    with pytest.raises(Cancelled):
        embeddings.prepare(4, progress, token)
    assert slices.asked == [4, 3, 5]
    embeddings.prepare(4)

    assert slices.asked == [4, 3, 5, 2, 6, 1, 7, 0]


def test_a_click_between_two_halves_of_the_encoding_is_answered_from_what_is_there():
    session = stub_session()
    token = CancelToken()
    with pytest.raises(Cancelled):
        session.prepare(5, lambda done, *_: token.cancel() if done == 7 else None, token)
    assert session.embeddings.encoded == 7

    slice_index = click_on(session, FIRST)

    assert session.embeddings.encoded == 7
    assert is_exactly(session, slice_index, FIRST)


def test_nothing_is_trained_while_encoding():
    network = lively(MOIS)
    embeddings = Embeddings(network, Slices(2, MOIS.image_size), 2, HUGE, HUGE)
    weight = next(network.parameters())
    weight.requires_grad_(True)
    try:
        embeddings.prepare()
        assert not embeddings.features(0).coarse.requires_grad
    finally:
        weight.requires_grad_(False)


# ---- budgets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("room", [1, 3, 7])
def test_encoding_ahead_stops_when_the_budget_is_full(room):
    embeddings, slices = kept(host_budget=room * ONE)
    told = []
    embeddings.prepare(2, lambda *what: told.append(what))

    assert embeddings.ready == room
    assert slices.asked == outwards(COUNT, 2)[:room]
    assert told[-1][:2] == (COUNT, COUNT)
    embeddings.prepare(7)
    assert embeddings.encoded == room


@given(
    st.integers(0, 6 * ONE),
    st.lists(st.tuples(st.integers(0, COUNT - 1), st.booleans()), max_size=25),
)
@settings(max_examples=60, deadline=None)
def test_the_budget_holds_but_for_the_slice_in_use(budget, used):
    embeddings, _ = kept(host_budget=budget)
    for slice_index, with_query in used:
        if with_query:
            embeddings.memory_query(slice_index)
        features = embeddings.features(slice_index)
        assert torch.equal(features.coarse, embeddings.features(slice_index).coarse)
        assert embeddings.nbytes <= max(budget, ONE + QUERY)


def test_a_slice_that_had_to_go_is_encoded_again():
    embeddings, slices = kept(host_budget=2 * ONE)
    for slice_index in (0, 1, 2, 0):
        embeddings.features(slice_index)

    assert slices.asked == [0, 1, 2, 0]


def test_what_was_used_last_stays():
    embeddings, slices = kept(host_budget=2 * ONE)
    for slice_index in (0, 1, 0, 2, 0):
        embeddings.features(slice_index)

    assert slices.asked == [0, 1, 2]


def test_what_is_quickly_made_again_goes_before_the_encoding():
    embeddings, slices = kept(host_budget=3 * ONE + QUERY)
    for slice_index in (0, 1, 2):
        embeddings.memory_query(slice_index)

    assert embeddings.ready == 3
    assert slices.asked == [0, 1, 2]
    assert embeddings.nbytes <= 3 * ONE + QUERY


def test_queries_are_computed_once_per_slice():
    embeddings, _ = kept()
    first = embeddings.memory_query(3)

    assert embeddings.memory_query(3) is first
    assert embeddings.model.calls["memory_query"] == 1


def test_a_session_with_room_for_one_slice_gives_the_same_masks():
    small, large = stub_session(host_budget=ONE), stub_session()
    for session in (small, large):
        click_on(session, FIRST)
        session.find_similar()

    assert digest(small.state) == digest(large.state)
    assert small.embeddings.encoded > large.embeddings.encoded == 12
    assert small.embeddings.ready == 1


def test_everything_can_be_forgotten():
    embeddings, _ = kept()
    embeddings.prepare()
    embeddings.clear()

    assert embeddings.ready == embeddings.nbytes == 0


# ---- two memories ------------------------------------------------------------------------------


@pytest.mark.usefixtures("with_a_device")
def test_what_does_not_fit_on_the_device_moves_to_the_host_and_comes_back():
    embeddings, slices = kept(device_budget=2 * ONE)
    embeddings.prepare()
    for slice_index in range(COUNT):
        embeddings.features(slice_index)

    assert embeddings.encoded == COUNT
    assert embeddings.ready == COUNT
    assert embeddings.device_nbytes == 2 * ONE


@pytest.mark.usefixtures("with_a_device")
@given(st.integers(0, 4), st.integers(0, 4), st.lists(st.integers(0, COUNT - 1), max_size=25))
@settings(max_examples=60, deadline=None)
def test_both_budgets_hold_at_once(near, far, used):
    embeddings, _ = kept(device_budget=near * ONE, host_budget=far * ONE)
    for slice_index in used:
        embeddings.features(slice_index)
        assert embeddings.device_nbytes <= max(near, 1) * ONE
        assert embeddings.host_nbytes <= far * ONE
        assert embeddings.nbytes == embeddings.ready * ONE, "a slice is in one of them only"


@pytest.mark.usefixtures("with_a_device")
@pytest.mark.parametrize(("near", "far"), [(2, 3), (1, 1), (3, 0)])
def test_encoding_ahead_fills_both_memories_and_drops_nothing(near, far):
    embeddings, slices = kept(device_budget=near * ONE, host_budget=far * ONE)
    embeddings.prepare(4)

    assert embeddings.ready == near + far
    assert slices.asked == outwards(COUNT, 4)[: near + far]


@pytest.mark.usefixtures("with_a_device")
def test_giving_the_device_back_encodes_nothing_again():
    embeddings, _ = kept(device_budget=6 * ONE)
    embeddings.prepare()
    embeddings.memory_query(2)
    embeddings.shrink_device_budget()
    assert embeddings.device_nbytes == 0
    for slice_index in range(COUNT):
        embeddings.features(slice_index)

    assert embeddings.encoded == COUNT
    assert embeddings.device_nbytes == 3 * ONE


def test_a_network_that_moved_to_the_processor_shares_the_hosts_budget():
    embeddings, _ = kept(host_budget=4 * ONE)
    embeddings.prepare()
    embeddings.release_device()
    for slice_index in range(COUNT):
        embeddings.features(slice_index)
        assert embeddings.nbytes <= 4 * ONE


@pytest.mark.usefixtures("with_a_device")
def test_encoding_ahead_encodes_nothing_for_budgets_that_are_no_whole_slices():
    embeddings, slices = kept(device_budget=ONE * 5 // 2, host_budget=ONE * 7 // 2)
    embeddings.prepare(4)

    assert embeddings.ready == 2 + 3
    assert slices.asked == outwards(COUNT, 4)[:5]


@pytest.mark.usefixtures("with_a_device")
def test_the_slices_nearest_to_where_the_user_looks_are_the_ones_on_the_device():
    embeddings, _ = kept(device_budget=3 * ONE)
    embeddings.prepare(4)
    assert embeddings.ready == COUNT
    moved = embeddings.device_nbytes, embeddings.host_nbytes
    for slice_index in (4, 3):
        embeddings.features(slice_index)

    assert moved == (embeddings.device_nbytes, embeddings.host_nbytes) == (3 * ONE, 5 * ONE)
    assert all(n in embeddings._on_device for n in (4, 3))


# ---- many slices, not all of which fit ---------------------------------------------------------

MANY, ROOM = 400, 360


def large_session(**how):
    return stub_session(FIRST, SECOND, slices=MANY, **how)


def count_of(session, operation):
    """How many slices an operation encodes."""
    before = session.embeddings.encoded
    operation()
    return session.embeddings.encoded - before


@pytest.mark.parametrize("start", [0, 200, 399])
@pytest.mark.parametrize("at_once", [1, 4])
def test_a_search_encodes_the_slices_that_memory_cannot_hold_and_no_others(
    monkeypatch, start, at_once
):
    monkeypatch.setattr(search, "SLICES_AT_ONCE", {"cpu": at_once})
    session, roomy = large_session(host_budget=ROOM * ONE), large_session()
    for one in (session, roomy):
        click_on(one, FIRST)
        one.prepare(start)
    assert session.embeddings.ready == ROOM

    assert count_of(session, session.find_similar) <= MANY - ROOM
    for _ in range(3):
        assert count_of(session, session.find_similar) <= MANY - ROOM + 1
    roomy.find_similar()
    assert count_of(roomy, roomy.find_similar) == 0
    for _ in range(3):
        roomy.find_similar()
    assert digest(session.state) == digest(roomy.state)
    assert len(session.lesions) == 2


def test_what_a_search_learns_from_rejections_encodes_them_once_more():
    session = stub_session(slices=MANY, host_budget=ROOM * ONE)
    session.prepare()
    click_on(session, FIRST)
    found = session.find_similar()
    assert len(found) > 1
    session.reject(found[0])

    count = count_of(session, session.find_similar)
    assert MANY - ROOM < count <= 2 * (MANY - ROOM) + 2


def test_a_region_is_searched_with_what_is_kept_of_it_first():
    session = large_session(host_budget=ROOM * ONE)
    session.prepare()
    click_on(session, FIRST)
    region = session.stack.from_volume(session.volume.array > 0).copy()
    region[: MANY - 60] = False

    how = {"inside": session.stack.to_volume(region)}
    assert count_of(session, lambda: session.find_similar(**how)) == MANY - ROOM
    assert count_of(session, lambda: session.find_similar(**how)) == 0, "60 slices have room"


def test_slices_that_are_visited_in_turns_are_not_all_encoded_in_every_turn():
    embeddings, _ = kept(host_budget=36 * ONE, count=40)
    with embeddings.visiting(range(40)):
        for _ in range(6):
            for slice_index in range(40):
                embeddings.memory_query(slice_index)
                embeddings.features(slice_index)

    assert embeddings.encoded <= 40 + 5 * 5


def test_slices_that_are_not_visited_go_first():
    embeddings, _ = kept(host_budget=6 * ONE)
    for slice_index in (3, 0, 1, 2, 6, 7):
        embeddings.features(slice_index)
    with embeddings.visiting([0, 1, 2, 4]):
        embeddings.features(4)

    assert [n for n in range(COUNT) if embeddings.is_ready(n)] == [0, 1, 2, 4, 6, 7]


@pytest.mark.parametrize("budget", [4 * ONE, HUGE])
def test_the_order_changes_only_where_it_saves_something(budget):
    embeddings, _ = kept(host_budget=budget)
    with embeddings.visiting([5, 1, 7]) as nothing_is_kept_yet:
        assert nothing_is_kept_yet == [5, 1, 7]
    for slice_index in (2, 1):
        embeddings.features(slice_index)
    with embeddings.visiting([5, 1, 7, 2]) as these_fit:
        assert these_fit == [5, 1, 7, 2]
    with embeddings.visiting([5, 1, 7, 2, 3]) as order:
        assert order == ([1, 2, 5, 7, 3] if budget < HUGE else [5, 1, 7, 2, 3])


def test_a_visit_that_is_cancelled_leaves_no_rule_behind():
    embeddings, slices = kept(host_budget=2 * ONE)
    with pytest.raises(Cancelled), embeddings.visiting([0, 1]):
        raise Cancelled
    for slice_index in (0, 1, 2, 1):
        embeddings.features(slice_index)

    assert slices.asked == [0, 1, 2]


def test_lesions_on_many_slices_are_followed_as_with_room_for_all():
    small, roomy = large_session(host_budget=6 * ONE), large_session()
    for session in (small, roomy):
        session.prepare(5)
        for block in (FIRST, SECOND):
            click_on(session, block)
        session.propagate(joined=False)

    assert digest(small.state) == digest(roomy.state)


def test_no_encoding_makes_room_for_what_is_quickly_made_again():
    embeddings, _ = kept(host_budget=4 * ONE)
    embeddings.prepare()
    for slice_index in (0, 1, 2, 3):
        first = embeddings.memory_query(slice_index)
        assert embeddings.memory_query(slice_index) is first

    assert embeddings.ready == embeddings.encoded == 4
    assert embeddings.model.calls["memory_query"] == 4


def test_bytes_are_not_added_up_anew_for_every_slice(monkeypatch):
    count = 480
    embeddings, _ = kept(host_budget=(count - 48) * ONE, count=count)
    looked = []
    nbytes = SliceFeatures.nbytes.fget
    counted = property(lambda features: looked.append(features) or nbytes(features))
    monkeypatch.setattr(SliceFeatures, "nbytes", counted)

    embeddings.prepare()
    with embeddings.visiting(range(count)) as order:
        for slice_index in order:
            embeddings.exemplar_query(slice_index)

    assert len(looked) < 4 * count


@given(
    st.integers(0, 6 * ONE),
    st.integers(0, 6 * ONE),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, COUNT - 1), st.integers(0, 5)), max_size=30),
)
@settings(max_examples=100, deadline=None)
def test_the_count_of_bytes_is_what_is_there(device_budget, host_budget, has_device, done):
    with pytest.MonkeyPatch.context() as patch:
        if has_device:
            patch.setattr(module, "HOST", torch.device("cpu", 0))
        embeddings, _ = kept(device_budget, host_budget)
        for slice_index, action in done:
            if action == 4:
                embeddings.release_device()
            elif action == 5:
                with embeddings.visiting(range(slice_index)) as order:
                    for visited in order:
                        embeddings.exemplar_query(visited)
            else:
                stages = (embeddings.features, embeddings.memory_query, embeddings.exemplar_query)
                stages[action % 3](slice_index)
            for cache in (embeddings._on_device, embeddings._on_host):
                entries = cache._entries.values()
                queries = sum(q.nbytes for entry in entries for q in entry.queries.values())
                assert cache.query_nbytes == queries
                assert cache.nbytes == queries + sum(entry.features.nbytes for entry in entries)

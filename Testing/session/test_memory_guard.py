"""Full memory: make room and try again, say so, and never lose what the user did."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
from engine_fixtures import FIRST, SECOND, painted
from stub_sessions import click_on, digest, is_exactly, ras, stub_session

from mois_core.errors import BadInput
from mois_core.session import embeddings
from mois_core.session.memory_guard import (
    MADE_ROOM,
    MOVED_TO_CPU,
    NO_MEMORY,
    device_is_full,
    host_is_full,
)

pytestmark = pytest.mark.usefixtures("one_thread")

CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
METAL = RuntimeError("MPS backend out of memory (MPS allocated: 17.7 GB, other: 1.2 GB).")
CUBLAS = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)")


def host_error():
    """What torch says when the computer's own memory is full, from torch itself."""
    try:
        torch.empty(2**60)
    except RuntimeError as error:
        return error
    raise AssertionError("that much memory cannot be there")


class Failing:
    """A stage of a network that runs out of memory the first few times."""

    def __init__(self, model, stage, error, times):
        self.stage, self.error, self.left = getattr(model, stage), error, times
        setattr(model, stage, self)

    def __call__(self, *args, **kwargs):
        if self.left:
            self.left -= 1
            raise self.error
        return self.stage(*args, **kwargs)


@pytest.fixture
def session(session):
    session.notices = []
    session.guard.on_notice = session.notices.append
    return session


OPERATIONS = {
    "prepare": ("encode", lambda s: s.prepare()),
    "click": ("decode", lambda s: click_on(s, SECOND)),
    "propagate": ("attend_to_memory", lambda s: click_on(s, SECOND)),
    "remember": ("remember", lambda s: click_on(s, SECOND)),
    "paint": ("decode_mask", lambda s: s.set_mask(None, s.stack.to_volume(painted(SECOND)))),
    "search": ("attend_to_exemplars", lambda s: s.find_similar()),
    "exemplar keys": ("exemplar_keys", lambda s: s.find_similar()),
    "bring in": (
        "remember",
        lambda s: s.add_exemplars(s.stack.to_volume(painted(SECOND).astype(int))),
    ),
    "move": ("decode", lambda s: s.move_click(1, ras(s, 4, 8, 8))),
}


@pytest.mark.parametrize("error", [CUDA, METAL, CUBLAS], ids=["CUDA", "Metal", "cuBLAS"])
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("name", OPERATIONS)
def test_work_goes_on_with_the_same_result(session, name, times, error):
    stage, operation = OPERATIONS[name]
    undisturbed = stub_session()
    for one in (session, undisturbed):
        if name != "prepare":
            click_on(one, FIRST)
    Failing(session.model, stage, error, times)

    operation(session)
    operation(undisturbed)

    assert session.notices == [MADE_ROOM, MOVED_TO_CPU][:times]
    assert digest(session.state) == digest(undisturbed.state)
    assert len(session.history.past) == len(undisturbed.history.past)


@pytest.mark.parametrize("name", OPERATIONS)
def test_when_nothing_helps_it_is_said_in_words_and_what_was_done_before_stays(session, name):
    stage, operation = OPERATIONS[name]
    click_on(session, FIRST)
    session.embeddings.clear()
    before, content = session.state, digest(session.state)
    failing = Failing(session.model, stage, CUDA, 10**6)

    with pytest.raises(BadInput, match="memory is full") as refusal:
        operation(session)

    assert str(refusal.value) == NO_MEMORY
    assert session.state is before
    assert digest(session.state) == content
    failing.left = 0
    operation(session)
    assert is_exactly(session, 1, FIRST) or name == "move"


def test_later_operations_can_fall_back_again(session):
    click_on(session, FIRST)
    for _ in range(3):
        Failing(session.model, "attend_to_exemplars", CUDA, 1)
        session.find_similar()

    assert session.notices == [MADE_ROOM] * 3


def test_other_errors_pass_through_at_once(session):
    click_on(session, FIRST)
    before = session.state
    for error in (RuntimeError("shape mismatch"), ValueError("no"), KeyError(3)):
        failing = Failing(session.model, "decode", error, 1)
        with pytest.raises(type(error)) as raised:
            click_on(session, SECOND)
        assert raised.value is error
        assert not failing.left
        session.model.decode = failing.stage
    assert session.notices == []
    assert session.state is before


@pytest.mark.parametrize("error", [MemoryError(), host_error()], ids=["Python", "torch"])
def test_a_full_main_memory_is_said_at_once_since_nothing_can_be_moved_there(session, error):
    click_on(session, FIRST)
    Failing(session.model, "decode", error, 1)
    with pytest.raises(BadInput, match="memory is full"):
        click_on(session, SECOND)

    assert session.notices == []
    assert is_exactly(session, 1, FIRST)
    assert is_exactly(session, click_on(session, SECOND), SECOND)


def test_errors_are_told_apart():
    for error in (CUDA, METAL, CUBLAS):
        assert device_is_full(error)
        assert not host_is_full(error)
    assert host_is_full(host_error())
    assert not device_is_full(host_error())
    for error in (RuntimeError("index out of range"), ValueError("out of memory")):
        assert not device_is_full(error)
        assert not host_is_full(error)


def test_making_room_gives_back_all_that_was_computed_ahead(session, monkeypatch):
    monkeypatch.setattr(embeddings, "HOST", torch.device("cpu", 0))
    click_on(session, FIRST)
    make, kept = session.model.exemplar_keys, []

    def watched(exemplars):
        keys = make(exemplars)
        kept[:] = [weakref.ref(tensor) for tensor in keys]
        return keys

    session.model.exemplar_keys = watched
    session.find_similar()
    assert all(tensor() is not None for tensor in kept)
    encoded = session.embeddings.encoded
    Failing(session.model, "decode", CUDA, 1)

    click_on(session, SECOND)

    assert kept
    assert all(tensor() is None for tensor in kept)
    assert session.embeddings.encoded == encoded == 12


def test_exemplar_keys_do_not_stay_behind_on_a_device_that_was_left(session):
    click_on(session, FIRST)
    session.find_similar()
    Failing(session.model, "attend_to_exemplars", CUDA, 2)
    session.find_similar()

    assert session.notices == [MADE_ROOM, MOVED_TO_CPU]
    assert session.model.calls["exemplar_keys"] == 3


def test_progress_is_told_again_after_a_fallback(session):
    Failing(session.model, "attend_to_memory", CUDA, 1)
    told = []
    click_on(session, FIRST, progress=lambda *what: told.append(what))

    assert told[-1][:2] == (3, 3)
    assert np.count_nonzero([done == 0 for done, _, _ in told]) == 2

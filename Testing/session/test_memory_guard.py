"""Full memory: make room and try again, say so, and never lose what the user did."""

from __future__ import annotations

import errno
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
import torch
from engine_fixtures import FIRST, SCENE, SECOND, painted, scan_of, volume_of
from paths import ROOT
from stub_network import NetworkOnDevice
from stub_sessions import click_on, digest, is_exactly, ras, stub_session

from mois_core.errors import BadInput
from mois_core.network.model import SliceFeatures
from mois_core.session import Session, machine_memory, memory_guard
from mois_core.session.embeddings import HOST
from mois_core.session.memory_guard import DROPPED_SLICES, MADE_ROOM, MOVED_TO_CPU, NO_MEMORY
from mois_core.session.out_of_memory import device_is_full, host_is_full, kernel_failed

pytestmark = pytest.mark.usefixtures("one_thread")

CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
METAL = RuntimeError("MPS backend out of memory (MPS allocated: 17.7 GB, other: 1.2 GB).")
CUBLAS = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)")
ONE_DNN = RuntimeError("could not create a primitive")


def host_error():
    """What torch says when the computer's own memory is full, from torch itself."""
    try:
        torch.empty(2**60)
    except RuntimeError as error:
        return error
    raise AssertionError("that much memory cannot be there")


def array_error():
    """What numpy says, from numpy itself."""
    try:
        np.empty(2**50)
    except MemoryError as error:
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


def watched(session):
    session.notices = []

    def keep(text: str) -> None:
        if text in (MADE_ROOM, MOVED_TO_CPU, DROPPED_SLICES):  # and not what is said of clicks
            session.notices.append(text)

    session.on_notice = keep
    return session


@pytest.fixture
def session(session):
    """A session on the processor with all slices encoded."""
    assert session.embeddings.is_on_host
    session.prepare()
    return watched(session)


@pytest.fixture
def on_device():
    """A session on a device with all slices encoded."""
    session = Session(NetworkOnDevice(), volume_of(scan_of(*SCENE)))
    assert not session.embeddings.is_on_host
    session.prepare()
    return watched(session)


OPERATIONS = {
    "prepare": ("encode", lambda s: (s.embeddings.clear(), s.prepare())),
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
def test_work_goes_on_with_the_same_result(on_device, name, times, error):
    stage, operation = OPERATIONS[name]
    undisturbed = stub_session()
    for one in (on_device, undisturbed):
        if name != "prepare":
            click_on(one, FIRST)
    Failing(on_device.model, stage, error, times)

    operation(on_device)
    operation(undisturbed)

    assert on_device.notices == [MADE_ROOM, MOVED_TO_CPU][:times]
    assert digest(on_device.state) == digest(undisturbed.state)
    assert len(on_device.history.past) == len(undisturbed.history.past)


HOST_ERRORS = {
    "Python": MemoryError(),
    "numpy": array_error(),
    "torch": host_error(),
    "oneDNN": ONE_DNN,
    "C++": RuntimeError("std::bad_alloc"),
}


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_full_main_memory_costs_kept_slices_and_nothing_else(session, name, times):
    stage, operation = OPERATIONS[name]
    undisturbed = stub_session()
    for one in (session, undisturbed):
        if name != "prepare":
            click_on(one, FIRST)
    Failing(session.model, stage, host_error(), times)

    if name == "prepare" and times == 2:
        # Nothing is kept yet, so there is only one way to make room: to try again.
        with pytest.raises(BadInput, match="memory is full"):
            operation(session)
        return
    operation(session)
    operation(undisturbed)

    assert session.notices == ([DROPPED_SLICES] if name != "prepare" else [])
    assert digest(session.state) == digest(undisturbed.state)
    assert len(session.history.past) == len(undisturbed.history.past)


@pytest.mark.parametrize("place", ["session", "on_device"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_when_nothing_helps_it_is_said_in_words_and_what_was_done_before_stays(
    request, place, name
):
    session = request.getfixturevalue(place)
    stage, operation = OPERATIONS[name]
    click_on(session, FIRST)
    before, content = session.state, digest(session.state)
    failing = Failing(session.model, stage, CUDA, 10**6)

    for _ in range(2):
        with pytest.raises(BadInput, match="memory is full") as refusal:
            operation(session)

    assert str(refusal.value) == NO_MEMORY
    assert session.state is before
    assert digest(session.state) == content
    failing.left = 0
    operation(session)
    assert is_exactly(session, 1, FIRST) or name == "move"


# ---- what goes first ---------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["session", "on_device"])
def test_the_keys_of_the_last_search_go_before_any_slice(request, place):
    session = request.getfixturevalue(place)
    click_on(session, FIRST)
    session.find_similar()
    assert session.search.has_keys
    Failing(session.model, "decode", CUDA, 1)

    click_on(session, SECOND)

    assert not session.search.has_keys
    assert session.notices == []
    assert session.embeddings.ready == session.embeddings.encoded == 12


def test_keys_that_a_search_makes_itself_are_no_way_to_make_room_for_it(session):
    click_on(session, FIRST)
    failing = Failing(session.model, "attend_to_exemplars", MemoryError(), 10**6)
    with pytest.raises(BadInput, match="memory is full"):
        session.find_similar()

    assert 10**6 - failing.left == 3, "half of the slices, none of them, and the end"


def test_slices_leave_the_device_before_the_network_does(on_device):
    click_on(on_device, FIRST)
    on_device.find_similar()
    decode = on_device.model.decode
    seen = []

    def full(*args, **kwargs):
        embeddings = on_device.embeddings
        seen.append((on_device.search.has_keys, embeddings.host_nbytes > 0, embeddings.is_on_host))
        if len(seen) < 4:
            raise CUDA
        return decode(*args, **kwargs)

    on_device.model.decode = full
    click_on(on_device, SECOND)

    on_host = (False, True, True)
    assert seen[:4] == [(True, False, False), (False, False, False), (False, True, False), on_host]
    assert on_device.notices == [MADE_ROOM, MOVED_TO_CPU]
    assert on_device.embeddings.encoded == 12, "main memory had room for all"


def test_where_a_device_has_no_memory_of_its_own_slices_are_dropped_for_it(on_device, monkeypatch):
    monkeypatch.setattr(machine_memory, "shares_host_memory", lambda device: True)
    click_on(on_device, FIRST)
    Failing(on_device.model, "decode", METAL, 3)

    click_on(on_device, SECOND)

    assert on_device.notices == [MADE_ROOM, DROPPED_SLICES, MOVED_TO_CPU]
    assert is_exactly(on_device, 2, SECOND)


def test_of_the_kept_slices_the_first_half_to_go_are_those_used_longest_ago(session):
    click_on(session, FIRST)
    Failing(session.model, "decode", MemoryError(), 1)
    click_on(session, SECOND)

    assert session.notices == [DROPPED_SLICES]
    kept = [n for n in range(12) if session.embeddings.is_ready(n)]
    assert 8 <= len(kept) < 12
    assert set(range(*SECOND.slices)) <= set(kept)


def test_an_operation_that_needs_all_memory_has_one_slice_and_the_next_has_more(session):
    click_on(session, FIRST)
    Failing(session.model, "decode", MemoryError(), 2)
    ready = []
    click_on(session, SECOND, progress=lambda *what: ready.append(session.embeddings.ready))

    assert set(ready[1:]) == {1}
    click_on(session, SECOND)
    assert session.embeddings.ready > 1


def test_slices_that_find_no_room_on_the_host_are_encoded_again(on_device, monkeypatch):
    to = SliceFeatures.to

    def crowded(features, where):
        if where == HOST:
            raise host_error()
        return to(features, where)

    monkeypatch.setattr(SliceFeatures, "to", crowded)
    click_on(on_device, FIRST)
    Failing(on_device.model, "decode", CUDA, 1)
    click_on(on_device, SECOND)

    assert on_device.notices == [MADE_ROOM]
    assert is_exactly(on_device, 2, SECOND)
    assert on_device.embeddings.encoded > 12


def test_a_network_that_main_memory_has_no_room_for_stays_whole_on_its_device(on_device):
    click_on(on_device, FIRST)
    Failing(on_device.model, "decode", CUDA, 3)
    moves, move = [], on_device.model.to

    def full(where):
        moves.append(where)
        if where == HOST:
            raise host_error()
        return move(where)

    on_device.model.to = full
    before = on_device.state
    with pytest.raises(BadInput, match="memory is full"):
        click_on(on_device, SECOND)

    assert moves == [HOST, NetworkOnDevice.place]
    assert on_device.state is before
    assert is_exactly(on_device, click_on(on_device, SECOND), SECOND)


def test_an_operation_that_failed_keeps_no_memory(session):
    click_on(session, FIRST)
    working_with = []

    def full(*args, **kwargs):
        tensor = torch.ones(3)
        working_with.append(weakref.ref(tensor))
        raise MemoryError

    session.model.decode, decode = full, session.model.decode
    with pytest.raises(BadInput) as refusal:
        click_on(session, SECOND)

    assert len(working_with) == 3
    assert all(tensor() is None for tensor in working_with), "while the error is still there"
    assert isinstance(refusal.value.__cause__, MemoryError)
    session.model.decode = decode
    assert is_exactly(session, click_on(session, SECOND), SECOND)


# ---- threads -----------------------------------------------------------------------------------


@pytest.fixture
def a_fresh_mind(monkeypatch):
    monkeypatch.setattr(memory_guard, "_thread", threading.local())


@pytest.mark.usefixtures("a_fresh_mind")
def test_a_thread_that_can_make_no_kernels_is_not_worked_in_any_more(session):
    click_on(session, FIRST)
    decode, spoilt, threads = session.model.decode, set(), set()

    def spoiling(*args, **kwargs):
        threads.add(threading.get_ident())
        assert not torch.is_grad_enabled()
        if not spoilt or threading.get_ident() in spoilt:
            spoilt.add(threading.get_ident())
            raise ONE_DNN
        return decode(*args, **kwargs)

    session.model.decode = spoiling
    assert is_exactly(session, click_on(session, SECOND), SECOND)
    click_on(session, SECOND)

    assert spoilt == {threading.get_ident()}
    assert session.notices == [DROPPED_SLICES]


ONE_DNN_RUNS_OUT = """
import resource, sys, threading, torch
sys.path[:0] = [{support!r}, {root!r}]
from engine_fixtures import FIRST
from stub_sessions import stub_session, click_on

def addresses():
    return int(open("/proc/self/statm").read().split()[0]) * 4096

torch.set_num_threads(1)
session = stub_session()
image, failed = torch.rand(1, 8, 256, 256), []

def convolve(*args, **kwargs):
    width = 8 * (1 + len(failed))
    try:
        torch.nn.functional.conv2d(image, torch.rand(width, 8, 3, 3))
    except RuntimeError as error:
        failed.append(str(error))
        raise
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
    return decode(*args, **kwargs)

decode, session.model.decode = session.model.decode, convolve
session.prepare()
out = torch.empty(1, 8, 254, 254)
del out
resource.setrlimit(resource.RLIMIT_AS, (addresses() + 2**15, -1))
click_on(session, FIRST)
click_on(session, FIRST)
print(failed)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory as Linux does")
def test_one_dnn_itself_runs_out_of_memory_and_later_clicks_work():
    """Its error stays in the thread: a retry there would fail however much memory there is."""
    script = ONE_DNN_RUNS_OUT.format(support=str(ROOT / "Testing" / "support"), root=str(ROOT))
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "could not create" in done.stdout or "DefaultCPUAllocator" in done.stdout


# ---- and all other errors ----------------------------------------------------------------------


def test_later_operations_can_fall_back_again(on_device):
    for _ in range(3):
        Failing(on_device.model, "attend_to_memory", CUDA, 1)
        click_on(on_device, FIRST)

    assert on_device.notices == [MADE_ROOM] * 3


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


DEVICE_ERRORS = (
    CUDA,
    METAL,
    CUBLAS,
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("HIP out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("Invalid buffer size: 16.00 GB"),
)
OTHER_ERRORS = (
    RuntimeError("index out of range"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("could not create a primitive descriptor for the convolution forward propagation"),
    RuntimeError("Expected all tensors to be on the same device"),
    ValueError("out of memory"),
    OSError(errno.ENOENT, "No such file or directory"),
    KeyError("out of memory"),
)


@pytest.mark.parametrize("error", DEVICE_ERRORS, ids=str)
def test_a_full_device_is_recognised(error):
    assert device_is_full(error)
    assert not host_is_full(error)


@pytest.mark.parametrize(
    "error",
    [
        *HOST_ERRORS.values(),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        RuntimeError("unable to mmap 100 bytes from file <w>: Cannot allocate memory (12)"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
    ids=str,
)
def test_a_full_main_memory_is_recognised(error):
    assert host_is_full(error)
    assert not device_is_full(error)


@pytest.mark.parametrize("error", OTHER_ERRORS, ids=str)
def test_other_errors_are_not_taken_for_full_memory(error):
    assert not device_is_full(error)
    assert not host_is_full(error)
    assert not kernel_failed(error)


def test_making_room_gives_back_all_that_was_computed_ahead(on_device):
    click_on(on_device, FIRST)
    make, kept = on_device.model.exemplar_keys, []

    def watched_keys(exemplars):
        keys = make(exemplars)
        kept[:] = [weakref.ref(tensor) for tensor in keys]
        return keys

    on_device.model.exemplar_keys = watched_keys
    on_device.find_similar()
    assert all(tensor() is not None for tensor in kept)
    encoded = on_device.embeddings.encoded
    Failing(on_device.model, "decode", CUDA, 2)

    click_on(on_device, SECOND)

    assert kept
    assert all(tensor() is None for tensor in kept)
    assert on_device.embeddings.encoded == encoded == 12


def test_exemplar_keys_do_not_stay_behind_on_a_device_that_was_left(on_device):
    click_on(on_device, FIRST)
    on_device.find_similar()
    Failing(on_device.model, "attend_to_exemplars", CUDA, 3)
    on_device.find_similar()

    assert on_device.notices == [MADE_ROOM, MOVED_TO_CPU]
    assert on_device.model.calls["exemplar_keys"] == 4


def test_keys_and_slices_follow_a_network_that_someone_else_moved(on_device):
    click_on(on_device, FIRST)
    on_device.find_similar()
    on_device.model.to(HOST)
    on_device.find_similar()

    assert on_device.model.calls["exemplar_keys"] == 2
    assert on_device.embeddings.encoded == 12


def test_progress_is_told_again_after_a_fallback(session):
    Failing(session.model, "attend_to_memory", CUDA, 1)
    told = []
    click_on(session, FIRST, progress=lambda *what: told.append(what))

    assert told[-1][:2] == (3, 3)
    assert np.count_nonzero([done == 0 for done, _, _ in told]) == 2

"""What a session may take of this machine's memory, and of others'."""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace

import pytest
import torch
from engine_fixtures import FIRST, SCENE, scan_of, volume_of
from stub_network import StubNetwork
from stub_sessions import click_on, digest, stub_session

from mois_core.errors import BadInput
from mois_core.session import Session, machine_memory
from mois_core.session.machine_memory import (
    GIB,
    UNKNOWN_DEVICE_BUDGET,
    UNKNOWN_HOST_BUDGET,
    device_budget,
    free_host_memory,
    host_budget,
)
from mois_core.session.session_file import describe, restore, to_bytes
from mois_core.session.state import Settings

pytestmark = pytest.mark.usefixtures("one_thread")

CUDA = torch.device("cuda", 0)
METAL = torch.device("mps", 0)


@pytest.fixture
def linux(monkeypatch, tmp_path):
    """A machine of which 20 GiB are free, as Linux tells it."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(machine_memory, "SYSTEM", tmp_path)
    monkeypatch.setattr(machine_memory, "_free_addresses", lambda: iter(()))

    def tell(path, text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")

    tell("proc/meminfo", f"MemTotal:  {2**25} kB\nMemFree: 9 kB\nMemAvailable: {20 * 2**20} kB\n")
    tell("proc/self/cgroup", "0::/\n")
    return tell


# ---- the host ------------------------------------------------------------------------------------


def test_this_machine_tells_what_it_has():
    free = free_host_memory()
    assert free is not None
    assert 0 < host_budget() < free


def test_linux(linux):
    assert free_host_memory() == 20 * GIB
    assert host_budget() == 10 * GIB


def test_a_container_leaves_less_than_the_machine_has(linux):
    linux("proc/self/cgroup", "0::/jobs/one\n")
    linux("sys/fs/cgroup/jobs/one/memory.max", "max\n")
    linux("sys/fs/cgroup/jobs/one/memory.current", "5\n")
    linux("sys/fs/cgroup/jobs/memory.max", f"{8 * GIB}\n")
    linux("sys/fs/cgroup/jobs/memory.current", f"{5 * GIB}\n")
    linux("sys/fs/cgroup/jobs/memory.stat", f"anon 7\ninactive_file {GIB}\n")

    assert free_host_memory() == 4 * GIB


def test_a_container_does_not_know_where_it_is_in_the_machine(linux):
    linux("proc/self/cgroup", "0::/../../elsewhere\n")
    linux("sys/fs/cgroup/memory.max", f"{3 * GIB}\n")
    linux("sys/fs/cgroup/memory.current", f"{GIB}\n")

    assert free_host_memory() == 2 * GIB


def test_an_older_container(linux):
    linux("proc/self/cgroup", "5:cpu:/job\n4:memory:/job\n0::/\n")
    linux("sys/fs/cgroup/memory/job/memory.limit_in_bytes", f"{6 * GIB}\n")
    linux("sys/fs/cgroup/memory/job/memory.usage_in_bytes", f"{5 * GIB}\n")
    linux("sys/fs/cgroup/memory/job/memory.stat", f"cache 1\ntotal_inactive_file {GIB}\n")
    linux("sys/fs/cgroup/memory/memory.limit_in_bytes", f"{2**63 - 4096}\n")
    linux("sys/fs/cgroup/memory/memory.usage_in_bytes", f"{9 * GIB}\n")

    assert free_host_memory() == 2 * GIB


def test_a_container_that_is_full_leaves_nothing(linux):
    linux("sys/fs/cgroup/memory.max", f"{GIB}\n")
    linux("sys/fs/cgroup/memory.current", f"{2 * GIB}\n")

    assert free_host_memory() == host_budget() == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory as Linux does")
def test_a_limit_of_the_shell_counts(monkeypatch):
    import resource

    limit = 2**60
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    (left,) = machine_memory._free_addresses()
    assert 0 < left < limit


def test_macos(monkeypatch):
    told = {
        "hw.pagesize": 16384,
        "vm.page_free_count": 2**10,
        "vm.page_pageable_external_count": 2**18,
        "vm.page_purgeable_count": 2**9,
    }
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(machine_memory, "_sysctl", told.__getitem__)

    assert free_host_memory() == 16384 * (2**10 + 2**18 + 2**9)


def test_numbers_of_macos_are_read_into_as_many_bytes_as_they_have(monkeypatch):
    def sysctlbyname(name, value, size, new, new_size):
        assert (name, new, new_size) == (b"hw.pagesize", None, 0)
        size._obj.value = 4
        ctypes.memmove(value, (16384).to_bytes(4, sys.byteorder), 4)
        return 0

    system = SimpleNamespace(sysctlbyname=sysctlbyname)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: system)
    assert machine_memory._sysctl("hw.pagesize") == 16384

    system.sysctlbyname = lambda *given: -1
    monkeypatch.setattr(sys, "platform", "darwin")
    assert host_budget() == UNKNOWN_HOST_BUDGET


@pytest.mark.parametrize(("free", "page_file", "result"), [(6, 9, 6), (6, 2, 2)])
def test_windows(monkeypatch, free, page_file, result):
    def fill(status):
        status = status._obj
        assert status.size == ctypes.sizeof(status) == 64
        status.free, status.free_with_page_file = free * GIB, page_file * GIB
        return 1

    kernel = SimpleNamespace(GlobalMemoryStatusEx=fill)
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    monkeypatch.setattr(sys, "platform", "win32")
    assert free_host_memory() == result * GIB

    kernel.GlobalMemoryStatusEx = lambda status: 0
    assert host_budget() == UNKNOWN_HOST_BUDGET


def test_a_system_that_tells_nothing_gets_what_was_always_taken(monkeypatch):
    def unknown(name):
        raise ValueError(f"unrecognized configuration name: {name}")

    monkeypatch.setattr(sys, "platform", "plan9")
    monkeypatch.setattr(machine_memory.os, "sysconf", unknown)

    assert free_host_memory() is None
    assert host_budget() == UNKNOWN_HOST_BUDGET == 8 * GIB


# ---- devices -------------------------------------------------------------------------------------


def test_half_of_what_a_card_has_free_is_taken(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (20 * GIB, 24 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3 * GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: GIB)

    assert device_budget(CUDA) == 11 * GIB


@pytest.mark.parametrize(("host", "budget"), [(64, 4), (8, 2)])
def test_a_mac_shares_its_memory_with_its_graphics(monkeypatch, host, budget):
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 10 * GIB)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 2 * GIB)
    monkeypatch.setattr(machine_memory, "free_host_memory", lambda: host * GIB)

    assert device_budget(METAL) == budget * GIB


def test_a_device_that_tells_nothing_gets_what_was_always_taken(monkeypatch):
    def broken(device):
        raise RuntimeError("CUDA driver error")

    monkeypatch.setattr(torch.cuda, "memory_reserved", broken)

    assert device_budget(CUDA) == UNKNOWN_DEVICE_BUDGET == 4 * GIB
    assert device_budget(torch.device("xpu", 0)) == UNKNOWN_DEVICE_BUDGET


# ---- sessions ------------------------------------------------------------------------------------


def test_a_session_asks_the_machine_that_it_is_on(monkeypatch):
    monkeypatch.setattr(machine_memory, "free_host_memory", lambda: 6 * GIB)
    session = stub_session()

    assert session.settings.host_budget is session.settings.device_budget is None
    assert session.embeddings.host_budget == 3 * GIB
    assert stub_session(host_budget=5).embeddings.host_budget == 5
    assert stub_session(device_budget=5).embeddings.device_budget == 5


def test_a_card_is_asked_when_the_network_comes_to_it(monkeypatch):
    class Moved(StubNetwork):
        place = torch.device("cpu")
        device = property(lambda self: self.place)

    asked = []
    monkeypatch.setattr(
        machine_memory, "device_budget", lambda device: asked.append(device) or 2 * GIB
    )
    session = Session(Moved(), volume_of(scan_of(*SCENE)))
    session.prepare()
    assert asked == []

    session.model.place = torch.device("cpu", 0)
    click_on(session, FIRST)
    session.find_similar()
    assert asked == [torch.device("cpu", 0)]
    assert session.embeddings.encoded == 12


def test_a_restored_session_asks_the_machine_that_it_is_restored_on(monkeypatch):
    session = stub_session(host_budget=10**12, device_budget=10**12, undo_budget=10**12)
    click_on(session, FIRST)
    content = to_bytes(session)
    monkeypatch.setattr(machine_memory, "free_host_memory", lambda: 4 * GIB)

    restored = restore(content, session.model, session.volume)

    assert restored.settings.host_budget is None
    assert restored.embeddings.host_budget == 2 * GIB
    assert restored.history.budget == 2**29
    assert digest(restored.state) == digest(session.state)
    assert b"budget" not in content
    assert describe(content).settings.host_budget is None


def test_budgets_can_change_in_the_middle_of_the_work():
    session, roomy = stub_session(), stub_session()
    for one in (session, roomy):
        one.prepare()
        click_on(one, FIRST)
    half = session.embeddings.nbytes // 2
    session.adjust(host_budget=half)
    assert session.embeddings.nbytes <= half
    for one in (session, roomy):
        one.find_similar()

    assert digest(session.state) == digest(roomy.state)
    assert session.embeddings.nbytes <= half


@pytest.mark.parametrize("name", ["device_budget", "host_budget", "undo_budget"])
@pytest.mark.parametrize("budget", [-1, float("nan"), float("inf")])
def test_budgets_that_make_no_sense_are_refused(name, budget):
    with pytest.raises(BadInput, match="memory budget"):
        Settings(**{name: budget})

"""How much memory this machine has free, and how much of that a session may take.

No package is needed for it: every system tells by itself, each in its own way.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

GIB = 2**30

UNKNOWN_HOST_BUDGET = 8 * GIB
UNKNOWN_DEVICE_BUDGET = 4 * GIB
"""Taken where the system does not tell."""

SYSTEM = Path("/")
"""Where Linux tells about itself; another folder in tests."""


def host_budget() -> int:
    """Return the bytes of the computer's memory that kept slices may take: half of what is free.

    The other half is for the work itself, and for other programs.
    """
    free = free_host_memory()
    return UNKNOWN_HOST_BUDGET if free is None else free // 2


def device_budget(device: torch.device) -> int:
    """Return the bytes of a device's memory that kept slices may take: half of what is free."""
    free = free_device_memory(device)
    return UNKNOWN_DEVICE_BUDGET if free is None else free // 2


def give_back() -> None:
    """Return memory that nobody uses any more to the system and to the drivers."""
    # Sessions that have ended are circles, which stay until Python comes to look for them.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    if sys.platform.startswith("linux"):
        # The C library keeps what lies between other things in use: most of the dropped slices.
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def shares_host_memory(device: torch.device) -> bool:
    """Return whether a device beside the processor has no memory of its own."""
    return device.type == "mps"


def free_device_memory(device: torch.device) -> int | None:
    """Return how many bytes a device has free; None where nothing tells."""
    try:
        if device.type == "cuda":
            # What torch has taken from the driver and does not use at the moment is free too.
            idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
            return torch.cuda.mem_get_info(device)[0] + idle
        if device.type == "mps":
            free = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
            # The host's budget comes out of the same memory, so that this one is smaller.
            host = free_host_memory()
            return max(free if host is None else min(free, host // 2), 0)
    except (RuntimeError, AttributeError):
        return None
    return None


def free_host_memory() -> int | None:
    """Return how many bytes this process can still take; None where nothing tells."""
    readers = {"linux": _free_on_linux, "darwin": _free_on_macos, "win32": _free_on_windows}
    try:
        return readers.get(sys.platform, _free_pages)()
    except (OSError, ValueError, KeyError, AttributeError):
        return None


def _free_pages() -> int:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


# ---- Linux ----------------------------------------------------------------------------------


def _free_on_linux() -> int:
    try:
        free = 1024 * _fields(SYSTEM / "proc/meminfo")["MemAvailable:"]
    except (OSError, ValueError, KeyError):
        free = _free_pages()
    return max(min([free, *_free_in_groups(), *_free_addresses()]), 0)


def _free_in_groups() -> Iterator[int]:
    """Yield what the groups that the process is in leave it, in a container or a batch job."""
    try:
        lines = (SYSTEM / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root, names = SYSTEM / "sys/fs/cgroup", ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            root = SYSTEM / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        own = Path(path.lstrip("/"))
        # From inside a container the path may not be there, but its root is.
        for group in {root / own, *(root / parent for parent in own.parents), root}:
            limit, used = (_number(group / name) for name in names)
            if limit is not None and used is not None:
                yield limit - used + _file_cache(group)


def _file_cache(group: Path) -> int:
    """Return the bytes of files that a group keeps in memory only as long as nobody needs it."""
    try:
        fields = _fields(group / "memory.stat")
    except (OSError, ValueError):
        return 0
    return fields.get("total_inactive_file", fields.get("inactive_file", 0))


def _free_addresses() -> Iterator[int]:
    """Yield what `ulimit -v` leaves the process."""
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        pages = int((SYSTEM / "proc/self/statm").read_text(encoding="utf-8").split()[0])
        yield limit - pages * os.sysconf("SC_PAGE_SIZE")


def _fields(path: Path) -> dict[str, int]:
    """Read lines that begin with a name and a number."""
    lines = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1}


def _number(path: Path) -> int | None:
    """Read a file of one number; None for "max", or if it is not there."""
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


# ---- macOS ----------------------------------------------------------------------------------

PAGES_TO_BE_HAD = (
    "vm.page_free_count",
    "vm.page_pageable_external_count",
    "vm.page_purgeable_count",
)
"""Free memory, and what macOS gives away at once: copies of files, and what programs can spare."""


def _free_on_macos() -> int:
    return sum(_sysctl(name) for name in PAGES_TO_BE_HAD) * _sysctl("hw.pagesize")


def _sysctl(name: str) -> int:
    value, size = ctypes.c_uint64(0), ctypes.c_size_t(8)
    system = ctypes.CDLL(None)
    if system.sysctlbyname(name.encode(), ctypes.byref(value), ctypes.byref(size), None, 0):
        raise OSError(f"the system does not tell {name}")
    return value.value


# ---- Windows --------------------------------------------------------------------------------


class _MemoryStatus(ctypes.Structure):
    """What Windows fills in, MEMORYSTATUSEX."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("total", ctypes.c_uint64),
        ("free", ctypes.c_uint64),
        ("total_with_page_file", ctypes.c_uint64),
        ("free_with_page_file", ctypes.c_uint64),
        ("total_addresses", ctypes.c_uint64),
        ("free_addresses", ctypes.c_uint64),
        ("extended", ctypes.c_uint64),
    )


def _free_on_windows() -> int:
    status = _MemoryStatus(size=ctypes.sizeof(_MemoryStatus))
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        raise OSError("the system does not tell how much memory is free")
    # Without a page file more can be free than Windows will give.
    return min(status.free, status.free_with_page_file)

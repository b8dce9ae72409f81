"""This machine: its description, its rate of matrix products, and clocks for time and memory.

The rate of plain matrix products is the ceiling that everything else is compared with: a network
cannot be faster than the products it consists of, save by leaving some of them out.
"""

from __future__ import annotations

import ctypes
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}

CPU_SIDES = (1024, 2048)
GPU_SIDES = (4096, 8192)
"""Sides of the square matrices that are multiplied; the fastest counts, as caches differ."""

Work = Callable[[], object]


@dataclass(frozen=True)
class Machine:
    """Description of the machine that figures were taken on."""

    processor: str
    device: str
    cores: int
    threads: int
    memory_bytes: int | None
    system: str
    python: str
    torch: str


def describe(device: torch.device) -> Machine:
    """Return the description of this machine as this process sees it."""
    return Machine(
        processor=_processor_name(),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        cores=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        memory_bytes=_memory_bytes(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=torch.__version__,
    )


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    """Return the size of main memory, or None: Windows tells it only through a library."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def seconds_of(work: Work, device: torch.device) -> float:
    """Return how long some work takes until the device has finished it."""
    _wait_for(device)
    start = time.perf_counter()
    work()
    _wait_for(device)
    return time.perf_counter() - start


def fastest(
    works: Mapping[str, Work], device: torch.device, repeats: int, enough_seconds: float = 0.0
) -> dict[str, float]:
    """Return the shortest time of each work; they take turns, so that a disturbance meets all.

    Short works are repeated until each has run for ``enough_seconds``.
    """
    best = dict.fromkeys(works, float("inf"))
    spent = dict.fromkeys(works, 0.0)
    turns = 0
    while turns < repeats or min(spent.values()) < enough_seconds:
        for name, work in works.items():
            seconds = seconds_of(work, device)
            best[name] = min(best[name], seconds)
            spent[name] += seconds
        turns += 1
    return best


def matrix_rate(dtype: torch.dtype, device: torch.device, repeats: int) -> float:
    """Return the best rate of plain matrix products, in operations per second."""
    rates = []
    for side in CPU_SIDES if device.type == "cpu" else GPU_SIDES:
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        out = torch.empty_like(a)
        product: Work = lambda a=a, b=b, out=out: torch.mm(a, b, out=out)  # noqa: E731
        product()
        rates.append(2 * side**3 / fastest({"product": product}, device, repeats)["product"])
    return max(rates)


def peak_memory(work: Work, device: torch.device) -> int | None:
    """Return the bytes that some work needs beyond those in use before, or None if unknown."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        seconds_of(work, device)
        return torch.cuda.max_memory_allocated(device) - before
    if device.type == "cpu" and _forget_peak():
        before = _resident_bytes("VmRSS")
        work()
        return max(_resident_bytes("VmHWM") - before, 0)
    work()
    return None


def _forget_peak() -> bool:
    """Reset the memory peak of this process; False where that is impossible, as only Linux can."""
    try:
        # Freed memory that the C library kept would hide what the next step takes.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except (AttributeError, OSError, TypeError):
        return False
    return True


def _resident_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()

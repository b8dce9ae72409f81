"""How much memory a segmenter takes: the most that its process, and its GPU, hold during calls."""

from __future__ import annotations

from collections.abc import Callable
from math import nan
from pathlib import Path

import torch

PROCESS = Path("/proc/self")
"""Where Linux tells about this process; another folder in tests."""

_RESET_PEAK = "5"
_MIB_IN_KIB, _MIB = 1024, 2**20


class PeakMemory:
    """The most memory that was held during the calls that were watched, in MiB.

    Of the process it is what Linux counts as resident, everything that was there before included;
    NaN on systems that tell no peak that can be begun anew. Of the GPU it is what PyTorch's tensors
    take; NaN if there was none. Processes that a call starts are not counted.
    """

    def __init__(self) -> None:
        self.process_mib = nan
        self.gpu_mib = nan

    def watch(self, call: Callable[[], object]) -> object:
        """Return what a call gives, and note the most memory that was held in it."""
        is_counted = _begin()
        try:
            return call()
        finally:
            if is_counted:
                self.process_mib = _larger(self.process_mib, _peak_of_process())
            if torch.cuda.is_available() and torch.cuda.is_initialized():
                self.gpu_mib = _larger(self.gpu_mib, torch.cuda.max_memory_allocated() / _MIB)


def _begin() -> bool:
    """Begin counting anew; return whether the process's own peak can be told afterwards."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    try:
        (PROCESS / "clear_refs").write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def _peak_of_process() -> float:
    try:
        lines = (PROCESS / "status").read_text().splitlines()
    except OSError:
        return nan
    sizes = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(sizes[0]) / _MIB_IN_KIB if sizes else nan


def _larger(first: float, second: float) -> float:
    """Return the larger of two numbers, of which either may be NaN."""
    return second if not first >= second else first

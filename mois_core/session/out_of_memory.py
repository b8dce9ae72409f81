"""Errors that say that memory is full, among all others.

torch has a class for some of them only; the rest are told by what its allocators and libraries say.
"""

from __future__ import annotations

import errno
import re

import torch

DEVICE_IS_FULL = (
    "out of memory",  # CUDA, HIP, XPU and Metal
    "alloc_failed",  # cuBLAS, cuDNN, cuSOLVER, cuSPARSE
    "invalid buffer size",  # Metal, asked for more at once than it ever gives
)
HOST_IS_FULL = (
    "defaultcpuallocator",
    "cannot allocate memory",  # the system itself, by way of mmap say
    "could not create a memory object",  # oneDNN
)
KERNEL_FAILED = re.compile(r"could not create a primitive(?! descriptor)|bad_alloc|bad allocation")
"""What comes of oneDNN, which computes on the processor, when it has no memory to make a kernel.
That it could not create a descriptor says that there is no such kernel."""


def device_is_full(error: BaseException) -> bool:
    """Return whether an error says that the memory of the network's device is full."""
    return isinstance(error, torch.OutOfMemoryError) or _says(error, DEVICE_IS_FULL)


def host_is_full(error: BaseException) -> bool:
    """Return whether an error says that the computer's own memory is full."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # The class that numpy has for it is a `MemoryError` too.
    return isinstance(error, MemoryError) or _says(error, HOST_IS_FULL) or kernel_failed(error)


def kernel_failed(error: BaseException) -> bool:
    """Return whether oneDNN had no memory to make a kernel.

    The thread that this happened in can make none any more, however much memory there is later:
    oneDNN keeps the error in a variable of the thread that nothing resets.
    """
    return isinstance(error, RuntimeError) and bool(KERNEL_FAILED.search(str(error)))


def _says(error: BaseException, words: tuple[str, ...]) -> bool:
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(some in text for some in words)

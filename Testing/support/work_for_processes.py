"""What tests have other processes do: they import this file, and nothing that takes seconds."""

from __future__ import annotations

import os
import signal

from mois_core.errors import BadInput

THREADS = "OMP_NUM_THREADS"


def squared(number: int) -> tuple[int, int]:
    """Return the square of a number, and which process computed it."""
    return number**2, os.getpid()


def threads_of(_thing: int) -> tuple[int, str | None]:
    """Return the threads that torch computes with, and those of other libraries."""
    import torch

    return torch.get_num_threads(), os.environ.get(THREADS)


def refuse(bad: int, number: int) -> int:
    """Return the number, unless it is the bad one."""
    if number == bad:
        raise BadInput(f"number {number} is no good")
    return number


def die(_thing: int) -> None:
    """End the process as the system does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def compute_for_ever(_thing: int) -> None:
    """Say which process this is, and compute until somebody ends it."""
    # In one piece, so that the lines of two processes do not mix.
    os.write(1, f"{os.getpid()}\n".encode())
    while True:
        pass


class NeverThere:
    """Work that a process never gets to, since the thing to work on takes for ever to arrive."""

    def __reduce__(self) -> tuple[object, ...]:
        return compute_for_ever, (0,)

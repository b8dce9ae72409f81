"""Several processes on one run, as `torchrun` starts them, each with a part of every step's scans.

Gradients are averaged by hand instead of by a wrapper: the network is called stage by stage, and
which stages a step uses differs from step to step.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import nn


def join() -> tuple[int, int]:
    """Return this process's rank and how many processes there are; (0, 1) without `torchrun`."""
    if "WORLD_SIZE" not in os.environ:
        return 0, 1
    if not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    return dist.get_rank(), dist.get_world_size()


def leave() -> None:
    """Leave the group of processes, if this one has joined it."""
    if dist.is_initialized():
        dist.destroy_process_group()


def wait_for_all() -> None:
    """Wait until all processes have come so far."""
    if dist.is_initialized():
        dist.barrier()


def share_of(count: int, rank: int, processes: int) -> range:
    """Return the indices of those of ``count`` scans that a process takes."""
    return range(count * rank // processes, count * (rank + 1) // processes)


def any_of(here: bool) -> bool:
    """Return whether something holds in any of the processes."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return here
    flag = torch.tensor(int(here), device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(flag)
    return bool(flag)


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace each gradient by its mean over all processes.

    A parameter that no process has a gradient for keeps none, so that the optimizer passes it
    over as it would in a single process.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return
    device = parameters[0].device
    used = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int32, device=device)
    dist.all_reduce(used)
    taking_part = [p for p, n in zip(parameters, used.tolist(), strict=True) if n]
    for parameter in taking_part:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    flat = torch.cat([p.grad.flatten() for p in taking_part])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    parts = flat.split([p.numel() for p in taking_part])
    for parameter, part in zip(taking_part, parts, strict=True):
        parameter.grad.copy_(part.view_as(parameter))

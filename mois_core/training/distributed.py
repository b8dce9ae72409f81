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


def join() -> None:
    """Meet the other processes of the run, if `torchrun` started this one.

    A step asks more of Python than of a large GPU, so several processes may share one. NCCL
    refuses that; their gradients meet on the host.
    """
    if "WORLD_SIZE" not in os.environ or dist.is_initialized():
        return
    gpus = torch.cuda.device_count()
    shared = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > gpus
    dist.init_process_group("gloo" if shared else "nccl")
    if gpus:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % gpus)


def rank() -> int:
    """Return which of the processes this is; 0 without `torchrun`."""
    return dist.get_rank() if dist.is_initialized() else 0


def processes() -> int:
    """Return how many processes there are; 1 without `torchrun`."""
    return dist.get_world_size() if dist.is_initialized() else 1


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
    if processes() == 1:
        return here
    flag = torch.tensor(int(here), device=_meeting_place())
    dist.all_reduce(flag)
    return bool(flag)


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace each gradient by its mean over all processes.

    A parameter that no process has a gradient for keeps none, so that the optimizer passes it
    over as it would in a single process.
    """
    if processes() == 1:
        return
    place = _meeting_place()
    used = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int32, device=place)
    dist.all_reduce(used)
    taking_part = [p for p, n in zip(parameters, used.tolist(), strict=True) if n]
    for parameter in taking_part:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    flat = torch.cat([p.grad.flatten() for p in taking_part])
    total = flat.to(place)
    dist.all_reduce(total)
    flat.copy_(total / processes())
    parts = flat.split([p.numel() for p in taking_part])
    for parameter, part in zip(taking_part, parts, strict=True):
        parameter.grad.copy_(part.view_as(parameter))


def _meeting_place() -> str:
    """Return the device on which the processes can exchange tensors."""
    return "cuda" if dist.get_backend() == "nccl" else "cpu"

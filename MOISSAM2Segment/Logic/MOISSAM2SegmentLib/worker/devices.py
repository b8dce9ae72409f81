"""What the network can run on, and giving its memory back."""

from __future__ import annotations

import gc
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mois_core.session import Session

_GIB = 2**30


@dataclass(frozen=True)
class Device:
    """A place to compute."""

    name: str
    """As torch calls it: ``cuda:0``, ``mps``, ``cpu``."""
    words: str
    """As the user knows it."""
    memory_gib: float | None = None


def available_devices() -> list[Device]:
    """All there are, the best first; the processor is always there."""
    import torch

    devices = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(index)
            memory = about.total_memory / _GIB
            devices.append(Device(f"cuda:{index}", f"{about.name} ({memory:.0f} GB)", memory))
        devices.sort(key=lambda device: -(device.memory_gib or 0))
    if torch.backends.mps.is_available():
        devices.append(Device("mps", "graphics processor of this Mac"))
    devices.append(Device("cpu", f"processor ({os.cpu_count()} cores; slower)"))
    return devices


def choose_device(wanted: str | None = None) -> Device:
    """The one that is wanted if it is there, else the best: a scene or a setting may come from
    another computer."""
    devices = available_devices()
    return next((device for device in devices if device.name == wanted), devices[0])


def free_memory_gib(name: str) -> float | None:
    """How much of a graphics card's memory is free; None where the system does not say."""
    import torch

    if not name.startswith("cuda") or not torch.cuda.is_available():
        return None
    return torch.cuda.mem_get_info(torch.device(name))[0] / _GIB


def move_to_host(model: Any, sessions: Iterable[Session]) -> None:
    """Give a device's memory back without forgetting what was computed."""
    for session in sessions:
        session.embeddings.release_device()
    model.to("cpu")
    empty_caches()


def move_to_device(model: Any, sessions: Iterable[Session], name: str) -> None:
    """Go on where the memory was given back, or on another device."""
    for session in sessions:
        session.embeddings.release_device()
    model.to(name)


def empty_caches() -> None:
    """Hand memory that nothing uses any more from torch to the system."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()

"""Devices that the network can run on, and the memory that it takes there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from MOISSAM2SegmentLib.messages import tr as _

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mois_core.session import Session

_GIB = 2**30

CARD = _("{name} ({memory:.0f} GB)")
MAC = _("graphics processor of this Mac")
PROCESSOR = _("processor ({cores} cores; slower)")


@dataclass(frozen=True)
class Device:
    """A device that torch can compute on."""

    name: str
    """Torch's name for it: ``cuda:0``, ``mps``, ``cpu``."""
    title: str
    """The user's name for it."""
    memory_gib: float | None = None


def available_devices() -> list[Device]:
    """Return all devices of this computer, the best first; the processor is the last."""
    import torch

    devices = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(index)
            memory = card.total_memory / _GIB
            title = CARD.format(name=card.name, memory=memory)
            devices.append(Device(f"cuda:{index}", title, memory))
        devices.sort(key=lambda device: -(device.memory_gib or 0))
    if torch.backends.mps.is_available():
        devices.append(Device("mps", MAC))
    devices.append(Device("cpu", PROCESSOR.format(cores=os.cpu_count())))
    return devices


def choose_device(wanted: str | None = None) -> Device:
    """Return the device with a name, or the best one if it is not there.

    A scene or a setting may come from another computer.
    """
    devices = available_devices()
    return next((device for device in devices if device.name == wanted), devices[0])


def free_memory_gib(name: str) -> float | None:
    """Return the free memory of a graphics card; None where the system does not report it."""
    import torch

    if not name.startswith("cuda") or not torch.cuda.is_available():
        return None
    return torch.cuda.mem_get_info(torch.device(name))[0] / _GIB


def move_to_host(model: Any, sessions: Iterable[Session]) -> None:
    """Free a device's memory, keeping what was computed in the computer's own memory."""
    from mois_core.session import machine_memory

    for session in sessions:
        session.embeddings.release_device()
    model.to("cpu")
    machine_memory.give_back()


def move_to_device(model: Any, sessions: Iterable[Session], name: str) -> None:
    """Move a network to a device, after its memory was freed or to replace another device."""
    for session in sessions:
        session.embeddings.release_device()
    model.to(name)

"""The GPU, its driver and all that figures depend on, or why there is none to be used."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from mois_core import __version__
from mois_core.bench.machine import describe as describe_machine
from mois_core.errors import BadInput
from mois_core.io.atomic import atomic_write

MACHINE = "machine.json"
_ASKED = ("name", "driver_version", "memory.total")
_HAS_TO_BE_THE_SAME = ("gpu", "driver", "torch", "rehearsal")


def why_no_gpu() -> str | None:
    """Return why there is no GPU that torch can use and what helps, or None if there is one."""
    if torch.version.cuda is None:
        return (
            f"torch {torch.__version__} is a build without CUDA. On Linux the one on PyPI has it: "
            "remove .venv and run 'make gpu' again. If your package index has another build, add "
            "TORCH_INDEX= with the address that pytorch.org names for your driver"
        )
    if torch.cuda.is_available():
        return None
    if shutil.which("nvidia-smi") is None:
        return "there is no NVIDIA driver on this machine (nvidia-smi is missing)"
    return (
        f"torch {torch.__version__} sees no GPU, though nvidia-smi is there. Its driver may be too "
        f"old for CUDA {torch.version.cuda}, or CUDA_VISIBLE_DEVICES may hide it"
    )


def describe(device: str) -> dict[str, Any]:
    """Return the facts that belong to every figure."""
    gpu, driver, memory = _nvidia_smi() if device == "cuda" else ("none", "none", "none")
    # What torch says of the GPU would take memory on it as long as this process lives.
    processor = asdict(describe_machine(torch.device("cpu")))
    return {
        "gpu": gpu,
        "gpu_memory": memory,
        "driver": driver,
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
        **{name: processor[name] for name in ("processor", "cores", "system", "python")},
        "mois_version": __version__,
        "commit": _commit(),
        "rehearsal": device != "cuda",
    }


def check_same(machine: dict[str, Any], folder: Path) -> None:
    """Note the machine in a folder of results; refuse one that has those of another."""
    path = folder / MACHINE
    folder.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        for what in _HAS_TO_BE_THE_SAME:
            if before.get(what) != machine[what]:
                raise BadInput(
                    f"{folder} has figures with {what} {before.get(what)}, here it is "
                    f"{machine[what]}; choose another --out"
                )
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(machine, indent=1) + "\n", encoding="utf-8")


def _nvidia_smi() -> tuple[str, str, str]:
    command = ["nvidia-smi", f"--query-gpu={','.join(_ASKED)}", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return torch.cuda.get_device_name(), "unknown", "unknown"
    name, driver, memory = (part.strip() for part in said.splitlines()[0].split(","))
    return name, driver, memory


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        said = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return said.strip()

"""Safe and strict reading of checkpoint files.

A file is never trusted: pickles are loaded with ``weights_only=True``, so nothing in them runs,
and every key must be there with the right shape.
"""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from mois_core.errors import BadInput

KEYS_SHOWN = 5

SCANS = "scans"
SCAN_FIELDS = ("axis", "grey_window")

ZIP_START, PICKLE_START = b"PK", b"\x80"
HEADER_START = 8
"""Where the header of a ``.safetensors`` file begins, behind its length; it is JSON."""


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Return the state dict in a ``.pt`` or ``.safetensors`` file of either published form."""
    return weights_in(read_file(path), path)


def weights_in(content: object, path: str | Path) -> dict[str, Tensor]:
    """Return the state dict in what a file holds; ``path`` names it in errors."""
    state = content.get("model", content) if isinstance(content, Mapping) else content
    if not isinstance(state, Mapping) or not state:
        raise BadInput(f"{path} holds no network weights")
    wrong = [str(k) for k, v in state.items() if not (isinstance(k, str) and torch.is_tensor(v))]
    if wrong:
        raise BadInput(f"{path} holds no plain network weights: {_some(wrong)} is no tensor")
    return dict(state)


def read_file(path: str | Path) -> object:
    """Return the content of a file; its first bytes tell the format, since files get renamed."""
    path = Path(path)
    if path.is_dir():
        raise BadInput(f"{path} is a folder; name the checkpoint file in it")
    if not path.is_file():
        raise BadInput(f"there is no checkpoint file at {path}")
    try:
        with path.open("rb") as file:
            start = file.read(HEADER_START + 1)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
    if not start:
        raise BadInput(f"{path} is empty; download or copy the checkpoint again")
    if start[HEADER_START:] == b"{":
        return _read_safetensors(path)
    if start.startswith((ZIP_START, PICKLE_START)):
        return _read_torch(path)
    raise BadInput(
        f"{path} is no checkpoint: it begins like neither a PyTorch nor a .safetensors file"
    )


def _read_safetensors(path: Path) -> Mapping[str, object]:
    """Return the weights under "model", and under "scans" what is told of the scans they are of."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            told = (file.metadata() or {}).get(SCANS)
            return {"model": safetensors.torch.load_file(path), SCANS: told and json.loads(told)}
    except Exception as error:
        raise BadInput(f"{path} is not a whole .safetensors file; get it again") from error


def write_safetensors(
    state: Mapping[str, Tensor], path: str | Path, scans: Mapping[str, object]
) -> None:
    """Write weights, and what `scans_in` says of the scans that they were trained on."""
    told = {SCANS: json.dumps(dict(scans))} if scans else None
    safetensors.torch.save_file(dict(state), path, metadata=told)


def scans_in(content: object) -> dict[str, object]:
    """Return the fields of a network's config that say what scans its weights were trained on.

    ``content`` is that of a file. What the file does not tell is as the preset has it.
    """
    if not isinstance(content, Mapping):
        return {}
    run = content.get("config")
    changes = run.get("changes") if isinstance(run, Mapping) else content.get(SCANS)
    if not isinstance(changes, Mapping):
        return {}
    return {name: changes[name] for name in SCAN_FIELDS if name in changes}


def _read_torch(path: Path) -> object:
    try:
        # Open, since PyTorch judges a path by its suffix.
        with path.open("rb") as file, warnings.catch_warnings():
            # What PyTorch thinks of a file that it then refuses helps nobody.
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BadInput(
            f"{path} holds more than weights, or is damaged; "
            "it was not loaded, since such a file can run code"
        ) from error
    except Exception as error:
        # A damaged file can make the reader stumble over anything, down to its own assertions.
        if _is_zip_archive(path):
            raise BadInput(
                f"{path} is a zip archive but no whole checkpoint; "
                "unpack it, or import it with 'mois weights import'"
            ) from error
        raise BadInput(
            f"{path} is cut short or is not a PyTorch checkpoint; get it again"
        ) from error


def _is_zip_archive(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:
        return False


def load_into(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load a state dict into a network; every key must fit. ``source`` names it in errors."""
    wanted = model.state_dict()
    missing = [key for key in wanted if key not in state]
    extra = [key for key in state if key not in wanted]
    misshaped = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in wanted
        if key in state and state[key].shape != wanted[key].shape
    ]
    faults = [
        f"{len(keys)} {what}: {_some(keys)}"
        for what, keys in (
            ("missing", missing),
            ("unknown", extra),
            ("of another shape", misshaped),
        )
        if keys
    ]
    if faults:
        raise BadInput(f"{source} does not fit this model; keys {'; '.join(faults)}")
    model.load_state_dict(state, strict=True)


def from_sam2(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Complete a SAM 2.1 state dict to one for a model with exemplars.

    The exemplar attention starts as a copy of the memory attention, the rest as the model has
    it, which is how the published training starts.
    """
    wanted = model.state_dict()
    completed = dict(state)
    for key, value in wanted.items():
        if key not in state and "exemplar" in key:
            twin = key.replace("exemplar_attention.", "memory_attention.", 1)
            completed[key] = state.get(twin, value)
    return completed


def _some(keys: list[str]) -> str:
    shown = ", ".join(keys[:KEYS_SHOWN])
    rest = len(keys) - KEYS_SHOWN
    return f"{shown} and {rest} more" if rest > 0 else shown

"""A training run as a file: JSON, since Python 3.10 reads no TOML and YAML is no part of it.

Every key is a field of one of the dataclasses below; an unknown one is refused, so that a
misspelt option cannot silently do nothing.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from mois_core.errors import BadInput
from mois_core.training.losses import LossWeights
from mois_core.training.optimiser import Optimisation
from mois_core.training.sampling import Sampling
from mois_core.training.search import SearchConfig
from mois_core.training.step import Task


@dataclass(frozen=True)
class Phantoms:
    """Which synthetic scans to learn from, made when the run starts or read from a cache."""

    first: int = 1000
    count: int = 0
    cache: str | None = None


@dataclass(frozen=True)
class Data:
    """Where the scans come from: prepared files, phantoms, or both."""

    prepared: str | None = None
    """A folder that `mois prepare` wrote."""
    fold: int | None = None
    """The fold of patients that is left out for validation."""
    phantoms: Phantoms = field(default_factory=Phantoms)


@dataclass(frozen=True)
class Validation:
    """How often to measure: on the fold that is left out, or else on phantoms, which are of the
    training range and never held out."""

    every: int = 0
    """Steps between two measurements; 0 for none."""
    first_phantom: int = 90000
    phantoms: int = 4
    exemplars: int = 5


@dataclass(frozen=True)
class TrainConfig:
    """One run."""

    model: str = "phantom"
    changes: dict[str, Any] = field(default_factory=dict)
    """Fields of the network's config that differ from the preset's."""
    start: str | None = None
    """A checkpoint to start from; with `start_is_sam2` one of SAM 2.1."""
    start_is_sam2: bool = False
    redrawn: tuple[str, ...] = ()
    """Parameters whose names match one of these patterns are not taken from `start`, and need not
    be in it."""
    point_frequency: float = 1.0
    """Factor on the random frequencies that tell where a click is, in a run from scratch. Small
    lesions in small images are told apart sooner with higher ones."""
    matching: float = 0.0
    """In a run from scratch, how strongly a click looks at its own place from the beginning;
    0 leaves the attention of the mask decoder as PyTorch draws it."""
    standardise: bool = False
    """Scale the encoder's outputs on some scans before the first step."""
    seed: int = 123
    steps: int = 1000
    frozen: tuple[str, ...] = ()
    """Parameters whose names match one of these patterns are left as they are."""
    autocast: bool = False
    """Compute in bfloat16 where that is safe; for GPUs."""
    threads: int = 0
    """Processor threads; 0 leaves it to PyTorch."""
    checkpoint_every: int = 100
    log_every: int = 20
    data: Data = field(default_factory=Data)
    sampling: Sampling = field(default_factory=Sampling)
    task: Task = field(default_factory=Task)
    search: SearchConfig = field(default_factory=SearchConfig)
    losses: LossWeights = field(default_factory=LossWeights)
    optimisation: Optimisation = field(default_factory=Optimisation)
    validation: Validation = field(default_factory=Validation)


def read_config(path: Path) -> TrainConfig:
    """The config in a file; ``"base"`` names another file, relative to it, that it changes."""
    return _build(TrainConfig, _read(path), str(path))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise BadInput(f"{path} is no valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise BadInput(f"{path} must hold one JSON object")
    base = content.pop("base", None)
    return content if base is None else _merged(_read(path.parent / base), content)


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _build(kind: type, values: dict[str, Any], where: str) -> Any:
    hints = get_type_hints(kind)
    names = {own.name for own in dataclasses.fields(kind)}
    unknown = sorted(set(values) - names)
    if unknown:
        known = ", ".join(sorted(names))
        raise BadInput(f"{where}: unknown option '{unknown[0]}'; known are {known}")
    made = {name: _value(hints[name], value, f"{where}: {name}") for name, value in values.items()}
    return kind(**made)


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise BadInput(f"{where} must be an object")
        return _build(hint, value, where)
    if get_origin(hint) is tuple and isinstance(value, list):
        return tuple(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not _fits(hint, value):
        raise BadInput(f"{where} cannot be {json.dumps(value)}")
    return value


def _fits(hint: Any, value: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) in (dict, tuple):
        return isinstance(value, get_origin(hint))
    options = get_args(hint) or (hint,)
    if isinstance(value, bool):
        return bool in options
    return isinstance(value, options) or (float in options and isinstance(value, int))

"""Reads the config of a training run from JSON, and refuses what it does not know.

An unknown key is an error, so that a misspelt option cannot silently do nothing. Libraries that
fill dataclasses from JSON do not say where an unknown key is, or take ``true`` for a number.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from mois_core.errors import BadInput
from mois_core.training.config import TrainConfig

# By their names alone, whichever part of a config they stand in. All others begin at 0.
_AT_LEAST_ONE = {
    "steps", "checkpoint_every", "log_every", "scans", "consecutive", "most_exemplars", "exemplars",
    "most_lesions", "pooling",
}  # fmt: skip
_BELOW_ONE = {"beta1", "beta2"}


def read_stages(path: Path) -> dict[str, TrainConfig]:
    """Read the stages of a run by name; a config without stages is a single one without a name.

    The key ``"base"`` names another file, relative to the config, that it changes. What stands
    beside ``"stages"`` is the same for all of them, as far as they do not say otherwise. A stage of
    the base that is ``null`` is left out.
    """
    shared = _read(path)
    stages = shared.pop("stages", {"": {}})
    if isinstance(stages, dict):
        stages = {name: changes for name, changes in stages.items() if changes is not None}
    if not isinstance(stages, dict) or not stages:
        raise BadInput(f"{path}: stages must be an object, with the options of each stage by name")
    built = {}
    for name, changes in stages.items():
        where = f"{path}: stages: {name}" if name else str(path)
        if not isinstance(changes, dict):
            raise BadInput(f"{where} must be an object")
        built[name] = _built(TrainConfig, _merged(shared, changes), where)
    return built


def read_config(path: Path) -> TrainConfig:
    """Read the config of a run of a single stage."""
    stages = read_stages(path)
    if len(stages) > 1:
        raise BadInput(f"{path} has several stages: {', '.join(stages)}")
    return next(iter(stages.values()))


def _read(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise BadInput(f"{path} is no valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise BadInput(f"{path} must hold one JSON object")
    base = content.pop("base", None)
    if base is None:
        return content
    changed = path.parent / str(base)
    if changed.resolve() in {path.resolve(), *(one.resolve() for one in above)}:
        raise BadInput(f"{path}: its base {base} leads back to itself")
    return _merged(_read(changed, (*above, path)), content)


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _built(config_class: type, values: Any, where: str) -> Any:
    if not isinstance(values, dict):
        raise BadInput(f"{where} must be an object")
    hints = get_type_hints(config_class)
    unknown = sorted(values.keys() - hints.keys())
    if unknown:
        known = ", ".join(sorted(hints))
        raise BadInput(f"{where}: unknown option '{unknown[0]}'; known are {known}")
    built = {key: _value(hints[key], value, f"{where}: {key}") for key, value in values.items()}
    for key, value in built.items():
        _check_range(key, value, where)
    return config_class(**built)


def _check_range(key: str, value: Any, where: str) -> None:
    """Refuse a number that makes no sense: none of them may be negative."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    least, below = (1 if key in _AT_LEAST_ONE else 0), (1 if key in _BELOW_ONE else math.inf)
    if not least <= value < below:
        end = "" if below == math.inf else f" and is less than {below}"
        raise BadInput(f"{where}: {key} begins at {least}{end}, and cannot be {value}")


def _fills(hint: Any, values: list[Any]) -> bool:
    """Return whether a list has the length and the types that the hint of a tuple asks for."""
    kinds = get_args(hint)
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(values)
    return list(map(type, values)) == list(kinds)


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _built(hint, value, where)
    origin, options = get_origin(hint), get_args(hint) or (hint,)
    tuples = [one for one in (hint, *options) if get_origin(one) is tuple]
    if isinstance(value, list) and tuples:
        if not _fills(tuples[0], value):
            raise BadInput(f"{where} cannot be {json.dumps(value)}")
        return tuple(value)
    if origin is Literal:
        fits = value in options
    elif origin in (dict, tuple):
        fits = isinstance(value, origin)
    elif isinstance(value, bool):
        # To Python a bool is an int as well.
        fits = bool in options
    elif isinstance(value, int) and float in options:
        return float(value)
    else:
        fits = isinstance(value, tuple(get_origin(one) or one for one in options))
    if not fits:
        raise BadInput(f"{where} cannot be {json.dumps(value)}")
    return value

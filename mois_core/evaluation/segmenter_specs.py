"""Segmenters in words, as the command line and the results write them.

Words travel to another process and can be compared with those of an interrupted run; networks
are read where they are used, once in each process.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from mois_core import weights
from mois_core.errors import BadInput
from mois_core.evaluation.segmenters import RegionGrowing, Segmenter, SessionSegmenter
from mois_core.geometry import VIEWS
from mois_core.network.model import Sam2
from mois_core.session.state import Settings

SEGMENTER_KINDS = ("mois", "sam2", "slm", "region-growing")
_SEARCHING = {"mois": True, "sam2": False, "slm": False}
_SWITCHES = {"yes": True, "no": False}
_WORDS = {"axis": tuple(VIEWS), "findings": ("components", "reprompted")}
_KINDS_OF_VALUE = {bool: "yes or no", int: "a whole number", float: "a number"}
_SESSION_OPTIONS = {
    name: type(getattr(Settings(), name))
    for name in (
        "axis",
        "propagation_mm",
        "exemplars",
        "smallest_cm3",
        "fill_holes",
        "findings",
        "gate",
        "heed_clicks",
        "absorb",
        "connected",
        "learn_from_rejections",
        "accepted_as_exemplars",
    )
} | {"propagation_slices": int, "min_confidence": float}


@dataclass(frozen=True)
class SegmenterSpec:
    """A segmenter in words, small enough to travel to another process."""

    name: str
    """Name in tables and figures."""
    kind: str
    """One of `SEGMENTER_KINDS`, or a Python file and a class in it."""
    model: str = ""
    """A preset with weights that ship, or a file of weights."""
    options: tuple[tuple[str, str], ...] = ()
    fold: str = ""
    """Fold of a cross-validation that the weights are from."""
    device: str = "cpu"
    dtype: str = "float32"


def parse_spec(text: str, device: str = "cpu", dtype: str = "float32") -> SegmenterSpec:
    """Read ``[NAME@FOLD:]KIND[=MODEL][,OPTION=VALUE...]``, as ``mois evaluate --help`` says."""
    label, colon, rest = text.partition(":")
    is_drive = len(label) == 1 and rest[:1] in ("/", "\\")
    if not colon or label.endswith(".py") or "=" in label or is_drive:
        # The colon is that of "mine.py:Mine" or "C:/weights".
        label, rest = "", text
    first, *options = rest.split(",")
    kind, _, model = first.partition("=")
    name, _, fold = label.partition("@")
    pairs = tuple(tuple(option.partition("=")[::2]) for option in options)
    if kind not in SEGMENTER_KINDS and ".py" not in kind:
        raise BadInput(
            f"there is no segmenter '{kind}'; choose from {', '.join(SEGMENTER_KINDS)}, or give a "
            "Python file and a class in it, like mine.py:Mine"
        )
    if kind in _SEARCHING and not model:
        raise BadInput(f"'{kind}' needs a model, like {kind}=phantom or {kind}=weights.pt")
    spec = SegmenterSpec(name or _plain_name(kind, pairs), kind, model, pairs, fold, device, dtype)
    check_options(spec)
    return spec


def _plain_name(kind: str, options: tuple[tuple[str, str], ...]) -> str:
    plain = {
        "mois": "MOIS-SAM2",
        "sam2": "SAM2",
        "slm": "SLM-SAM2",
        "region-growing": "Region growing",
    }.get(kind) or kind.rpartition(":")[2]
    return " ".join([plain, *(f"{key}={value}" for key, value in options)])


def check_options(spec: SegmenterSpec) -> None:
    """Refuse options that a segmenter does not have, before hours of work."""
    if spec.kind in _SEARCHING:
        _session_options(spec)
    elif spec.kind == "region-growing":
        RegionGrowing(**_arguments(spec, RegionGrowing))
    else:
        made = _class_in(spec.kind)
        made(**_arguments(spec, made))


def make_segmenter(spec: SegmenterSpec) -> Segmenter:
    """Return a segmenter without a scan; weights are read once in each process."""
    if spec.kind in _SEARCHING:
        settings, reference = _session_options(spec)
        model = _network(spec.model, spec.device, spec.dtype)
        return SessionSegmenter(model, settings, _SEARCHING[spec.kind], reference)
    if spec.kind == "region-growing":
        return RegionGrowing(**_arguments(spec, RegionGrowing))
    made = _class_in(spec.kind)
    return made(**_arguments(spec, made))


def _session_options(spec: SegmenterSpec) -> tuple[Settings, bool]:
    """Return the session's settings, and whether it follows the published flow."""
    given: dict[str, object] = {}
    for name, value in spec.options:
        if name != "reference" and name not in _SESSION_OPTIONS:
            known = ", ".join([*_SESSION_OPTIONS, "reference"])
            raise BadInput(f"'{spec.kind}' has no option '{name}'; it has: {known}")
        given[name] = _value(name, value, _SESSION_OPTIONS.get(name, bool))
    reference = bool(given.pop("reference", False))
    return replace(Settings(), **given), reference


def _value(name: str, text: str, kind: type) -> object:
    allowed = _WORDS.get(name) or _KINDS_OF_VALUE[kind]
    try:
        if name in _WORDS and text not in _WORDS[name]:
            raise ValueError
        return _SWITCHES[text] if kind is bool else kind(text)
    except (KeyError, ValueError):
        allowed = allowed if isinstance(allowed, str) else " or ".join(allowed)
        raise BadInput(f"option '{name}' must be {allowed}, not '{text}'") from None


def _arguments(spec: SegmenterSpec, made: type) -> dict[str, object]:
    """Return options as arguments of a class, as numbers where they are numbers.

    Options that the class does not take are refused.
    """
    known = list(inspect.signature(made).parameters)
    for name, _ in spec.options:
        if name not in known:
            listed = ", ".join(known) or "none"
            raise BadInput(f"'{spec.kind}' has no option '{name}'; it has: {listed}")
    return {name: _number_or_text(value) for name, value in spec.options}


def _number_or_text(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


@lru_cache(maxsize=8)
def _class_in(kind: str) -> type[Segmenter]:
    """Return the class that is written as FILE.py:CLASS."""
    file, _, name = kind.rpartition(":")
    path = Path(file)
    if not file or not path.is_file():
        raise BadInput(f"'{kind}' is no Python file and class; write it as mine.py:Mine")
    unique = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    spec = importlib.util.spec_from_file_location(f"segmenter_{unique}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        # Whatever a user's file raises is about that file, so it is said about it.
        raise BadInput(f"{path} cannot be run: {error}") from error
    made = getattr(module, name, None)
    if not (isinstance(made, type) and issubclass(made, Segmenter)):
        raise BadInput(f"{path} has no class '{name}' that derives from Segmenter")
    return made


@lru_cache(maxsize=4)
def _network(model: str, device: str, dtype: str) -> Sam2:
    return weights.open_checkpoint(model, device=device, dtype=dtype).network


def weights_of(spec: SegmenterSpec) -> Mapping[str, str]:
    """Return what tells a segmenter's weights or code from others: names alone do not."""
    if spec.kind in _SEARCHING:
        path = weights.resolve(spec.model)
        return {"file": path.name, "sha256": weights.checksum(path)}
    if spec.kind in SEGMENTER_KINDS:
        return {}
    path = Path(spec.kind.rpartition(":")[0])
    return {"file": path.name, "sha256": weights.sha256_of(path)}

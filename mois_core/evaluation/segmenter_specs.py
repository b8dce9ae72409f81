"""Segmenters in words, as the command line and the results write them.

Words travel to another process and can be compared with those of an interrupted run; networks
are read where they are used, once in each process.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from mois_core import models, weights
from mois_core.errors import BadInput
from mois_core.evaluation.baselines import BASELINES
from mois_core.evaluation.segmenters import (
    Missing,
    Segmenter,
    SessionSegmenter,
    Surroundings,
)
from mois_core.geometry import VIEWS
from mois_core.network.checkpoint import read_file, weights_in
from mois_core.network.config import NetworkConfig
from mois_core.network.loading import network_in
from mois_core.network.model import Sam2
from mois_core.session.state import Settings


@dataclass(frozen=True)
class _SessionKind:
    """A kind of segmenter that is the engine with one of the papers' networks."""

    title: str
    network: str
    """As `_network_of` calls it. MOIS-SAM2's weights without a search are no SAM 2: that is
    fine-tuned by itself."""
    searches: bool = False


_SESSION_KINDS = {
    "mois": _SessionKind("MOIS-SAM2", "mois", searches=True),
    "mois-clicks": _SessionKind("MOIS-SAM2 without search", "mois"),
    "sam2": _SessionKind("SAM2", "sam2"),
    "slm": _SessionKind("SLM-SAM2", "slm"),
}
SEGMENTER_KINDS = (*_SESSION_KINDS, *BASELINES)
_MODEL = "model"
"""The argument of a baseline's class that gets what stands behind the = of its word."""
_SWITCHES = {"yes": True, "no": False}
_WORDS = {"axis": tuple(VIEWS), "findings": ("components", "reprompted")}
_KINDS_OF_VALUE = {bool: "yes or no", int: "a whole number", float: "a number"}
_SESSION_OPTIONS = {
    name: type(getattr(Settings(), name))
    for name in (
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
} | {"axis": str, "propagation_slices": int, "min_confidence": float}


@dataclass(frozen=True)
class SegmenterSpec:
    """A segmenter in words, small enough to travel to another process."""

    name: str
    """Name in tables and figures."""
    kind: str
    """One of `SEGMENTER_KINDS`, or a Python file and a class in it."""
    model: str = ""
    """A preset with weights that ship, a file of weights, or what else a baseline works with."""
    options: tuple[tuple[str, str], ...] = ()
    fold: str = ""
    """Fold of a cross-validation that the weights are from."""
    device: str = "cpu"
    dtype: str = "float32"

    @property
    def label(self) -> str:
        """Name and fold, which no two segmenters of a plan share."""
        return f"{self.name}@{self.fold}" if self.fold else self.name


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
    if kind in _SESSION_KINDS and not model:
        raise BadInput(f"'{kind}' needs a model, like {kind}=phantom or {kind}=weights.pt")
    spec = SegmenterSpec(name or _plain_name(kind, pairs), kind, model, pairs, fold, device, dtype)
    with suppress(Missing):
        check_options(spec)
    return spec


def _plain_name(kind: str, options: tuple[tuple[str, str], ...]) -> str:
    known = _SESSION_KINDS.get(kind) or BASELINES.get(kind)
    plain = known.title if known else kind.rpartition(":")[2]
    # A name goes into tables; where something lies on this computer does not.
    told = [f"{key}={value}" for key, value in options if Path(value).name == value]
    return " ".join([plain, *told])


def check_options(spec: SegmenterSpec) -> None:
    """Refuse options that a segmenter does not have, before hours of work."""
    if spec.kind in _SESSION_KINDS:
        _session_options(spec)
    else:
        _made(spec)


def without_missing(
    specs: Sequence[SegmenterSpec],
) -> tuple[tuple[SegmenterSpec, ...], dict[str, str]]:
    """Return the segmenters that can work on this computer, and why each of the others cannot.

    Of a cross-validation each fold is one by itself.
    """
    left_out: dict[str, str] = {}
    for spec in specs:
        try:
            if spec.kind in _SESSION_KINDS:
                _check_kind(spec, network_in(weights.resolve(spec.model))[1])
            else:
                _made(spec).require()
            weights_of(spec)
        except (Missing, weights.NotHere) as error:
            left_out[spec.label] = str(error)
    if len(left_out) == len(specs):
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise BadInput(f"no segmenter can work on this computer: {reasons}")
    return tuple(spec for spec in specs if spec.label not in left_out), left_out


def make_segmenter(spec: SegmenterSpec, scan: str = "", files: Path | None = None) -> Segmenter:
    """Return a segmenter before it sees its scan; weights are read once in each process.

    ``files`` is where it may have a folder of its own.
    """
    if spec.kind in _SESSION_KINDS:
        settings, reference = _session_options(spec)
        model = _network(spec.model, spec.device, spec.dtype)
        _check_kind(spec, model.config)
        searches = _SESSION_KINDS[spec.kind].searches
        made: Segmenter = SessionSegmenter(model, settings, searches, reference)
    else:
        made = _made(spec)
    made.surroundings = Surroundings(scan, spec.device, spec.dtype, files)
    return made


def _check_kind(spec: SegmenterSpec, config: NetworkConfig) -> None:
    """Refuse weights of one network under the name of another."""
    network = _network_of(config)
    if network == _SESSION_KINDS[spec.kind].network:
        return
    given = f"'{spec.kind}={spec.model}' are weights"
    if network == "mois":
        raise BadInput(
            f"{given} of MOIS-SAM2; write mois-clicks={spec.model} for them without a search, or "
            "give weights that were trained without exemplars"
        )
    title = _SESSION_KINDS[network].title
    raise BadInput(f"{given} of {title}, without exemplars; write {network}={spec.model}")


def _network_of(config: NetworkConfig) -> str:
    """Return which of the papers' networks a config describes."""
    if config.exemplars is not None:
        return "mois"
    return "sam2" if config.short_memory is None else "slm"


def _made(spec: SegmenterSpec) -> Segmenter:
    """Make a baseline or a class of the user's with the options in words."""
    made = _class_of(spec)
    arguments = _arguments(spec, made)
    if spec.model:
        if _MODEL not in inspect.signature(made).parameters:
            raise BadInput(f"'{spec.kind}' takes nothing behind '=', so not '{spec.model}'")
        arguments[_MODEL] = spec.model
    return made(**arguments)


def _class_of(spec: SegmenterSpec) -> type[Segmenter]:
    baseline = BASELINES.get(spec.kind)
    return baseline.load() if baseline else _class_in(spec.kind)


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
    """Return options as arguments of a class, each of the kind that its default is of.

    One without a default is a number if it reads as one. Options that the class does not take are
    refused.
    """
    takes = inspect.signature(made).parameters
    known = [name for name in takes if name != _MODEL]
    for name, _ in spec.options:
        if name not in known:
            listed = ", ".join(known) or "none"
            raise BadInput(f"'{spec.kind}' has no option '{name}'; it has: {listed}")
    return {name: _argument(name, text, takes[name].default) for name, text in spec.options}


def _argument(name: str, text: str, default: object) -> object:
    if isinstance(default, str):
        return text
    if isinstance(default, (bool, int, float)):
        return _value(name, text, bool if isinstance(default, bool) else float)
    with suppress(ValueError):
        return float(text)
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
    if spec.kind in _SESSION_KINDS:
        path = weights.resolve(spec.model)
        return {"file": path.name, "sha256": weights.checksum(path)}
    if spec.kind in BASELINES:
        return _named_file(spec.model) or {}
    path = Path(spec.kind.rpartition(":")[0])
    return {"file": path.name, "sha256": weights.sha256_of(path)}


def files_of(spec: SegmenterSpec) -> Mapping[str, Mapping[str, str]]:
    """Return the files and folders that a segmenter's options name, with their checksums."""
    if spec.kind in _SESSION_KINDS:
        return {}
    arguments = _arguments(spec, _class_of(spec))
    found = ((name, _named_file(v)) for name, v in arguments.items() if isinstance(v, str))
    return {name: file for name, file in found if file is not None}


def _named_file(text: str) -> dict[str, str] | None:
    """Return name and checksum of a file or folder, if a text names one."""
    if not text:
        return None
    path = Path(text).expanduser()
    return {"file": path.name, "sha256": weights.sha256_of(path)} if path.exists() else None


def given_to(spec: SegmenterSpec) -> Mapping[str, object]:
    """Return what a segmenter's weights were given, as far as their file says it."""
    if spec.kind not in _SESSION_KINDS:
        return _made(spec).given()
    path = weights.resolve(spec.model)
    content = read_file(path)
    parameters = {"parameters": sum(w.numel() for w in weights_in(content, path).values())}
    if spec.model == models.SHIPPED:
        return parameters | models.GIVEN
    run = content if isinstance(content, Mapping) else {}
    steps = {"steps": run["step"]} if "step" in run else {}
    return parameters | steps | run.get("given", {})

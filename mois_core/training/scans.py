"""All scans of a run, at the model's size: prepared files and phantoms."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mois_core.errors import BadInput
from mois_core.io.atomic import make_folder
from mois_core.network.checkpoint import SCAN_FIELDS
from mois_core.network.config import Size, preset
from mois_core.phantom import PhantomSettings, is_held_out
from mois_core.training import distributed
from mois_core.training.config import DataConfig, PhantomRange, TrainConfig
from mois_core.training.parallel import cores, in_processes
from mois_core.training.resized_case import ResizedCase
from mois_core.training.sampling import FEWEST_PIXELS
from mois_core.training.training_case import TrainingCase, phantom_case

Made = TypeVar("Made")

INDEX = "cases.json"
"""What `mois prepare` writes beside the cases: for each its patient's fold."""

_SCANNERS = (("siemens", 3.0), ("siemens", 3.0), ("siemens", 1.5), ("philips", 3.0))
"""Half of the phantoms are from the commonest scanner."""

_PHANTOMS_PER_LINE = 20
"""How many are made or read before the run says so."""


def phantom_settings(seed: int) -> PhantomSettings:
    """Return how the phantom of a seed is scanned: as varied as the test cohorts together."""
    rng = np.random.default_rng(seed)
    vendor, tesla = _SCANNERS[int(rng.integers(len(_SCANNERS)))]
    return PhantomSettings(
        lesions=int(rng.integers(24, 48)),
        slices=int(rng.integers(24, 36)),
        vendor=vendor,
        field_tesla=tesla,
        noise=float(rng.uniform(0.6, 1.4)),
        bias=float(rng.uniform(0.5, 1.3)),
    )


def load_scans(data: DataConfig, size: Size) -> list[ResizedCase]:
    """Return all scans to learn from, resized to the model's ``size``."""
    cases = _prepared(data, held_back=False) if data.prepared else []
    scans = [ResizedCase.of(case, size) for case in cases]
    scans += _phantoms(data.phantoms, size)
    scans = [scan for scan in scans if _has_a_lesion_to_click(scan)]
    if not scans:
        raise BadInput("there is nothing to learn from: no scan with a lesion large enough to see")
    return scans


def _has_a_lesion_to_click(scan: ResizedCase) -> bool:
    return any(lesion.pixels >= FEWEST_PIXELS for lesion in scan.lesions_on_slices)


def training_cases(data: DataConfig) -> Iterator[TrainingCase]:
    """Yield all scans to learn from at their own size, one after the other.

    Phantoms are kept in the cache, if there is one, as `mois prepare` would write them.
    """
    yield from _prepared(data, held_back=False) if data.prepared else []
    how = data.phantoms
    seeds = range(how.first, how.first + how.count)
    if any(map(is_held_out, seeds)):
        raise BadInput(f"phantoms from {how.first} on are held out for testing")
    if how.cache is None:
        yield from _told(in_processes(_whole_phantom, seeds, cores()), how.count)
        return
    paths = [Path(how.cache) / f"phantom-{seed}.npz" for seed in seeds]
    missing = [(seed, path) for seed, path in zip(seeds, paths, strict=True) if not path.is_file()]
    make_folder(how.cache)
    for _ in _told(in_processes(_keep_whole_phantom, missing, cores()), len(missing)):
        pass
    yield from map(TrainingCase.load, paths)


def _whole_phantom(seed: int) -> TrainingCase:
    return phantom_case(seed, phantom_settings(seed))


def _keep_whole_phantom(seed_and_path: tuple[int, Path]) -> None:
    seed, path = seed_and_path
    _whole_phantom(seed).save(path)


def held_back(data: DataConfig) -> list[TrainingCase]:
    """Return the prepared cases of the fold that is left out."""
    return _prepared(data, held_back=True) if data.prepared and data.fold is not None else []


def with_scan_fields(config: TrainConfig) -> TrainConfig:
    """Return a config whose network knows how its prepared scans were sliced and scaled.

    The checkpoints have it from there, and segmentation from the checkpoints.
    """
    usual = preset(config.model)
    made = scan_fields(config.data)
    changes = {n: value for n, value in made.items() if value != getattr(usual, n)}
    for name, value in changes.items():
        said = config.changes.get(name, value)
        if said != value:
            raise BadInput(f"changes: {name} is {said}, but the scans were prepared with {value}")
    return replace(config, changes={**config.changes, **changes})


def scan_fields(data: DataConfig) -> dict[str, Any]:
    """Return how prepared scans were sliced and scaled, as far as it was not the usual way."""
    index = _index(Path(data.prepared)) if data.prepared else {}
    return {name: index[name] for name in SCAN_FIELDS if index.get(name) is not None}


def in_checkpoint(config: TrainConfig) -> dict[str, Any]:
    """Return a run's config as its checkpoints have it, to be told from those of other runs."""
    return asdict(config) | {"data": in_plain_values(config.data)}


def in_plain_values(data: DataConfig) -> dict[str, Any]:
    """Return what a run learns from as it comes back from a file, to be told from other runs.

    Where scans lie does not matter to what is learnt from them, but which ones are left out does:
    prepared again, a folder of the same name can have other folds.
    """
    told = json.loads(json.dumps(asdict(data)))
    del told["phantoms"]["cache"]
    if data.prepared:
        index = json.dumps(_index(Path(data.prepared)), sort_keys=True)
        told["prepared"] = hashlib.sha256(index.encode()).hexdigest()[:16]
    return told


def _index(folder: Path) -> dict[str, Any]:
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{folder} was not written by 'mois prepare': {INDEX} is missing") from error
    if not isinstance(index, dict) or not index.get("cases"):
        raise BadInput(f"{folder}: {INDEX} is not what 'mois prepare' writes; prepare it again")
    return index


def _prepared(data: DataConfig, held_back: bool) -> list[TrainingCase]:
    folder = Path(data.prepared)
    cases = _index(folder)["cases"]
    folds = sorted({case["fold"] for case in cases})
    if data.fold is not None and data.fold not in folds:
        there = ", ".join(map(str, folds))
        raise BadInput(f"{folder} has no fold {data.fold} to leave out, but these: {there}")
    wanted = [
        case for case in cases if (data.fold is not None and case["fold"] == data.fold) == held_back
    ]
    return [TrainingCase.load(folder / case["file"]) for case in wanted]


def _phantoms(how: PhantomRange, size: Size) -> Iterator[ResizedCase]:
    """Yield the phantoms of a run, which take seconds each to make, and say how far they are."""
    seeds = range(how.first, how.first + how.count)
    if how.cache is None:
        yield from _told(in_processes(partial(_phantom, size=size), seeds, cores()), how.count)
        return
    rows, columns = size
    folder = Path(how.cache) / f"{rows}x{columns}"
    # Each of the processes of a run makes a part, and opens what all of them have made.
    own = seeds[distributed.rank() :: distributed.processes()]
    kept = in_processes(partial(_keep_phantom, size=size, folder=folder), own, cores())
    for _ in _told(kept, len(own)):
        pass
    distributed.wait_for_all()
    yield from (ResizedCase.load(_file_of(seed, folder)) for seed in seeds)


def _told(phantoms: Iterator[Made], count: int) -> Iterator[Made]:
    """Pass phantoms on and say how far they are."""
    started = time.monotonic()
    for done, phantom in enumerate(phantoms, start=1):
        if done % _PHANTOMS_PER_LINE == 0 or done == count:
            seconds = time.monotonic() - started
            print(f"phantoms {done}/{count}  {seconds:.0f} s", flush=True)
        yield phantom


def _phantom(seed: int, size: Size) -> ResizedCase:
    return ResizedCase.of(_whole_phantom(seed), size)


def _keep_phantom(seed: int, size: Size, folder: Path) -> None:
    path = _file_of(seed, folder)
    if not path.is_file():
        make_folder(folder)
        _phantom(seed, size).save(path)


def _file_of(seed: int, folder: Path) -> Path:
    return folder / f"phantom-{seed}.safetensors"

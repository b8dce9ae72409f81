"""What is measured on a GPU, in pieces that take minutes each, what tells most first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mois_core.network.config import PRESETS, preset
from mois_core.training.checkpoints import NEWEST
from mois_core.training.config_file import read_stages
from tools.gpu_runs import FIGURES, Piece
from tools.make_weights import processes_for
from tools.make_weights import training as training_of

ROOT = Path(__file__).parents[1]
TESTING = ROOT / "Testing"
GOLDEN = TESTING / "data" / "golden"
CONFIG = ROOT / "mois_core" / "training" / "configs" / "phantom-gpu.json"

NEEDS_A_GPU = 'reason="needs a GPU"'
"""Tests that are skipped without a GPU say so in these words."""

MINUTES_PER_PIECE = 8.0
"""Of training; what is left of ten minutes is for its beginning and its end."""

TRAINING = "train"
"""Folder of the training run, which all pieces of it go on with."""


@dataclass(frozen=True)
class Plan:
    """Which of everything is measured."""

    device: str = "cuda"
    searched: Sequence[str] = ("mois-sam2-b+", "phantom")
    """Networks whose search of a whole scan is timed."""
    search_options: Sequence[str] = ()
    networks: Sequence[str] = tuple(PRESETS)
    baselines: Sequence[str] = ("sam2", "published")
    bench_options: Sequence[str] = ()
    precisions: Sequence[str] = ("bfloat16", "float32")
    tests: Sequence[Path] = ()
    golden: Path = GOLDEN
    sets: Sequence[str] = ()
    """Golden sets, by name."""
    config: Path = CONFIG
    minutes: float = 0.0
    """Of training."""
    processes: int = 1
    """That train, and share the GPU."""


def on_a_gpu(golden: Path, config: Path, minutes: float) -> Plan:
    """Return the plan for a machine with a GPU: everything."""
    return Plan(
        tests=gpu_tests(),
        golden=golden,
        sets=[path.stem for path in sorted(golden.glob("*.npz"))],
        config=config,
        minutes=minutes,
        processes=processes_for(read_stages(config)),
    )


def rehearsal(golden: Path, config: Path, minutes: float) -> Plan:
    """Return a plan that a processor goes through in a minute, to see that all of it runs."""
    return Plan(
        device="cpu",
        searched=("mois-tiny",),
        search_options=("--slices", "2", "--repeats", "1"),
        networks=("mois-tiny",),
        baselines=("sam2",),
        bench_options=("--repeats", "1"),
        precisions=("float32",),
        tests=[TESTING / "network" / "test_holes.py"],
        golden=golden,
        sets=("slm_tiny",),
        config=config,
        minutes=minutes,
    )


def typed(path: Path) -> str:
    """Return a path as one would type it in the project's folder."""
    return (path.relative_to(ROOT) if path.is_relative_to(ROOT) else path).as_posix()


def gpu_tests() -> list[Path]:
    """Return the files of tests of the networks, and all others with tests that need a GPU."""
    files = sorted(TESTING.rglob("test_*.py"))
    return [
        path
        for path in files
        if path.parent.name == "network" or NEEDS_A_GPU in path.read_text(encoding="utf-8")
    ]


def measurements(plan: Plan, folder: Path) -> Iterator[Piece]:
    """Yield everything that is measured before the training."""
    for network in plan.searched:
        for precision in plan.precisions:
            yield _search(plan, folder, network, precision)
    first, rest = list(plan.networks[:1]), list(plan.networks[1:])
    yield from _benches(plan, folder, first)
    for path in plan.tests:
        yield _tests(path)
    for name in plan.sets:
        yield _parity(plan, name)
    yield from _benches(plan, folder, rest)


def _search(plan: Plan, folder: Path, network: str, precision: str) -> Piece:
    name = f"search-{network}-{precision}"
    how = ["--preset", network, "--dtype", precision, "--device", plan.device]
    out = ["--out", typed(folder / name / FIGURES)]
    arguments = ("-m", "tools.gpu_search", *how, *plan.search_options, *out)
    return Piece(name, f"{network} in {precision}: a scan as a user has it searched", arguments)


def _benches(plan: Plan, folder: Path, networks: Sequence[str]) -> Iterator[Piece]:
    for network in networks:
        for precision in plan.precisions:
            for against in plan.baselines:
                if against == "published" and not preset(network).exemplars:
                    continue
                name = f"bench-{network}-{precision}-{against}"
                how = ["--preset", network, "--dtype", precision, "--device", plan.device]
                out = ["--against", against, "--out", typed(folder / name / FIGURES)]
                arguments = ("-m", "mois_core", "bench", *how, *plan.bench_options, *out)
                yield Piece(name, f"{network} in {precision} against {against}", arguments)


def _tests(path: Path) -> Piece:
    where = typed(path)
    arguments = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not full", where)
    return Piece(f"tests-{path.stem.removeprefix('test_')}", f"tests: {where}", arguments)


def _parity(plan: Plan, name: str) -> Piece:
    how = ["--only", name, "--device", plan.device, "--failures"]
    arguments = ("-m", "tools.parity", typed(plan.golden), *how)
    return Piece(f"parity-{name}", f"parity with the published figures: {name}", arguments)


# ---- training ------------------------------------------------------------------------------


def training(plan: Plan, folder: Path) -> Iterator[Piece]:
    """Yield the pieces of the training run, each of which goes on with the one before."""
    count = math.ceil(plan.minutes / MINUTES_PER_PIECE)
    for n in range(count):
        minutes = min(MINUTES_PER_PIECE, plan.minutes - n * MINUTES_PER_PIECE)
        how = training_of(typed(plan.config), typed(folder / TRAINING), plan.processes)
        arguments = (*how, "--minutes", f"{minutes:g}")
        yield Piece(f"train-{n + 1:03}", f"training, {minutes:g} minutes", arguments)


def weights(plan: Plan, folder: Path) -> Piece | None:
    """Return the piece that writes the weights of the stage that the training has come to."""
    reached = [
        path
        for stage in read_stages(plan.config)
        if (path := folder / TRAINING / stage / NEWEST).is_file()
    ]
    if not reached:
        return None
    count = math.ceil(plan.minutes / MINUTES_PER_PIECE)
    out = typed(folder / f"{plan.config.stem}.safetensors")
    arguments = ("-m", "tools.average", typed(reached[-1]), "--half", "--out", out)
    return Piece(f"weights-{count:03}", f"weights of the training: {out}", arguments)

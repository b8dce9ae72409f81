"""``mois bench``: measure the speed of the network on this machine, and its ceiling."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mois_core.cli.arguments import network_input_size
from mois_core.cli.outputs import check_outputs
from mois_core.cli.progress_bar import progress_bar
from mois_core.errors import BadInput

if TYPE_CHECKING:
    from mois_core.bench.report import BenchReport, StepTime
    from mois_core.bench.settings import BenchSettings
    from mois_core.network.config import NetworkConfig

_DESCRIPTION = """\
Time the steps that everything you do is made of: encode a slice, decode a
click, propagate a lesion to the next slice, search a slice with ten exemplars. The
weights are made up, so nothing has to be downloaded.

The same run measures how fast this machine multiplies plain matrices. That is
the ceiling: a network consists of such products. For each step it prints

  seconds    the fastest of several runs
  GFLOP      operations of the step as the published implementation does it
  GFLOP/s    the two divided
  ceiling    the part of the ceiling that this is. It can exceed 100 %: some
             products can be saved without changing the result
  computed   the operations that are left of them
  memory     what the step needs for a moment, beside network and inputs"""

_EPILOG = """\
examples:
  mois bench                                    the full and a small network
  mois bench --preset mois-sam2-b+ --dtype bfloat16 --threads 4
  mois bench --device cuda --out bench.json     figures for a program to read
  mois bench --preset mois-sam2-b+ --against sam2
                         the same steps through PyPI's sam2, as a ratio
  mois bench --preset mois-sam2-b+ --dtype bfloat16 --against published
                         a click, a new lesion and a search as a session does
                         them and as the published app does, as a ratio

Close other programs first: whatever else runs makes the figures worse. A
network of full size takes one to three minutes for each precision."""

_ABOUT_PUBLISHED = (
    "published: seconds in the published app's order of work, in float32, in turns with ours;",
    "ratio: how many times as long. It runs our network, with the same weights and threads.",
)

_DEFAULT_PRESETS = ("mois-sam2-b+", "mois-tiny")
_DEFAULT_PRECISIONS = ("float32", "bfloat16")
_DEFAULT_REPEATS = 5


def add_parser(commands: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the command."""
    parser = commands.add_parser(
        "bench",
        help="time the network on this machine",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--preset",
        action="append",
        metavar="NAME",
        help=f"which network; can be repeated ({' and '.join(_DEFAULT_PRESETS)})",
    )
    parser.add_argument(
        "--image-size",
        type=network_input_size,
        metavar="N",
        help="pixels of the network's input, a square of N or ROWSxCOLUMNS, multiples of 32 "
        "(that of the preset)",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps (cpu)")
    parser.add_argument(
        "--dtype",
        action="append",
        choices=_DEFAULT_PRECISIONS,
        help="precision of the parts that cost time; can be repeated (both)",
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="processor threads (what PyTorch chooses)"
    )
    parser.add_argument(
        "--repeats",
        type=int,
        default=_DEFAULT_REPEATS,
        metavar="N",
        help=f"runs of each step, of which the fastest counts ({_DEFAULT_REPEATS})",
    )
    parser.add_argument(
        "--against",
        choices=["sam2", "published"],
        help="in turns, with the same weights, inputs, threads and attention kernel: the steps "
        "through PyPI's sam2, or instead of steps whole operations in the published app's order",
    )
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the figures here")
    return parser


def run(args: argparse.Namespace) -> None:
    """Run the bench, print its table and write its figures."""
    from mois_core.bench.measure import measure_machine, measure_steps
    from mois_core.bench.operations import time_operations

    settings = _settings(args)
    with _threads(args.threads), progress_bar() as progress:
        if args.against == "published":
            report = measure_machine(settings)
            report.operations = time_operations(settings, progress)
        else:
            report = measure_steps(settings, progress)
    print(_as_text(report, settings))
    if args.out:
        _write(report, args.out)


def _settings(args: argparse.Namespace) -> BenchSettings:
    from mois_core.bench.sam2_package import import_sam2
    from mois_core.bench.settings import BenchSettings
    from mois_core.network.loading import usable_device

    for name in ("threads", "repeats"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise BadInput(f"--{name} must be at least 1, not {value}")
    most = os.cpu_count() or 1
    if args.threads is not None and args.threads > most:
        raise BadInput(f"--threads {args.threads}: this machine has {most} to compute with")
    if args.out:
        check_outputs({"--out": args.out}, [])
    if args.against == "sam2":
        import_sam2()
    return BenchSettings(
        networks={name: _config(name, args.image_size) for name in args.preset or _DEFAULT_PRESETS},
        precisions=args.dtype or _DEFAULT_PRECISIONS,
        device=usable_device(args.device),
        repeats=args.repeats,
        against_sam2=args.against == "sam2",
    )


def _config(name: str, image_size: tuple[int, int] | None) -> NetworkConfig:
    from dataclasses import replace

    from mois_core.network.config import preset

    config = preset(name)
    try:
        return replace(config, image_size=image_size or config.image_size)
    except ValueError as error:
        size = _by(image_size)
        raise BadInput(f"{name} cannot be built for {size} pixels: {error}") from None


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Use a number of processor threads within a block, and restore the former one after it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _write(report: BenchReport, path: Path) -> None:
    from mois_core.io.atomic import atomic_write

    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(report.as_json(), indent=2) + "\n", encoding="utf-8")


# ---- the table -----------------------------------------------------------------------------


def _as_text(report: BenchReport, settings: BenchSettings) -> str:
    machine = report.machine
    memory = f", {machine.memory_bytes / 2**30:.0f} GiB" if machine.memory_bytes else ""
    rates = ", ".join(f"{rate / 1e9:.0f} in {p}" for p, rate in report.matrix_rates.items())
    lines = [
        f"machine  {machine.processor}, {machine.cores} cores{memory}; {machine.system}",
        f"run on   {machine.device}, {machine.threads} threads; torch {machine.torch}, "
        f"Python {machine.python}",
        f"ceiling  GFLOP/s of matrix products: {rates}",
    ]
    if report.operations:
        return "\n".join([*lines, "", *_table(_operation_rows(report)), "", *_ABOUT_PUBLISHED])
    for name, config in settings.networks.items():
        steps = [step for step in report.steps if step.network == name]
        lines += ["", f"{name}, {_by(config.image_size)} pixels"]
        lines += _table([_header(settings)] + [_row(report, step, settings) for step in steps])
    if settings.against_sam2:
        lines += ["", *_about_sam2(report)]
    return "\n".join(lines)


def _operation_rows(report: BenchReport) -> list[list[str]]:
    rows = [["operation", "precision", "network", "published", "seconds", "ratio"]]
    for time in report.operations:
        seconds = [f"{time.published_seconds:.4g}", f"{time.seconds:.4g}"]
        row = [time.operation, time.precision, time.network, *seconds, f"{time.ratio:.1f}"]
        rows.append(row)
    return rows


def _header(settings: BenchSettings) -> list[str]:
    columns = ["step", "precision", "seconds", "GFLOP", "GFLOP/s", "ceiling", "computed", "memory"]
    return columns + (["sam2", "ratio"] if settings.against_sam2 else [])


def _row(report: BenchReport, step: StepTime, settings: BenchSettings) -> list[str]:
    from mois_core.bench.steps import TITLES

    memory = step.peak_memory_bytes
    cells = [
        TITLES[step.step],
        step.precision,
        f"{step.seconds:.4g}",
        f"{step.operations / 1e9:.4g}",
        f"{step.rate / 1e9:.4g}",
        f"{report.fraction(step):.0%}",
        f"{step.computed_operations / 1e9:.4g}",
        "-" if memory is None else f"{memory / 2**20:.0f} MiB",
    ]
    if settings.against_sam2:
        ratio = step.sam2_ratio
        cells += [f"{step.sam2_seconds:.4g}", f"{ratio:.2f}"] if ratio else ["-", "-"]
    return cells


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            f"{cell:<{width}}" if column < 2 else f"{cell:>{width}}"
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _about_sam2(report: BenchReport) -> list[str]:
    lines = [
        "sam2: seconds of PyPI's package, in turns with ours; ratio: how many times as long.",
        "It has the same weights, inputs, threads and attention kernel; in bfloat16 it runs under",
        "autocast, as its authors run it.",
    ]
    without = {step.network for step in report.steps} - {
        step.network for step in report.steps if step.sam2_seconds
    }
    lines += [f"{name} has no counterpart in the package." for name in sorted(without)]
    return lines

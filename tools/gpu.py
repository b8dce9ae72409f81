"""Measure everything that a GPU can show, train for as long as asked, and write a report.

Run as ``python -m tools.gpu --out DIR --minutes N`` (``make gpu``). It takes pieces of less than
ten minutes, each in a process of its own. Stopped or killed, the same command goes on with what is
missing; what failed is told in the report and repeated with ``--again``. ``DIR/report.md`` and
``DIR/report.json`` are up to date after every piece.

Without a GPU, ``--device cpu`` goes through the same pieces with networks so small that it takes a
minute or two. Its figures say nothing of a GPU, and the report says so.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

# Run as a file, Python looks for imports beside it and not in the project's root.
sys.path.insert(0, str(Path(__file__).parents[1]))

from mois_core.errors import BadInput
from tools.gpu_machine import check_same, describe, why_no_gpu
from tools.gpu_pieces import (
    CONFIG,
    GOLDEN,
    ROOT,
    Plan,
    measurements,
    on_a_gpu,
    rehearsal,
    training,
    weights,
)
from tools.gpu_report import write_report
from tools.gpu_runs import PASSED, Piece, Result, run


def go_through(plan: Plan, folder: Path, again: list[str]) -> list[Result]:
    """Run what is missing and return all results; the report is written after each of them."""
    machine = describe(plan.device)
    check_same(machine, folder)
    results: list[Result] = []
    for piece in _pieces(plan, folder):
        kept = Result.kept(folder, piece.name)
        if kept and not any(piece.name.startswith(one) for one in again):
            results.append(kept)
            continue
        print(f"{piece.name:<44} ", end="", flush=True)
        results.append(run(piece, folder))
        print(f"{results[-1].status}, {results[-1].seconds:.0f} s", flush=True)
        write_report(plan, machine, results, folder)
    write_report(plan, machine, results, folder)
    return results


def _pieces(plan: Plan, folder: Path) -> Iterator[Piece]:
    yield from chain(measurements(plan, folder), training(plan, folder))
    # Known only when the training has come so far.
    last = weights(plan, folder)
    if last:
        yield last


def _plan(args: argparse.Namespace) -> Plan:
    how = args.golden.resolve(), args.config.resolve(), args.minutes
    if args.minutes < 0:
        raise BadInput(f"--minutes must be 0 or more, not {args.minutes:g}")
    if args.device == "cpu":
        return rehearsal(*how)
    reason = why_no_gpu()
    if reason:
        raise BadInput(reason)
    return on_a_gpu(*how)


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="kept results")
    parser.add_argument("--minutes", type=float, default=0.0, metavar="N", help="of training (0)")
    parser.add_argument(
        "--config",
        type=Path,
        default=CONFIG,
        metavar="FILE",
        help="what to train (phantom-gpu.json)",
    )
    parser.add_argument(
        "--golden", type=Path, default=GOLDEN, metavar="DIR", help="figures of the published code"
    )
    parser.add_argument(
        "--again", nargs="*", default=[], metavar="NAME", help="repeat what begins with this"
    )
    parser.add_argument(
        "--device", choices=["cuda", "cpu"], default="cuda", help="cpu only rehearses (cuda)"
    )
    args = parser.parse_args()
    # Ended from outside, it ends what it has started as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    folder = args.out.resolve()
    try:
        plan = _plan(args)
        # Where the tools are found, and what paths in a config are relative to.
        os.chdir(ROOT)
        results = go_through(plan, folder, args.again)
    except BadInput as error:
        sys.exit(f"gpu: {error}")
    bad = [result.name for result in results if result.status != PASSED]
    print(f"{len(results) - len(bad)} of {len(results)} passed; {folder / 'report.md'} has it all")
    if bad:
        sys.exit(f"not passed: {', '.join(bad)}")


if __name__ == "__main__":
    main()

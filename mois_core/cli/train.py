"""``mois train``: train a network from a config."""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

from mois_core.cli.arguments import finite_number
from mois_core.errors import BadInput

_DESCRIPTION = """\
Train a network as a config file says. The run can be stopped at any time: the same command goes
on where the last checkpoint was written, with the same result as without the stop. DIR receives

  newest.pt   the whole state of the run
  best.pt     the state that did best at a validation
  log.jsonl   all numbers; also as TensorBoard logs where that is installed

or a folder with these for each stage, if the config has several."""

_EXAMPLES = """\
examples:
  mois train --config phantom.json --out runs/phantom
  torchrun --nproc-per-node 2 --module mois_core train --config FILE --out DIR
                         on two GPUs, or in two processes; the result is the same"""


def add_parser(commands: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the command."""
    parser = commands.add_parser(
        "train",
        help="train a network",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
    )
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="what to do, as JSON"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for checkpoints and logs"
    )
    parser.add_argument(
        "--start", metavar="FILE", help="checkpoint to start from, in place of the config's"
    )
    parser.add_argument(
        "--minutes", type=finite_number, metavar="N", help="stop and save after so many minutes"
    )
    return parser


def run(args: argparse.Namespace) -> None:
    """Train the network of a config, with validation where the config asks for it."""
    import dataclasses

    from mois_core.training import distributed
    from mois_core.training.config_file import read_stages
    from mois_core.training.stages import run_stages

    stages = read_stages(args.config)
    if args.start:
        first = next(iter(stages))
        stages[first] = dataclasses.replace(stages[first], start=args.start)
    if args.minutes is not None and args.minutes <= 0:
        raise BadInput(f"--minutes must be more than 0, not {args.minutes:g}")
    deadline = math.inf if args.minutes is None else time.monotonic() + 60 * args.minutes
    try:
        run_stages(stages, args.out, deadline)
    finally:
        distributed.leave()

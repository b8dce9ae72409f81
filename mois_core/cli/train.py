"""``mois train``: train a network from a config."""

from __future__ import annotations

import argparse
from pathlib import Path

_DESCRIPTION = """\
Train a network as a config file says. The run can be stopped at any time: the same command goes
on where the last checkpoint was written, with the same result as without the stop. DIR receives

  newest.pt   the whole state of the run
  best.pt     the state that did best at a validation
  log.jsonl   all numbers; also as TensorBoard logs where that is installed"""

_EXAMPLES = """\
examples:
  mois train --config phantom-1-clicks.json --out runs/clicks
  torchrun --nproc-per-node 2 --module mois_core train --config FILE --out DIR
                         on two GPUs, or in two processes; the result is the same"""


def add_parser(commands: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the command."""
    parser = commands.add_parser(
        "train",
        help="train a network",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
    return parser


def run(args: argparse.Namespace) -> None:
    """Train the network of a config, with validation where the config asks for it."""
    import dataclasses

    from mois_core.network.model import Sam2
    from mois_core.training import distributed
    from mois_core.training.config_file import read_config
    from mois_core.training.scans import held_back
    from mois_core.training.trainer import Trainer
    from mois_core.training.validation import measure, measure_cases, validation_phantoms

    config = read_config(args.config)
    if args.start:
        config = dataclasses.replace(config, start=args.start)
    how = config.validation
    cases = held_back(config.data) if how.every else []
    phantoms = validation_phantoms(how) if how.every and not cases else []

    def measured(model: Sam2) -> dict[str, float]:
        if cases:
            return measure_cases(model, cases, how.exemplars)
        return measure(model, phantoms, how.exemplars, args.out)

    trainer = Trainer(config, args.out, measure=measured if cases or phantoms else None)
    try:
        trainer.run()
    finally:
        distributed.leave()

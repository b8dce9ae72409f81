"""``mois train-baseline``: train a network that MOIS-SAM2 is compared with."""

from __future__ import annotations

import argparse
from pathlib import Path

from mois_core.errors import BadInput

_TRAINABLE = ("unet", "dins", "sw-fastedit")

_DESCRIPTION = """\
Train a network that MOIS-SAM2 is compared with, on the same phantoms or prepared scans that 'mois
train' learns from, for the same time whichever it is:

  unet         3-D U-Net, no clicks
  dins         deep interactive networks: guide maps of exponential distance
  sw-fastedit  DynUNet with click channels and corrections of its own mistakes

What was given (minutes, steps, parameters, scans) is kept in the weights and stands in the tables
of 'mois evaluate'. A run can be stopped at any time: the same command goes on with it. DIR receives

  weights.safetensors   for 'mois evaluate --segmenter dins=DIR/weights.safetensors'
  newest.pt             the whole state of the run
  log.jsonl             the losses"""

_EXAMPLES = """\
examples:
  mois train-baseline dins --minutes 60 --out runs/dins
  mois train-baseline unet --size full --minutes 600 --prepared cases --out runs/unet"""


def add_parser(commands: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the command."""
    parser = commands.add_parser(
        "train-baseline",
        help="train a network to compare with",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", choices=_TRAINABLE, metavar="KIND", help=", ".join(_TRAINABLE))
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for weights and the run"
    )
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float, metavar="N", help="time to train for (60)")
    budget.add_argument("--steps", type=int, metavar="N", help="steps to train for, instead")
    parser.add_argument(
        "--size",
        choices=["small", "full"],
        default="small",
        help="full: channels, patches and grid as published, for a GPU (small)",
    )
    parser.add_argument("--seed", type=int, default=123, help="of everything drawn (123)")
    parser.add_argument(
        "--patches", type=int, default=2, metavar="N", help="patches of each step (2)"
    )
    parser.add_argument(
        "--phantoms", type=int, metavar="N", help="synthetic scans, seeds from 1000 on (120)"
    )
    parser.add_argument("--cache", metavar="DIR", help="folder that keeps the phantoms")
    parser.add_argument("--prepared", metavar="DIR", help="what 'mois prepare' wrote")
    parser.add_argument("--fold", type=int, metavar="N", help="fold of --prepared to leave out")
    parser.add_argument("--device", help="cpu or cuda (cuda where there is one)")
    return parser


def run(args: argparse.Namespace) -> None:
    """Train a baseline, and say where its weights are."""
    import torch

    from mois_core.evaluation.baselines import BASELINES

    recipe = BASELINES[args.kind].load().recipe

    from mois_core.evaluation.baselines.training import BaselineRun, BaselineTrainer, Budget
    from mois_core.training.config import DataConfig, PhantomRange

    if args.fold is not None and not args.prepared:
        raise BadInput("--fold is of --prepared scans; give both")
    if args.patches < 1:
        raise BadInput(f"--patches must be at least 1, not {args.patches}")
    count = args.phantoms
    if count is None:
        count = 0 if args.prepared else 120
    if count < 0:
        raise BadInput(f"--phantoms must not be below 0, but is {count}")
    minutes = 60.0 if args.minutes is None and args.steps is None else args.minutes
    budget = Budget(minutes, args.steps)
    data = DataConfig(args.prepared, args.fold, PhantomRange(count=count, cache=args.cache))
    settings = BaselineRun(args.size, args.seed, args.patches, data)
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    trainer = BaselineTrainer(recipe, settings, args.out, device)
    weights = trainer.run(budget)
    print(f"{weights}: mois evaluate --segmenter {args.kind}={weights} ...")

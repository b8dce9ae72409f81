"""``mois train-baseline``: train a network that MOIS-SAM2 is compared with."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mois_core import models
from mois_core.cli.arguments import finite_number, seed
from mois_core.errors import BadInput
from mois_core.io.atomic import make_folder

if TYPE_CHECKING:
    from mois_core.training.config import DataConfig

_NNUNET = "nnunet"
_TRAINABLE = ("unet", "dins", "sw-fastedit", _NNUNET)
_SEED, _PATCHES = 123, 2
_PHANTOMS = models.GIVEN["scans"]

_DESCRIPTION = """\
Train a network that MOIS-SAM2 is compared with, on the same phantoms or prepared scans that 'mois
train' learns from, for the same time whichever it is:

  unet         3-D U-Net, no clicks
  dins         deep interactive networks: guide maps of exponential distance
  sw-fastedit  DynUNet with click channels and corrections of its own mistakes
  nnunet       nnU-Net by its own program, in the environment of --python

What was given (minutes, steps, parameters, scans) is kept in the weights and stands in the tables
of 'mois evaluate'. A run can be stopped at any time: the same command goes on with it. DIR receives

  weights.safetensors   for 'mois evaluate --segmenter dins=DIR/weights.safetensors'
  newest.pt             the whole state of the run
  log.jsonl             the losses

or, for nnunet, its model in nnUNet_results, and nnunet.log; it begins anew if it was stopped."""

_EXAMPLES = """\
examples:
  mois train-baseline dins --minutes 60 --out runs/dins
  mois train-baseline unet --size full --minutes 600 --prepared cases --out runs/unet
  mois train-baseline nnunet --python nnunet/bin/python --minutes 600 --out runs/nnunet"""


def add_parser(commands: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the command."""
    parser = commands.add_parser(
        "train-baseline",
        help="train a network to compare with",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
    )
    parser.add_argument("kind", choices=_TRAINABLE, metavar="KIND", help=", ".join(_TRAINABLE))
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for weights and the run"
    )
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=finite_number, metavar="N", help="time to train for (60)")
    budget.add_argument("--steps", type=int, metavar="N", help="steps to train for, instead")
    parser.add_argument(
        "--size",
        choices=["small", "full"],
        help="full: channels, patches and grid as published, for a GPU (small)",
    )
    parser.add_argument("--seed", type=seed, help=f"of everything drawn ({_SEED})")
    parser.add_argument(
        "--patches", type=int, metavar="N", help=f"patches of each step ({_PATCHES})"
    )
    parser.add_argument(
        "--phantoms",
        type=int,
        metavar="N",
        help=f"synthetic scans, seeds from 1000 on ({_PHANTOMS}, as the network that ships)",
    )
    parser.add_argument("--cache", metavar="DIR", help="folder that keeps the phantoms")
    parser.add_argument("--prepared", metavar="DIR", help="what 'mois prepare' wrote")
    parser.add_argument("--fold", type=int, metavar="N", help="fold of --prepared to leave out")
    parser.add_argument("--device", help="cpu or cuda (cuda where there is one)")
    own = parser.add_argument_group("nnunet alone")
    own.add_argument(
        "--python", type=Path, metavar="PYTHON", help="of the environment that has nnunetv2"
    )
    own.add_argument(
        "--memory-gb",
        type=finite_number,
        metavar="N",
        help="GPU memory to plan for (nnU-Net's own choice)",
    )
    return parser


def run(args: argparse.Namespace) -> None:
    """Train a baseline, and say where its weights are."""
    import torch

    from mois_core.evaluation.baselines import BASELINES

    if args.kind == _NNUNET:
        _train_nnunet(args)
        return
    if args.python is not None or args.memory_gb is not None:
        raise BadInput("--python and --memory-gb are of nnunet")
    recipe = BASELINES[args.kind].load().recipe

    from mois_core.evaluation.baselines.training import BaselineRun, BaselineTrainer, Budget

    patches = _PATCHES if args.patches is None else args.patches
    if patches < 1:
        raise BadInput(f"--patches must be at least 1, not {patches}")
    chosen = _SEED if args.seed is None else args.seed
    minutes = 60.0 if args.minutes is None and args.steps is None else args.minutes
    budget = Budget(minutes, args.steps)
    settings = BaselineRun(args.size or "small", chosen, patches, _data(args))
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    trainer = BaselineTrainer(recipe, settings, args.out, device)
    weights = trainer.run(budget)
    print(f"{weights}: mois evaluate --segmenter {args.kind}={weights} ...")


def _data(args: argparse.Namespace) -> DataConfig:
    from mois_core.training.config import DataConfig, PhantomRange

    if args.fold is not None and not args.prepared:
        raise BadInput("--fold is of --prepared scans; give both")
    count = args.phantoms
    if count is None:
        count = 0 if args.prepared else _PHANTOMS
    if count < 0:
        raise BadInput(f"--phantoms must not be below 0, but is {count}")
    return DataConfig(args.prepared, args.fold, PhantomRange(count=count, cache=args.cache))


def _train_nnunet(args: argparse.Namespace) -> None:
    import torch

    from mois_core.evaluation.baselines.nnunet_process import GET_IT, NnUnetProcess
    from mois_core.evaluation.baselines.nnunet_training import train_nnunet

    if any(word is not None for word in (args.steps, args.size, args.seed, args.patches)):
        raise BadInput(
            "nnunet trains for --minutes, plans its own size and patches, and has no seed; leave "
            "out the others"
        )
    if args.python is None:
        raise BadInput(f"--python is needed: nnU-Net runs in an environment of its own; {GET_IT}")
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    python, out = args.python.expanduser().absolute(), args.out.expanduser().absolute()
    make_folder(out)
    process = NnUnetProcess(python, out, device, memory_gb=args.memory_gb)
    model = train_nnunet(process, _data(args), 60.0 if args.minutes is None else args.minutes)
    print(f"{model}: mois evaluate --segmenter nnunet={model},python={python} ...")

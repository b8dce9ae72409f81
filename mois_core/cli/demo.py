"""``mois demo``: segment a synthetic scan whose truth is known, and score the result."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from mois_core.geometry import SliceStack
    from mois_core.io import RasClick
    from mois_core.phantom import Phantom
    from mois_core.session.masks import Mask
    from mois_core.weights import OpenedModel

_DESCRIPTION = """\
Make a synthetic whole-body scan, click on five of its lesions, search for all
others like them, and compare the result with the truth. DIR receives

  scan.nii.gz, instances.nii.gz, semantic.nii.gz, lesions.json
                        the scan and what is true about it ('mois phantom --help')
  clicks.mrk.json       the clicks, as 3D Slicer and 'mois segment' read them
  lesions.seg.nrrd      the result, for 3D Slicer
  report.csv            its lesion table
  picture.png           its picture: open this first
  scores.json           how well it agrees with the truth, 0 to 1, from 1 cm3 on:
    scan_dsc      Dice of all lesions together
    detection_f1  F1 of lesions found, paired one to one (overlap at least 0.1 of the union)
    lesion_dsc    mean Dice of the lesions that were clicked on
    and the number of clicks and the seconds they and the search took"""

_EPILOG = """\
examples:
  mois demo --out demo
  mois demo --out other --seed 100007      another patient"""

DEFAULT_SEED = 100_001
"""A seed above 100000, which no network was ever trained on."""

CLICKED_LESIONS = 5

_UNTRAINED = """\
Note: this version comes without a trained network. The demo runs the same network
with random weights: it shows the steps, but its outlines mean nothing."""


def add_parser(commands: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the command."""
    parser = commands.add_parser(
        "demo",
        help="segment a synthetic scan from five clicks and score the result",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--seed",
        type=int,
        default=DEFAULT_SEED,
        metavar="N",
        help=f"which patient, from 100000 up ({DEFAULT_SEED})",
    )
    return parser


@dataclass(frozen=True)
class Scores:
    """Content of scores.json."""

    scan_dsc: float
    detection_f1: float
    lesion_dsc: float
    clicks: int
    seconds: float
    seed: int
    trained: bool


def run(args: argparse.Namespace) -> None:
    """Make a scan, click, search, write the result and its scores."""
    from mois_core.cli.progress_bar import progress_bar
    from mois_core.cli.result_files import SegmentationResult, result_line, write_results
    from mois_core.cli.segment import segment
    from mois_core.geometry import Volume
    from mois_core.io import atomic_write, write_points
    from mois_core.phantom import is_held_out, make_phantom, write_phantom
    from mois_core.session import Session

    model, is_trained = _network()
    if not is_trained:
        print(_UNTRAINED)
    if is_trained and not is_held_out(args.seed):
        print("Note: seeds below 100000 are for training; scores on this one say little.")
    phantom = make_phantom(args.seed)
    write_phantom(phantom, args.out)

    started = time.monotonic()
    session = Session(
        model.network, Volume(phantom.scan, phantom.ijk_to_ras), model_info=model.info
    )
    truth = _clicked_lesions(phantom, session.stack)
    clicks = _clicks_in(truth, session.stack)
    with progress_bar() as bar:
        session.on_notice = bar.say
        segment(session, clicks, True, {}, bar)
    seconds = round(time.monotonic() - started, 1)

    write_points(args.out / "clicks.mrk.json", clicks)
    result = SegmentationResult(
        stack=session.stack,
        labels=session.labels(),
        lesions=list(session.lesions),
        model=model.info,
        parameters=asdict(session.settings),
        session=session,
    )
    write_results(
        result,
        args.out / "lesions.seg.nrrd",
        args.out / "report.csv",
        args.out / "picture.png",
        title=f"Phantom {args.seed}" + ("" if is_trained else ", untrained network"),
    )
    scores = _score(result.labels, phantom, truth, seconds, is_trained)
    with atomic_write(args.out / "scores.json") as temporary:
        temporary.write_text(json.dumps(asdict(scores), indent=2) + "\n", encoding="utf-8")
    print(f"{args.out}: {result_line(result)}")
    print(
        f"scan DSC {scores.scan_dsc:.2f}, detection F1 {scores.detection_f1:.2f}, DSC of clicked "
        f"lesions {scores.lesion_dsc:.2f}; {scores.clicks} clicks, {scores.seconds:.0f} s"
    )


def _network() -> tuple[OpenedModel, bool]:
    """Return the network that comes with the program, and whether it was ever trained."""
    import torch

    from mois_core import models, weights
    from mois_core.network.loading import load_model
    from mois_core.network.model_info import ModelInfo

    if models.shipped_weights() is not None:
        return weights.open_checkpoint(models.SHIPPED), True
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = load_model(models.SHIPPED)
    return weights.OpenedModel(network, ModelInfo(models.SHIPPED, "random weights")), False


def _clicked_lesions(phantom: Phantom, stack: SliceStack) -> list[tuple[int, Mask]]:
    """Return the largest target lesions, those that a reader sees and clicks on first."""
    from mois_core.session.masks import Mask

    targets = sorted((le for le in phantom.lesions if le.target), key=lambda le: -le.voxels)
    instances = stack.from_volume(phantom.instances)
    return [(le.id, Mask.from_stack(instances == le.id)) for le in targets[:CLICKED_LESIONS]]


def _clicks_in(truth: list[tuple[int, Mask]], stack: SliceStack) -> list[RasClick]:
    """Return a click in the middle of each lesion; they are numbered from 1 in this order."""
    from mois_core.io import RasClick
    from mois_core.session.components import deepest_point

    clicks = []
    for lesion_id, (_, mask) in enumerate(truth, start=1):
        r, a, s = stack.point_to_ras(*deepest_point(mask, stack.pixel_spacing)).tolist()
        clicks.append(RasClick(lesion_id, True, (r, a, s)))
    return clicks


def _score(
    labels: np.ndarray,
    phantom: Phantom,
    truth: list[tuple[int, Mask]],
    seconds: float,
    is_trained: bool,
) -> Scores:
    from mois_core.evaluation.metrics import measure
    from mois_core.results.scores import dice

    scan = measure(labels, phantom.semantic, phantom.spacing[::-1], surfaces=False)
    lesions = [
        dice(labels == lesion_id, phantom.instances == instance)
        for lesion_id, (instance, _) in enumerate(truth, start=1)
    ]
    return Scores(
        scan_dsc=round(scan.dsc, 4),
        detection_f1=round(scan.one_to_one_f1, 4),
        lesion_dsc=round(sum(lesions) / len(lesions), 4),
        clicks=len(truth),
        seconds=seconds,
        seed=phantom.seed,
        trained=is_trained,
    )

"""``mois phantom``: write a synthetic whole-body scan and the truth about its lesions."""

from __future__ import annotations

import argparse
from pathlib import Path

from mois_core.cli.arguments import finite_number, matrix_size
from mois_core.errors import BadInput

_MOST_FOLLOW_UPS = 20

_DESCRIPTION = """\
Write a synthetic coronal whole-body scan (T2-weighted, fat-suppressed) with known lesions.

The lesions come in several appearances, one of which is the target. Which one it is changes from
seed to seed: brightness alone never tells, exemplars do. DIR receives

  scan.nii.gz       the scan
  instances.nii.gz  every lesion with its own number
  semantic.nii.gz   1 in the lesions of the target appearance
  lesions.json      appearances, and for each lesion its place, volume and appearance

The same seed and options always give the same bytes. Seeds below 100000 are for training;
100000 and above are held out for testing, and training refuses them."""

_EXAMPLES = """\
examples:
  mois phantom --seed 100001 --out case            a patient at full size, 1024x320
  mois phantom --seed 7 --out small --size 512x160 --slices 24
                                                   the same field of view in larger voxels
  mois phantom --seed 7 --out other --vendor philips --field 1.5
                                                   another site's scanner
  mois phantom --seed 100002 --out few --cohort low-burden
                                                   a patient of one of the four test sets
  mois phantom --seed 7 --out hard --attributes rim
                                                   appearances that differ in their rim only
  mois phantom --seed 7 --out pair --follow-up     also pair/follow-up: the patient later on
  mois phantom --seed 7 --out course --follow-up 3 --posture 1 --merge 1 --split 1
                                                   also course/follow-up, follow-up-2 and -3"""


def add_parser(commands: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the command; what is not given is left to the seed, the cohort or the scanner."""
    parser = commands.add_parser(
        "phantom",
        help="make a synthetic scan with known lesions",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
    )
    parser.add_argument("--seed", type=int, required=True, metavar="N", help="which patient")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--follow-up",
        nargs="?",
        type=int,
        const=1,
        default=0,
        metavar="N",
        help="write a later scan of the patient into DIR/follow-up: lesions keep their numbers, "
        "and its lesions.json says which grew, shrank, are gone or new; with N as many, each of "
        "which follows on the one before",
    )
    parser.add_argument(
        "--posture",
        type=finite_number,
        default=0.0,
        metavar="F",
        help="bend back and arms in follow-ups: a factor up to 2 (default 0, they are not)",
    )
    parser.add_argument(
        "--merge", type=int, default=0, metavar="N", help="pairs of lesions that merge (default 0)"
    )
    parser.add_argument(
        "--split", type=int, default=0, metavar="N", help="lesions that fall in two (default 0)"
    )
    patient = parser.add_argument_group("patient")
    patient.add_argument(
        "--cohort",
        metavar="NAME",
        help="draw slices, lesions, burden and scanner as in one of the sets: training, in-domain, "
        "field-strength, low-burden, vendor; other options override single values",
    )
    patient.add_argument("--lesions", type=int, metavar="N", help="2 to 400 (default 30)")
    patient.add_argument(
        "--burden-cm3", type=float, metavar="V", help="volume of all lesions together"
    )
    patient.add_argument(
        "--attributes",
        type=_names,
        metavar="A,B",
        help="what tells appearances apart: contrast, texture, edge, rim, shape (default all; a "
        "single one is harder)",
    )
    patient.add_argument("--appearances", type=int, metavar="N", help="2 to 4 (default 4)")
    patient.add_argument("--height-cm", type=float, metavar="H", help="100 to 200 (default 160)")
    scanner = parser.add_argument_group("scanner")
    scanner.add_argument("--vendor", metavar="NAME", help="siemens (default) or philips")
    scanner.add_argument(
        "--field", type=float, dest="field_tesla", metavar="T", help="3 (default) or 1.5"
    )
    scanner.add_argument(
        "--slices",
        type=int,
        metavar="N",
        help="1 to 51; whole-body scans have 20 or more (default 28 to 46, by scanner)",
    )
    scanner.add_argument(
        "--size", type=matrix_size, metavar="ROWSxCOLUMNS", help="matrix (default 1024x320)"
    )
    for name, what in (("noise", "noise"), ("bias", "coil shading"), ("seams", "station seams")):
        scanner.add_argument(
            f"--{name}", type=float, metavar="F", help=f"factor on the {what} (default 1)"
        )
    return parser


def run(args: argparse.Namespace) -> None:
    """Make a phantom, write it, and print what is in it."""
    from mois_core.phantom import (
        PhantomSettings,
        cohort_settings,
        make_follow_up,
        make_phantom,
        write_phantom,
    )

    names = (
        "lesions", "burden_cm3", "attributes", "appearances", "height_cm", "vendor",
        "field_tesla", "slices", "size", "noise", "bias", "seams",
    )  # fmt: skip
    given = {name: value for name in names if (value := getattr(args, name)) is not None}
    if args.cohort is None:
        settings = PhantomSettings(**given)
    else:
        settings = cohort_settings(args.cohort, args.seed, **given)
    if args.out.exists() and not args.out.is_dir():
        raise BadInput(f"{args.out} is a file; --out takes a folder")
    _check_follow_up(args)
    phantom = make_phantom(args.seed, settings)
    write_phantom(phantom, args.out)
    print(_summary(args.out, phantom))
    for visit in range(1, args.follow_up + 1):
        phantom, changes = make_follow_up(phantom, visit, args.posture, args.merge, args.split)
        folder = args.out / ("follow-up" if visit == 1 else f"follow-up-{visit}")
        write_phantom(phantom, folder, changes)
        print(_summary(folder, phantom))


def _check_follow_up(args: argparse.Namespace) -> None:
    from mois_core.phantom.posture import LARGEST_FACTOR

    if not 0 <= args.follow_up <= _MOST_FOLLOW_UPS:
        raise BadInput(f"--follow-up takes a number from 1 to {_MOST_FOLLOW_UPS}")
    wanted = {"--posture": args.posture, "--merge": args.merge, "--split": args.split}
    for option, value in wanted.items():
        if value and not args.follow_up:
            raise BadInput(f"{option} is about follow-ups; add --follow-up")
        if value < 0:
            raise BadInput(f"{option} must not be negative, but is {value:g}")
    if args.posture > LARGEST_FACTOR:
        raise BadInput(f"--posture takes at most {LARGEST_FACTOR:g}, not {args.posture:g}")


def _summary(folder: Path, phantom) -> str:
    targets = [lesion for lesion in phantom.lesions if lesion.target]
    volume = sum(lesion.volume_cm3 for lesion in targets)
    return (
        f"{folder}: {'x'.join(str(n) for n in phantom.scan.shape[::-1])} voxels, "
        f"{len(phantom.lesions)} lesions; target {phantom.appearances[phantom.target].name}: "
        f"{len(targets)} lesions, {volume:.0f} cm3"
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())

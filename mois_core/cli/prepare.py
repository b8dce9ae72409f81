"""``mois prepare``: turn scans and label maps into cases that `mois train` reads."""

from __future__ import annotations

import argparse
from pathlib import Path

from mois_core.cli import scan_files
from mois_core.cli.arguments import grey_window, seed
from mois_core.cli.progress_bar import progress_bar

_DESCRIPTION = """\
Turn scans with label maps, in any orientation, into cases to train on. SCANS is a table
(CSV) with the columns scan, labels and, if you like, patient, whose file names are relative
to it; or a folder: of folders with scan.nii.gz and labels.nii.gz, or as --scan-files and
--label-files say. docs/data.md has the layouts of autoPET, BraTS-METS, MSLesSeg and LiTS.

A label map with one value is taken apart into connected lesions, one with several has its
lesions numbered already; --label VALUE picks one class out of several. Scans of one patient
stay in one fold. Slices and brightness are kept with the cases, and with what is trained on
them: segmentation takes the same."""

_EXAMPLES = """\
examples:
  mois prepare scans.csv --out prepared
  mois prepare scans.csv --out prepared --folds 3 --seed 7
  mois prepare LiTS --scan-files 'volume-*.nii' --label-files 'segmentation-*.nii' \\
      --label 2 --axis axial --window -160,240 --out prepared
      the tumours of livers, on axial slices of CT"""


def add_parser(commands: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the command."""
    parser = commands.add_parser(
        "prepare",
        help="turn scans and label maps into training cases",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
    )
    parser.add_argument("scans", type=Path, metavar="SCANS", help="table or folder")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    scan_files.add_arguments(parser.add_argument_group("files"))
    how = parser.add_argument_group("slices and brightness")
    how.add_argument(
        "--axis",
        choices=("coronal", "sagittal", "axial"),
        default="coronal",
        help="along which slices are taken (coronal)",
    )
    how.add_argument(
        "--window",
        type=grey_window,
        metavar="LOW,HIGH",
        help="values that become black and white, for scans whose values mean the same everywhere, "
        "such as CT in HU (without: percentiles of the voxels above 0 of each scan)",
    )
    folds = parser.add_argument_group("folds")
    folds.add_argument("--folds", type=int, default=5, metavar="K", help="default 5")
    folds.add_argument("--seed", type=seed, default=42, metavar="N", help="default 42")
    return parser


def run(args: argparse.Namespace) -> None:
    """Prepare cases and print a report on them."""
    from mois_core.io.scan_folder import read_scans
    from mois_core.training.prepare import Preparation, prepare, report

    how = Preparation(args.axis, args.window, scan_files.lesion_values_of(args))
    scans = read_scans(args.scans, scan_files.patterns_of(args))
    with progress_bar() as bar:
        cases = prepare(scans, args.out, args.folds, args.seed, how, bar)
    for line in report(cases, how):
        print(line)

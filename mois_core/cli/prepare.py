"""``mois prepare``: turn scans and label maps into cases that `mois train` reads."""

from __future__ import annotations

import argparse
from pathlib import Path

_DESCRIPTION = """\
Turn scans with label maps, in any orientation, into cases to train on. TABLE is a CSV with the
columns scan, labels and patient; file names are relative to it. A label map with one value is
taken apart into connected lesions, one with several is taken as it is. Scans of one patient stay
in one fold. Brightness is scaled as for segmentation."""

_EXAMPLES = """\
examples:
  mois prepare scans.csv --out prepared
  mois prepare scans.csv --out prepared --folds 3 --seed 7"""


def add_parser(commands: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the command."""
    parser = commands.add_parser(
        "prepare",
        help="turn scans and label maps into training cases",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", type=Path, metavar="TABLE", help="CSV: scan, labels, patient")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--folds", type=int, default=5, metavar="K", help="default 5")
    parser.add_argument(
        "--seed", type=int, default=42, metavar="N", help="for the folds (default 42)"
    )
    return parser


def run(args: argparse.Namespace) -> None:
    """Prepare cases and print a report on them."""
    from mois_core.training.prepare import prepare, report

    for line in report(prepare(args.table, args.out, args.folds, args.seed)):
        print(line)

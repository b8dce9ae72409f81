"""Arguments that say which files of a folder are scans, and which of their voxels are lesions."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mois_core.errors import BadInput

if TYPE_CHECKING:
    from mois_core.io.scan_folder import FilePatterns


def add_arguments(group: argparse._ArgumentGroup) -> None:
    """Declare how a folder is laid out, and what the values of label maps mean."""
    group.add_argument(
        "--scan-files",
        metavar="PATTERN",
        help="names of the scans within a folder, like '{patient}/*/SUV.nii.gz', with a star for "
        "each part that differs",
    )
    group.add_argument(
        "--label-files",
        metavar="PATTERN",
        help="names of their label maps, like '{patient}/*/SEG.nii.gz', where the stars stand for "
        "what they were in the scan's name",
    )
    group.add_argument(
        "--label",
        action="append",
        default=[],
        type=int,
        metavar="VALUE",
        help="only voxels of this value are lesions; can be repeated for several values that "
        "together are one class",
    )


def patterns_of(args: argparse.Namespace) -> FilePatterns | None:
    """Return the patterns of scans and label maps, or None if the folder is as `mois` makes it."""
    if (args.scan_files is None) != (args.label_files is None):
        raise BadInput("--scan-files and --label-files are needed together")
    return None if args.scan_files is None else (args.scan_files, args.label_files)


def lesion_values_of(args: argparse.Namespace) -> tuple[int, ...]:
    """Return the values of lesions, or none if all but 0 are."""
    if any(value < 1 for value in args.label):
        raise BadInput("--label is a value of lesions, from 1 on; 0 is what is no lesion")
    return tuple(dict.fromkeys(args.label))


def is_given(args: argparse.Namespace) -> bool:
    """Return whether anything of this was said."""
    return bool(args.scan_files or args.label_files or args.label)

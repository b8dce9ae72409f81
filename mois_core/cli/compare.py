"""``mois compare``: what grew, shrank, is new or gone between scans of one patient."""

from __future__ import annotations

import argparse
import re
import zipfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from mois_core.cli.arguments import NO_SERIES, finite_number, series_uids
from mois_core.cli.outputs import all_or_none, check_outputs
from mois_core.cli.progress_bar import ProgressBar, progress_bar
from mois_core.errors import BadInput

if TYPE_CHECKING:
    from mois_core.followup.course import FollowUp
    from mois_core.followup.time_point import TimePoint
    from mois_core.results.body_regions import BodyRegion

_DESCRIPTION = """\
Compare the lesions of two or more scans of one patient: which lesion is which, and
how much each grew or shrank, in cm3 and percent; which are new, gone, merged or split.

Each scan is given with its lesions as SCAN:LESIONS, the earliest first. LESIONS is a
segmentation (.seg.nrrd) or label map on the voxels of SCAN, or a session that
'mois segment --save-session' wrote. Scans may differ in voxels, orientation and in
how the patient lies: the earlier scan is registered onto the later one, to tell
which lesion is which. Volumes are measured on each scan's own voxels. SCAN may be a
DICOM folder; --series says which of its series.

Classes are those of the REiNS collaboration (Dombi et al., Neurology 2013): 20% of
the volume, in lesions of 3 cm and longer. How sure a change is follows from how much
outlines of one lesion differ (--agreement)."""

_EPILOG = """\
examples:
  mois compare 2023.nii.gz:2023.seg.nrrd 2024.nii.gz:2024.seg.nrrd \\
      --report change.csv --picture change.png
  mois compare a.nii.gz:a.mois b.nii.gz:b.mois c.nii.gz:c.mois \\
      --dates 2022-03-01 2023-03-05 2024-02-27 --report course.json --curve course.png
  mois compare 2023.nii.gz:2023.seg.nrrd 2024.nii.gz:2024.seg.nrrd --tracked 2024-t.seg.nrrd
      the later lesions with the UIDs of the earlier ones, for the next comparison
  mois compare dicom-2023/:2023.seg.nrrd 2024.nii.gz:2024.seg.nrrd --series 1.2.840.99 -
      one series of the first scan's folder; the second scan is a file

output:
  --report   .csv: one row per lesion; .json: also sums, rules and the registration
  --picture  .png: all scans side by side; --curve .png: volumes over time;
  --registration .png: how the scans lie on each other
  --tracked  .seg.nrrd: the last scan's lesions; a lesion has the same UID in all scans

exit codes: 0 done; 2 bad input (also scans of two patients), 130 cancelled with
Ctrl-C, 143 terminated (SIGTERM): nothing is written"""

_TABLE_ENDINGS = (".csv", ".json")
_DRIVE = re.compile(r"(^|:)[A-Za-z]$")


def add_parser(commands: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the command."""
    parser = commands.add_parser(
        "compare",
        help="tell what grew, shrank, is new or gone between scans of one patient",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument("earlier", metavar="EARLIER", help="SCAN:LESIONS of the earliest scan")
    parser.add_argument("later", nargs="+", metavar="LATER", help="the same of later scans")
    parser.add_argument(
        "--dates", nargs="+", type=_day, metavar="YYYY-MM-DD", help="when the scans were made"
    )
    parser.add_argument(
        "--series",
        nargs="+",
        type=series_uids,
        metavar="UID",
        help="which series of a DICOM folder (UID#2: the second scan of a series; UID+UID with "
        "--compose: stations), one for each scan in their order; - for a scan that needs none",
    )
    parser.add_argument(
        "--compose",
        action="store_true",
        help="join the series of DICOM folders, stations of a scan",
    )
    parser.add_argument("--report", type=Path, metavar="OUT.csv|OUT.json")
    parser.add_argument("--picture", type=Path, metavar="OUT.png")
    parser.add_argument("--curve", type=Path, metavar="OUT.png")
    parser.add_argument("--registration", type=Path, metavar="OUT.png")
    parser.add_argument("--tracked", type=Path, metavar="OUT.seg.nrrd")
    parser.add_argument(
        "--agreement",
        type=finite_number,
        metavar="DICE",
        help="Dice that two outlines of one lesion reach (0.63, as expert readers did)",
    )
    parser.add_argument(
        "--unchecked",
        action="store_true",
        help="go on where the registration does not look right; check --registration by eye",
    )
    return parser


def run(args: argparse.Namespace) -> None:
    """Check the input, follow the lesions and write what became of them."""
    given = [split_pair(text) for text in (args.earlier, *args.later)]
    _check_arguments(args, given)

    from mois_core.followup.course import follow
    from mois_core.followup.outline_uncertainty import READERS_DICE, check_dice
    from mois_core.followup.report import summary

    dice = READERS_DICE if args.agreement is None else check_dice(args.agreement)
    days = args.dates or [None] * len(given)
    series = args.series or [()] * len(given)
    with progress_bar() as bar:
        points = [
            read_time_point(scan, lesions, day, bar, uids, args.compose)
            for (scan, lesions), day, uids in zip(given, days, series, strict=True)
        ]
        follow_up = follow(points, bar, checked=not args.unchecked)
    _write(args, follow_up, dice)
    for n, registration in enumerate(follow_up.registrations, start=1):
        quality = registration.quality
        print(
            f"scan {n} on {n + 1}: correlation {quality.correlation_before:.2f} before and "
            f"{quality.correlation:.2f} after the registration"
        )
    print(summary(follow_up, dice))


def split_pair(text: str) -> tuple[Path, Path]:
    """Return scan and lesions of SCAN:LESIONS; the colon of a Windows drive separates nothing."""
    places = [
        n
        for n, letter in enumerate(text)
        if letter == ":" and not (_DRIVE.search(text[:n]) and text[n + 1 : n + 2] in ("\\", "/"))
    ]
    pairs = [(Path(text[:n]), Path(text[n + 1 :])) for n in places if 0 < n < len(text) - 1]
    if not pairs:
        raise BadInput(
            f"{text}: give each scan with its lesions as SCAN:LESIONS, like "
            "scan.nii.gz:lesions.seg.nrrd"
        )
    there = [pair for pair in pairs if pair[0].exists() and pair[1].exists()]
    return (there or pairs)[0]


def read_time_point(
    scan_path: Path,
    lesions_path: Path,
    day: date | None,
    bar: ProgressBar,
    series: Sequence[str] = (),
    compose: bool = False,
) -> TimePoint:
    """Read a scan, or these series of a DICOM folder, and the lesions that were outlined in it."""
    from mois_core.cli.working_scan import read_labels_on
    from mois_core.followup.stored_uids import read_uids
    from mois_core.followup.time_point import TimePoint
    from mois_core.io import read_scan
    from mois_core.io.dicom_series import body_part, study_day
    from mois_core.io.scan import is_dicom_scan
    from mois_core.io.slicer_segments import read_segment_names
    from mois_core.results.body_regions import BodyRegion, imaged_region

    is_dicom = is_dicom_scan(scan_path)
    scan = read_scan(scan_path, series, compose and is_dicom, bar.say)
    if day is None and is_dicom:
        day = study_day(scan_path, series)
    imaged = imaged_region(*body_part(scan_path, series)) if is_dicom else BodyRegion.UNKNOWN
    if zipfile.is_zipfile(lesions_path):
        return _from_session(scan, lesions_path, day, imaged)
    labels = read_labels_on(scan, lesions_path, str(scan_path))
    names = {value: name for value, (name, _) in read_segment_names(lesions_path).items()}
    return TimePoint(scan, labels, day, names, read_uids(lesions_path), imaged)


def _from_session(scan, path: Path, day: date | None, imaged: BodyRegion) -> TimePoint:
    import numpy as np

    from mois_core.cli.working_scan import lesions_on_scan, working_scan
    from mois_core.followup.time_point import TimePoint
    from mois_core.geometry import SliceStack
    from mois_core.session.lesion import painting_order
    from mois_core.session.session_file import describe, saved_lesions

    saved = describe(path)
    stack = SliceStack(scan, saved.settings.axis)
    worked_on = working_scan(stack, bool(saved.notes.get("thicken")))
    try:
        lesions = lesions_on_scan(worked_on, saved_lesions(path, worked_on.volume))
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error
    labels = np.zeros(stack.array.shape, dtype=np.uint16)
    for lesion in painting_order(lesions):
        lesion.mask.paint(labels, lesion.id)
    names = {lesion.id: lesion.name for lesion in lesions}
    placed = np.ascontiguousarray(stack.to_volume(labels))
    uids = {lesion.id: lesion.uid for lesion in lesions if lesion.uid}
    return TimePoint(scan, placed, day, names, uids, imaged)


def _write(args: argparse.Namespace, follow_up: FollowUp, dice: float) -> None:
    from mois_core.cli.matplotlib_folder import provide_matplotlib_folder
    from mois_core.followup.report import write_table

    named = ("report", "tracked", "picture", "curve", "registration")
    wanted = {name: getattr(args, name) for name in named if getattr(args, name) is not None}
    with all_or_none(list(wanted.values())) as temporary:
        place = dict(zip(wanted, temporary, strict=True))
        if args.report:
            write_table(place["report"], follow_up, dice)
        if args.tracked:
            _write_tracked(place["tracked"], follow_up)
        if wanted.keys() & {"picture", "curve", "registration"}:
            provide_matplotlib_folder()
            from mois_core.followup import pictures

            for name, draw in (
                ("picture", pictures.draw_side_by_side),
                ("curve", pictures.draw_curves),
                ("registration", pictures.draw_registration),
            ):
                if name in place:
                    draw(place[name], follow_up)


def _write_tracked(path: Path, follow_up: FollowUp) -> None:
    """Write the last scan's lesions under their own label values, with UIDs and shared colours."""
    from mois_core.followup.course import labels_of_courses
    from mois_core.followup.stored_uids import write_with_uids
    from mois_core.results.colours import lesion_colour

    last = len(follow_up.points) - 1
    point, courses = follow_up.points[last], labels_of_courses(follow_up, last)
    segments = [
        (value, point.names.get(value) or f"Lesion {courses[value].number}",
         lesion_colour(courses[value].number))
        for value in point.lesions
    ]  # fmt: skip
    uids = {value: course.uid for value, course in courses.items()}
    write_with_uids(path, point.scan, point.labels, segments, uids)


def _check_arguments(args: argparse.Namespace, given: list[tuple[Path, Path]]) -> None:
    """Refuse what cannot work before any scan is opened."""
    if args.dates is not None and len(args.dates) != len(given):
        raise BadInput(f"{len(given)} scans need as many --dates, not {len(args.dates)}")
    if args.series is not None and len(args.series) != len(given):
        raise BadInput(
            f"{len(given)} scans need as many --series, not {len(args.series)}; give {NO_SERIES} "
            "for a scan that needs none"
        )
    if args.report is not None and args.report.suffix.lower() not in _TABLE_ENDINGS:
        raise BadInput(f"{args.report}: reports are written as .csv or .json; use one of these")
    if args.tracked is not None and not args.tracked.name.lower().endswith(".seg.nrrd"):
        raise BadInput(f"{args.tracked}: only .seg.nrrd keeps UIDs; use this ending")
    pictures = [path for path in (args.picture, args.curve, args.registration) if path is not None]
    for path in pictures:
        if path.suffix.lower() != ".png":
            raise BadInput(f"{path}: pictures are written as .png; use this ending")
    if pictures:
        from mois_core.cli.result_files import check_matplotlib

        check_matplotlib("the pictures")
    named = {
        "--report": args.report,
        "--picture": args.picture,
        "--curve": args.curve,
        "--registration": args.registration,
        "--tracked": args.tracked,
    }
    outputs = {option: path for option, path in named.items() if path is not None}
    check_outputs(outputs, [path for pair in given for path in pair])


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"write the date as YYYY-MM-DD, like 2024-03-01, not {text!r}"
        ) from error

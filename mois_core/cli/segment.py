"""``mois segment``: segment every lesion of a scan from a few clicks."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mois_core.cli import model_choice
from mois_core.cli.arguments import finite_number
from mois_core.cli.outputs import check_outputs
from mois_core.cli.progress_bar import ProgressBar, progress_bar
from mois_core.errors import BadInput

if TYPE_CHECKING:
    from mois_core.geometry import SliceStack, Volume
    from mois_core.io import RasClick
    from mois_core.io.resample import ThickSlices
    from mois_core.session import Session
    from mois_core.session.state import Settings

_DESCRIPTION = """\
Outline the lesions that were clicked on, search the rest of the scan for others
like them, and write all of them down.

SCAN is an image in any format that SimpleITK reads (NIfTI, NRRD, MetaImage, ...),
a DICOM file, or a DICOM folder. FILE.mrk.json is a point list from 3D Slicer (its
older .fcsv is read too): a point labelled 7+ is in lesion 7, one labelled 7- is
not, and any other label is a new lesion. Lesion n has label value n in the result;
findings take the numbers after. A LABELMAP is an image of label values or a
segmentation (.seg.nrrd) on the voxels of its scan.

Stations of a whole-body scan that certainly belong together are joined: one
series, or several of one study and description, with equally many slices, one
below the other. --compose joins others too, if they fit. Where stations overlap,
one fades into the other; otherwise intensities stay as they are.

The network was trained on coronal whole-body MRI. Nothing leaves this computer."""

_EPILOG = """\
examples:
  mois segment scan.nii.gz --points clicks.mrk.json --model mois-sam2-b+ \\
      --out lesions.seg.nrrd --report lesions.csv --picture lesions.png
  mois segment dicom/ --series 1.2.840.99 --points clicks.mrk.json \\
      --model weights.pt --out lesions.nii.gz --no-search
      only the lesions that were clicked on
  mois segment today.nii.gz --exemplar-labels lesions-2023.nii.gz \\
      --exemplar-scan scan-2023.nii.gz --model mois-sam2-b+ --out today.seg.nrrd
      no clicks at all: the lesions of an earlier scan say what to look for
  mois segment dicom/ --compose --series 1.2.840.97 --series 1.2.840.98 \\
      --points clicks.mrk.json --model mois-sam2-b+ --out lesions.seg.nrrd
      head and trunk, two series of the folder, as one scan

output:
  --out      .seg.nrrd (named, coloured segments for 3D Slicer), or .nii.gz, .nii
             or .nrrd (label values), on the scan's own voxels
  --report   .csv: one row per lesion; .json: also totals, model and parameters
  --picture  .png: maximum projection and the busiest slices with outlines

exit codes: 0 done, 2 bad input (nothing is written), 130 cancelled with Ctrl-C"""

_NUMBERS_FOR_FINDINGS = 1000
"""More than a search finds; without them it would fail at its end."""

_SHORT_REACH_MM = 3.9
"""Half the distance of the training slices, below which the user is told of `--thicken`."""


def add_parser(commands: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the command; what is not given is left to the engine's own defaults."""
    parser = commands.add_parser(
        "segment",
        help="outline clicked lesions and find all others like them",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scan", type=Path, metavar="SCAN", help="image file or DICOM folder")
    parser.add_argument("--points", type=Path, metavar="FILE.mrk.json", help="the clicks")
    parser.add_argument(
        "--series",
        action="append",
        metavar="UID",
        help="which series of a DICOM folder (UID#2: the second scan of a series); once for each "
        "station with --compose",
    )
    parser.add_argument(
        "--compose", action="store_true", help="join the series, stations of a whole-body scan"
    )
    model_choice.add_arguments(parser)

    files = parser.add_argument_group("results")
    files.add_argument("--out", type=Path, required=True, metavar="OUT.seg.nrrd")
    files.add_argument("--report", type=Path, metavar="OUT.csv|OUT.json")
    files.add_argument("--picture", type=Path, metavar="OUT.png")
    files.add_argument(
        "--save-session", type=Path, metavar="FILE", help="everything, to go on from later"
    )

    search = parser.add_argument_group("search")
    search.add_argument(
        "--no-search", action="store_true", help="stop after the lesions that were clicked on"
    )
    search.add_argument(
        "--exemplars", type=int, metavar="K", help="lesions that a slice is compared with (10)"
    )
    search.add_argument(
        "--smallest", type=finite_number, metavar="CM3", help="leave out smaller findings (0.1)"
    )
    search.add_argument(
        "--min-confidence",
        "--certainty",
        dest="min_confidence",
        type=finite_number,
        metavar="PART",
        help="leave out findings whose highest confidence is below this part of the search's 99th "
        "percentile (0 keeps all; --certainty is the older name)",
    )
    search.add_argument(
        "--findings",
        choices=("components", "reprompted"),
        help="outlines as the search draws them, or drawn anew from each finding's middle",
    )
    search.add_argument("--inside", type=Path, metavar="LABELMAP", help="search only in here")
    search.add_argument("--outside", type=Path, metavar="LABELMAP", help="do not search in here")
    search.add_argument(
        "--exemplar-labels",
        type=Path,
        metavar="LABELMAP",
        help="lesions outlined before, to search for as well or instead of clicks",
    )
    search.add_argument(
        "--exemplar-scan", type=Path, metavar="SCAN", help="the scan they lie in, if not SCAN"
    )

    how = parser.add_argument_group("slices")
    how.add_argument(
        "--propagation-slices",
        "--window",
        dest="propagation_slices",
        type=int,
        metavar="N",
        help="slices that a lesion is propagated each way (3; --window is the older name)",
    )
    how.add_argument("--axis", choices=("coronal", "sagittal", "axial"), help="(coronal)")
    how.add_argument(
        "--thicken",
        action="store_true",
        help="average thin slices to the 7.8 mm of the training scans; results come back on the "
        "scan's own voxels",
    )
    how.add_argument(
        "--reference", action="store_true", help="do as the published app does, to compare with it"
    )
    return parser


def run(args: argparse.Namespace) -> None:
    """Check the input, segment the scan and write the results."""
    _check_arguments(args)

    from mois_core.cli.result_files import SegmentationResult, result_line, write_results
    from mois_core.cli.working_scan import lesions_on_scan, working_scan
    from mois_core.geometry import SliceStack
    from mois_core.io import read_scan
    from mois_core.session import Session

    settings = _settings(args)
    with progress_bar() as bar:
        scan_as_read = read_scan(args.scan, args.series, args.compose, bar.say)
        stack = SliceStack(scan_as_read, settings.axis)
        clicks = _read_clicks(args.points, stack, not args.no_search) if args.points else []
        _warn(bar, stack, args.thicken)
        scan = working_scan(stack, args.thicken)
        regions = _read_regions(args, scan)
        seeds = _read_seeds(args, scan, settings, bar)
        model = model_choice.choose_model(args)
        if not (args.no_search or model.network.config.exemplars):
            raise BadInput(
                f"the model {model.info.preset} cannot search; add --no-search, or choose a "
                "MOIS-SAM2 model"
            )
        session = Session(model.network, scan.volume, settings, args.reference, model.info)
        session.guard.on_notice = bar.say
        if seeds:
            session.add_exemplars(*seeds)
        segment(session, clicks, not args.no_search, regions, bar)
    result = SegmentationResult(
        stack=stack,
        labels=scan.to_original(session.labels()),
        lesions=lesions_on_scan(scan, session.lesions),
        model=model.info,
        parameters=_parameters(args, session, stack.volume),
        session=session,
    )
    write_results(result, args.out, args.report, args.picture, args.save_session)
    print(f"{args.out}: {result_line(result)}")


def segment(
    session: Session,
    clicks: list[RasClick],
    search: bool,
    regions: dict[str, object],
    bar: ProgressBar,
) -> None:
    """Run a session as a user of the module would: click, wait, search."""
    from mois_core.session import NewClick

    if search:
        session.prepare(_first_slice(session, clicks), bar)
    if clicks:
        new = [NewClick(click.ras, click.positive, click.lesion_id) for click in clicks]
        session.clicks(new, progress=bar)
    if not search:
        return
    if not session.exemplars_for(0):
        bar.say("The network outlined nothing at the clicks, so there was nothing to search for.")
        return
    session.find_similar(bar, **regions)


def _first_slice(session: Session, clicks: list[RasClick]) -> int:
    if not clicks:
        return 0
    position, _, _ = session.stack.point_from_ras(clicks[0].ras)
    return round(float(position))


def _check_arguments(args: argparse.Namespace) -> None:
    """Refuse arguments that cannot work together, before any scan is opened."""
    from mois_core.cli.result_files import check_endings

    if args.points is None and args.exemplar_labels is None:
        raise BadInput("give the clicks with --points, or earlier lesions with --exemplar-labels")
    if args.points is None and args.no_search:
        raise BadInput("without --points and with --no-search there is nothing to do")
    if args.exemplar_scan is not None and args.exemplar_labels is None:
        raise BadInput("--exemplar-scan needs the lesions in it; give --exemplar-labels")
    if args.thicken and args.save_session is not None:
        raise BadInput("a session on averaged slices cannot be saved; drop one of the two options")
    named = {
        "--out": args.out,
        "--report": args.report,
        "--picture": args.picture,
        "--save-session": args.save_session,
    }
    outputs = {option: path for option, path in named.items() if path is not None}
    check_endings(args.out, args.report, args.picture)
    inputs = (args.scan, args.points, args.inside, args.outside, args.exemplar_labels)
    model_file = (Path(args.model), args.exemplar_scan)
    check_outputs(outputs, [path for path in (*inputs, *model_file) if path is not None])


def _settings(args: argparse.Namespace) -> Settings:
    from mois_core.session.state import Settings

    given = {
        "axis": args.axis,
        "propagation_slices": args.propagation_slices,
        "exemplars": args.exemplars,
        "smallest_cm3": args.smallest,
        "min_confidence": args.min_confidence,
        "findings": args.findings,
    }
    return Settings(**{name: value for name, value in given.items() if value is not None})


def _read_clicks(path: Path, stack: SliceStack, is_searched: bool) -> list[RasClick]:
    from mois_core.io import read_points
    from mois_core.io.scan import HIGHEST_LABEL

    clicks = read_points(path)
    highest = max(click.lesion_id for click in clicks)
    if is_searched and highest > HIGHEST_LABEL - _NUMBERS_FOR_FINDINGS:
        raise BadInput(
            f"{path}: lesion number {highest} leaves too few numbers up to {HIGHEST_LABEL} for "
            "what the search finds; use lower numbers, or --no-search"
        )
    for click in clicks:
        if not stack.contains(click.ras):
            r, a, s = click.ras
            raise BadInput(
                f"{path}: the point {click.label!r} at R {r:.1f}, A {a:.1f}, S {s:.1f} mm lies "
                "outside the scan"
            )
    positive = {click.lesion_id for click in clicks if click.positive}
    for click in clicks:
        if click.lesion_id not in positive:
            raise BadInput(
                f"{path}: lesion {click.lesion_id} has no positive click, only {click.label!r}"
            )
    return clicks


def _warn(bar: ProgressBar, stack: SliceStack, is_thickened: bool) -> None:
    warning = stack.acquisition_warning()
    if warning:
        bar.say(f"Warning: {warning}")
    if not is_thickened and stack.count > 1 and stack.slice_spacing < _SHORT_REACH_MM:
        bar.say(
            f"Note: slices are {stack.slice_spacing:.2g} mm apart, those of the training scans "
            "7.8 mm; --thicken averages them."
        )


def _read_regions(args: argparse.Namespace, scan: ThickSlices) -> dict[str, object]:
    from mois_core.cli.working_scan import read_labels_on

    regions = {}
    for name in ("inside", "outside"):
        path = getattr(args, name)
        if path is not None:
            mask = read_labels_on(scan.original.volume, path, "the scan") > 0
            regions[name] = scan.from_original(mask)
    return regions


def _read_seeds(
    args: argparse.Namespace, scan: ThickSlices, settings: Settings, bar: ProgressBar
) -> tuple:
    from mois_core.cli.working_scan import read_labels_on, working_scan
    from mois_core.geometry import SliceStack
    from mois_core.io import read_scan

    if args.exemplar_labels is None:
        return ()
    if args.exemplar_scan is None:
        labels = read_labels_on(scan.original.volume, args.exemplar_labels, "the scan")
        return (scan.from_original(labels),)
    earlier = SliceStack(read_scan(args.exemplar_scan, say=bar.say), settings.axis)
    labels = read_labels_on(earlier.volume, args.exemplar_labels, str(args.exemplar_scan))
    thick = working_scan(earlier, args.thicken)
    return thick.from_original(labels), thick.volume


def _parameters(args: argparse.Namespace, session: Session, scan: Volume) -> dict[str, object]:
    """Return what the result depends on, without file names, which often name the patient."""
    from mois_core.io.stations import station_count

    return {
        **asdict(session.settings),
        "search": not args.no_search,
        "thicken": args.thicken,
        "stations": station_count(scan),
        "reference": args.reference,
        "inside": args.inside is not None,
        "outside": args.outside is not None,
        "exemplar_labels": args.exemplar_labels is not None,
        "device": str(session.model.device),
        "dtype": str(session.model.dtype).removeprefix("torch."),
    }

"""``mois segment``: segment every lesion of a scan from a few clicks."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mois_core.cli import dicom_option, model_choice
from mois_core.cli.arguments import WindowOrSlices, finite_number, memory_size, series_uids
from mois_core.cli.progress_bar import ProgressBar, progress_bar
from mois_core.cli.segment_inputs import SegmentInputs, check_arguments, read_inputs
from mois_core.errors import BadInput

if TYPE_CHECKING:
    from mois_core.cli.earlier_work import Outlines
    from mois_core.io import RasClick
    from mois_core.session import Session
    from mois_core.weights import OpenedModel

_DESCRIPTION = """\
Outline the lesions that were clicked on, search the rest of the scan for others
like them, and write all of them down.

Work can begin with lesions that are outlined (--lesions), and go on from a session
that was saved (--session), with more clicks, another search, or other results.

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

The published networks were trained on coronal whole-body MRI; one that mois train
made knows its own slices and brightness. Nothing leaves this computer."""

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
  mois segment scan.nii.gz --points clicks.mrk.json --model mois-sam2-b+ \\
      --out lesions.seg.nrrd --save-session lesions.mois
  mois segment scan.nii.gz --session lesions.mois --points clicks.mrk.json \\
      --model mois-sam2-b+ --out lesions.seg.nrrd --save-session lesions.mois
      go on with the session: of the clicks, those that it does not have yet
  mois segment scan.nii.gz --lesions outlined.seg.nrrd --model mois-sam2-b+ \\
      --out lesions.seg.nrrd
      the outlined lesions as they are, and all others like them
  mois segment dicom/ --compose --series 1.2.840.97 --series 1.2.840.98 \\
      --points clicks.mrk.json --model mois-sam2-b+ --out lesions.seg.nrrd
      head and trunk, two series of the folder, as one scan

output:
  --out      .seg.nrrd (named, coloured segments for 3D Slicer), or .nii.gz, .nii
             or .nrrd (label values), on the scan's own voxels
  --report   .csv: one row per lesion; .json: also totals, model and parameters
  --picture  .png: maximum projection and the busiest slices with outlines
  --dicom-out  a new folder: segmentation.dcm (SEG), measurements.dcm (SR) and
             outlines/ (secondary captures); only if SCAN is DICOM

exit codes: 0 done; 2 bad input, 130 cancelled with Ctrl-C, 143 terminated (SIGTERM):
nothing is written; 141 nobody reads the output any more (| head -1)"""


def add_parser(commands: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the command; what is not given is left to the engine's own defaults."""
    parser = commands.add_parser(
        "segment",
        help="outline clicked lesions and find all others like them",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument("scan", type=Path, metavar="SCAN", help="image file or DICOM folder")
    parser.add_argument("--points", type=Path, metavar="FILE.mrk.json", help="the clicks")
    parser.add_argument(
        "--lesions",
        type=Path,
        metavar="LABELMAP",
        help="lesions to begin with, outlined in SCAN: they keep their numbers, names and colours, "
        "and their outlines wherever no click on them (3+ for lesion 3) asks for another; the "
        "search looks for others like them",
    )
    parser.add_argument(
        "--session",
        type=Path,
        metavar="FILE",
        help="go on with what --save-session wrote, on the same scan with the same model",
    )
    parser.add_argument(
        "--earlier",
        metavar="SCAN:LESIONS",
        help="an earlier scan of the patient with its lesions (a segmentation or a saved session): "
        "what is like them is searched for, and those not found are proposed as findings where "
        "they should be",
    )
    parser.add_argument(
        "--earlier-series",
        type=series_uids,
        default=(),
        metavar="UID",
        help="which series of the earlier scan's DICOM folder; UID+UID with --compose",
    )
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
    parser.add_argument(
        "--memory",
        type=memory_size,
        metavar="GB",
        help="main memory that encoded slices may take (half of what is free); results do not "
        "depend on it",
    )

    files = parser.add_argument_group("results")
    files.add_argument("--out", type=Path, required=True, metavar="OUT.seg.nrrd")
    files.add_argument("--report", type=Path, metavar="OUT.csv|OUT.json")
    files.add_argument("--picture", type=Path, metavar="OUT.png")
    dicom_option.add_argument(files)
    files.add_argument(
        "--save-session",
        type=Path,
        metavar="FILE",
        help="everything, to go on from later with --session; the same file may be named",
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
        help="leave out findings of less confidence than this, from 0 to 1 (0 keeps all; networks "
        "that judge findings ask for more, the more is known; --certainty is the older name)",
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
        help="lesions outlined before, as exemplars only: what is like them is searched for, as "
        "well or instead of clicks, but they do not become lesions of the result (see --lesions)",
    )
    search.add_argument(
        "--exemplar-scan", type=Path, metavar="SCAN", help="the scan they lie in, if not SCAN"
    )

    how = parser.add_argument_group("slices")
    how.add_argument(
        "--propagation-mm",
        type=finite_number,
        metavar="MM",
        help="how far a clicked lesion is followed each way at most (24)",
    )
    how.add_argument(
        "--propagation-slices",
        type=int,
        metavar="N",
        help="the same as a number of slices, whatever their thickness",
    )
    how.add_argument(
        "--axis",
        choices=("coronal", "sagittal", "axial"),
        help="(those that the model was trained on: coronal for the published ones)",
    )
    how.add_argument(
        "--window",
        dest="grey_window",
        action=WindowOrSlices,
        metavar="LOW,HIGH",
        help="values of SCAN that are black and white to the network, if it was trained with a "
        "window and its file does not tell (a single number means --propagation-slices, whose "
        "older name this is)",
    )
    how.add_argument(
        "--thicken",
        action="store_true",
        help="average thin slices to the 7.8 mm of the training scans (seldom needed: lesions are "
        "followed by distance); results come back on the scan's own voxels",
    )
    how.add_argument(
        "--reference", action="store_true", help="do as the published app does, to compare with it"
    )
    return parser


def run(args: argparse.Namespace) -> None:
    """Check the input, segment the scan and write the results."""
    check_arguments(args)

    from mois_core.cli.earlier_work import notes
    from mois_core.cli.result_files import SegmentationResult, result_line, write_results
    from mois_core.cli.working_scan import lesions_on_scan

    with progress_bar() as bar:
        inputs = read_inputs(args, bar)
        model = model_choice.choose_model(args)
        if not (args.no_search or model.network.config.exemplars):
            raise BadInput(
                f"the model {model.info.preset} cannot search; add --no-search, or choose a "
                "MOIS-SAM2 model"
            )
        session, clicks, notices = _begin(args, inputs, model, bar)
        segment(session, clicks, not args.no_search, inputs.regions, bar, inputs.outlines)
        # After the search, which takes findings that nobody has decided on back.
        if inputs.earlier:
            inputs.earlier.propose(session, bar)
    scan = inputs.scan
    result = SegmentationResult(
        stack=scan.original,
        labels=scan.to_original(session.labels()),
        lesions=lesions_on_scan(scan, session.lesions),
        model=model.info,
        parameters=_parameters(args, session, inputs),
        session=session,
        colours=inputs.colours,
        notices=notices,
        notes=notes(inputs.thicken, inputs.colours),
    )
    files = (args.out, args.report, args.picture, args.save_session)
    with progress_bar() as bar:
        written = write_results(result, *files, dicom=inputs.dicom, progress=bar)
    print(f"{args.out}: {result_line(result)}")
    if written:
        print(dicom_option.written_line(args.dicom_out, written))


def _begin(
    args: argparse.Namespace, inputs: SegmentInputs, model: OpenedModel, bar: ProgressBar
) -> tuple[Session, list[RasClick], list[str]]:
    """Return the session that the run works on, the clicks that it does not have yet, and the list
    of what it says."""
    from mois_core.cli.earlier_work import new_clicks
    from mois_core.session import Session

    if inputs.saved:
        session = inputs.saved.open(model, inputs.scan.volume)
    else:
        how = (inputs.settings, args.reference, model.info)
        session = Session(model.network, inputs.scan.volume, *how)
    notices = _hear(session, bar)
    if inputs.seeds:
        session.add_exemplars(*inputs.seeds)
    if inputs.earlier and not args.no_search:
        inputs.earlier.give_exemplars(session)
    clicks = new_clicks(inputs.clicks, session, inputs.outlines)
    known = len(inputs.clicks) - len(clicks)
    if known:
        bar.say(f"Of the {len(inputs.clicks)} clicks the session has {known} already.")
    return session, clicks, notices


def _hear(session: Session, bar: ProgressBar) -> list[str]:
    """Print what a session says; return the list that it is kept in for the report."""
    heard: list[str] = []

    def tell(text: str) -> None:
        heard.append(text)
        bar.say(text)

    session.on_notice = tell
    return heard


def segment(
    session: Session,
    clicks: list[RasClick],
    search: bool,
    regions: dict[str, object],
    bar: ProgressBar,
    outlines: Outlines | None = None,
) -> None:
    """Run a session as a user of the module would: take over outlines, click, wait, search."""
    from mois_core.session import NewClick

    if search:
        session.prepare(_first_slice(session, clicks), bar)
    if outlines:
        session.add_lesions(outlines.labels, outlines.names, outlines.uids)
    if clicks:
        new = [NewClick(click.ras, click.positive, click.lesion_id) for click in clicks]
        session.clicks(new, progress=bar)
    if not search:
        return
    if not session.exemplars_for(0):
        outlined = (
            "The network outlined nothing at the clicks" if clicks else "No lesion is outlined"
        )
        bar.say(f"{outlined}, so there was nothing to search for.")
        return
    session.find_similar(bar, **regions)


def _first_slice(session: Session, clicks: list[RasClick]) -> int:
    if not clicks:
        return 0
    position, _, _ = session.stack.point_from_ras(clicks[0].ras)
    return round(float(position))


def _parameters(
    args: argparse.Namespace, session: Session, inputs: SegmentInputs
) -> dict[str, object]:
    """Return what the result depends on, without file names, which often name the patient."""
    from mois_core.io.compose_stations import station_count

    return {
        **asdict(session.settings),
        "search": not args.no_search,
        "session": args.session is not None,
        "lesions": args.lesions is not None,
        "thicken": inputs.thicken,
        "stations": station_count(inputs.scan.original.volume),
        "reference": session.reference,
        "inside": args.inside is not None,
        "outside": args.outside is not None,
        "exemplar_labels": args.exemplar_labels is not None,
        "device": str(session.model.device),
        "dtype": str(session.model.dtype).removeprefix("torch."),
    }

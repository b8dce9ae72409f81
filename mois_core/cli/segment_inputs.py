"""What a run of ``mois segment`` reads: checked as far as can be before a network is loaded."""

from __future__ import annotations

import argparse
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mois_core.cli import dicom_option, earlier_scan, model_choice
from mois_core.cli.compare import split_pair
from mois_core.cli.outputs import check_outputs
from mois_core.cli.progress_bar import ProgressBar
from mois_core.errors import BadInput

if TYPE_CHECKING:
    from mois_core.cli.earlier_scan import EarlierScan
    from mois_core.cli.earlier_work import Outlines, SavedWork
    from mois_core.geometry import SliceStack, Volume
    from mois_core.io import RasClick
    from mois_core.io.resample import ThickSlices
    from mois_core.results.colours import Colour
    from mois_core.session.state import Settings

_NUMBERS_FOR_FINDINGS = 1000
"""More than a search finds; without them it would fail at its end."""


def check_arguments(args: argparse.Namespace) -> None:
    """Refuse arguments that cannot work together, before any scan is opened."""
    from mois_core.cli.result_files import check_endings

    beginnings = (args.points, args.lesions, args.session)
    if all(path is None for path in (*beginnings, args.exemplar_labels, args.earlier)):
        raise BadInput(
            "give the clicks with --points, outlined lesions with --lesions, a saved session with "
            "--session, an earlier scan and its lesions with --earlier, or earlier lesions to "
            "search for with --exemplar-labels"
        )
    if all(path is None for path in (*beginnings, args.earlier)) and args.no_search:
        raise BadInput("without --points and with --no-search there is nothing to do")
    if args.earlier_series and not args.earlier:
        raise BadInput(
            "--earlier-series chooses a series of the scan of --earlier, which is missing"
        )
    if args.lesions is not None and args.session is not None:
        raise BadInput(
            "--lesions begins a session and --session goes on with one; give one of them"
        )
    if args.lesions is not None and args.thicken:
        raise BadInput("averaged slices cannot keep outlines as they are; leave out --thicken")
    if args.propagation_mm is not None and args.propagation_slices is not None:
        raise BadInput("give one of --propagation-mm and --propagation-slices")
    if args.reference and args.min_confidence is not None:
        raise BadInput(
            "--reference keeps all findings, as the published app does; leave out --min-confidence"
        )
    if args.exemplar_scan is not None and args.exemplar_labels is None:
        raise BadInput("--exemplar-scan needs the lesions in it; give --exemplar-labels")
    named = {
        "--out": args.out,
        "--report": args.report,
        "--picture": args.picture,
        "--save-session": args.save_session,
    }
    outputs = {option: path for option, path in named.items() if path is not None}
    check_endings(args.out, args.report, args.picture)
    labels = (args.lesions, args.inside, args.outside, args.exemplar_labels)
    inputs = [args.scan, args.points, *labels, args.exemplar_scan, Path(args.model)]
    if args.earlier:
        inputs += split_pair(args.earlier)
    if not _is_same_file(args.session, args.save_session):
        inputs.append(args.session)
    check_outputs(outputs, [path for path in inputs if path is not None])
    dicom_option.check_option(args)


def _is_same_file(first: Path | None, second: Path | None) -> bool:
    return None not in (first, second) and os.path.realpath(first) == os.path.realpath(second)


@dataclass(frozen=True, eq=False)
class SegmentInputs:
    """All that a run reads before it loads a network."""

    scan: ThickSlices
    thicken: bool
    settings: Settings
    saved: SavedWork | None
    outlines: Outlines | None
    clicks: list[RasClick]
    regions: dict[str, object]
    seeds: tuple
    earlier: EarlierScan | None
    dicom: dicom_option.DicomOutput | None

    @property
    def colours(self) -> Mapping[int, Colour]:
        """Colours of lesions that came with colours of their own."""
        source = self.saved or self.outlines
        return source.colours if source else {}


def read_inputs(args: argparse.Namespace, bar: ProgressBar) -> SegmentInputs:
    """Read everything but the network, and check it against each other."""
    from mois_core.cli.earlier_work import read_outlines, read_saved_work
    from mois_core.cli.working_scan import working_scan
    from mois_core.geometry import SliceStack
    from mois_core.io import read_scan
    from mois_core.session.state import Settings

    given = _given_settings(args)
    saved = read_saved_work(args, given) if args.session else None
    settings = saved.told.settings if saved else Settings(**given)
    if settings.axis is None:
        settings = replace(settings, axis=model_choice.trained_axis(args))
    thicken = saved.thicken if saved else args.thicken
    stack = SliceStack(read_scan(args.scan, args.series, args.compose, bar.say), settings.axis)
    scan = working_scan(stack, thicken)
    if saved:
        saved.told.check_scan(scan.volume)
    outlines = read_outlines(args.lesions, stack.volume) if args.lesions else None
    known = saved.told.lesion_ids if saved else outlines.lesion_ids if outlines else ()
    last_id = max((saved.told.last_id if saved else 0, *known))
    clicks = _read_clicks(args.points, stack, known) if args.points else []
    if not args.no_search:
        _check_numbers(args, clicks, last_id)
    _warn(bar, stack)
    regions = _read_regions(args, scan)
    seeds = _read_seeds(args, scan, settings, thicken, bar)
    earlier = _read_earlier(args, scan.volume, bar)
    dicom = dicom_option.open_output(args, stack)
    beginning = (scan, thicken, settings, saved, outlines, clicks, regions)
    return SegmentInputs(*beginning, seeds, earlier, dicom)


def _given_settings(args: argparse.Namespace) -> dict[str, object]:
    """Return the settings that the command line names."""
    given = {
        "axis": args.axis,
        "grey_window": args.grey_window,
        "propagation_mm": args.propagation_mm,
        "propagation_slices": args.propagation_slices,
        "exemplars": args.exemplars,
        "smallest_cm3": args.smallest,
        "min_confidence": args.min_confidence,
        "findings": args.findings,
        "host_budget": args.memory,
    }
    named = {name: value for name, value in given.items() if value is not None}
    if args.propagation_mm is not None:
        named["propagation_slices"] = None
    return named


def _check_numbers(args: argparse.Namespace, clicks: list[RasClick], last_id: int) -> None:
    """Refuse numbers of lesions that would leave none for findings at the end of the search."""
    from mois_core.io.scan import HIGHEST_LABEL

    numbers = [(last_id, args.lesions or args.session)]
    numbers += [(click.lesion_id, args.points) for click in clicks]
    highest, path = max(numbers, key=lambda pair: pair[0])
    if highest > HIGHEST_LABEL - _NUMBERS_FOR_FINDINGS:
        raise BadInput(
            f"{path}: lesion number {highest} leaves too few numbers up to {HIGHEST_LABEL} for "
            "what the search finds; use lower numbers, or --no-search"
        )


def _read_clicks(path: Path, stack: SliceStack, known: Collection[int]) -> list[RasClick]:
    """Read clicks; ``known`` are the lesions that there are before them."""
    from mois_core.io import read_points

    clicks = read_points(path)
    for click in clicks:
        if not stack.contains(click.ras):
            r, a, s = click.ras
            raise BadInput(
                f"{path}: the point {click.label!r} at R {r:.1f}, A {a:.1f}, S {s:.1f} mm lies "
                "outside the scan"
            )
    positive = {click.lesion_id for click in clicks if click.positive}.union(known)
    for click in clicks:
        if click.lesion_id not in positive:
            raise BadInput(
                f"{path}: lesion {click.lesion_id} has no positive click, only {click.label!r}"
            )
    return clicks


def _warn(bar: ProgressBar, stack: SliceStack) -> None:
    warning = stack.acquisition_warning()
    if warning:
        bar.say(f"Warning: {warning}")


def _read_earlier(args: argparse.Namespace, volume: Volume, bar: ProgressBar) -> EarlierScan | None:
    if not args.earlier:
        return None
    how = (args.earlier_series, args.compose)
    return earlier_scan.read_earlier(args.earlier, volume, bar, *how)


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
    args: argparse.Namespace,
    scan: ThickSlices,
    settings: Settings,
    thicken: bool,
    bar: ProgressBar,
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
    thick = working_scan(earlier, thicken)
    return thick.from_original(labels), thick.volume

"""``mois evaluate``: measure segmenters against the truth, with simulated readers."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mois_core.cli import scan_files
from mois_core.cli.arguments import finite_number, matrix_size, seed
from mois_core.cli.matplotlib_folder import provide_matplotlib_folder
from mois_core.cli.model_choice import DEVICES, add_precision
from mois_core.errors import BadInput

if TYPE_CHECKING:
    from mois_core.evaluation.cohort import EvaluationCase
    from mois_core.evaluation.metrics import MetricSettings
    from mois_core.evaluation.plan import EvaluationPlan
    from mois_core.evaluation.protocols import Protocol

_DESCRIPTION = """\
Let a simulated reader segment scans whose truth is known, and measure the result.

COHORT is a table (CSV) with the columns scan and labels and, if you like, name, set, patient,
fold and 'reader:NAME' for label maps of further readers; or a folder that holds folders with
scan.nii.gz and semantic.nii.gz, those of one set in one folder; or a folder as --scan-files and
--label-files say. --phantoms takes four synthetic test sets instead.

A segmenter is written [NAME:]KIND[=MODEL][,OPTION=VALUE...]:
  mois=phantom              MOIS-SAM2: clicks, then a search of the whole scan
  mois-clicks=phantom       the same network, clicks without a search
  sam2=sam2.1-b+            SAM 2, without exemplars
  slm=weights.pt            SLM-SAM 2
  region-growing            threshold and region growing, without a network
  unet=, dins=, sw-fastedit=WEIGHTS
                            networks that 'mois train-baseline' trained
  masks=FOLDER              masks that another program made: FOLDER/NAME.nii.gz for scan NAME
  nnunet=, nninteractive=, vista3d=, simpleclick-stcn=MODEL
                            systems of others with their own weights: docs/baselines.md
  mine.py:Mine              a class of your own; docs/evaluation.md shows one
mois, mois-clicks, sam2 and slm take axis, propagation_mm, propagation_slices, exemplars,
smallest_cm3, min_confidence, heed_clicks, absorb, connected, learn_from_rejections,
accepted_as_exemplars, fill_holes, findings, gate and reference; region-growing takes fraction
and reach_mm. NAME@FOLD marks one of the models of a cross-validation. The first segmenter is the
one that the others are compared with.

DIR receives results.csv with one row for each scan, segmenter and step, tables (CSV,
LaTeX, Markdown), figures (PNG, PDF) and report.html, which shows it all. The same
command goes on with a run that was interrupted."""

_EXAMPLES = """\
examples:
  mois evaluate --benchmark short --out benchmark
                         four phantom test sets, the shipped network, in minutes
  mois evaluate --benchmark long --jobs 2 --out benchmark-long
  mois evaluate cohort.csv --segmenter mois=mois-sam2-b+ --segmenter sam2=sam2.1-b+ --out results
                         20 lesions, 3 clicks each, as in the paper
  mois evaluate cohort.csv --segmenter mois=mois-sam2-b+ --protocol scan-wise --out scan-wise
  mois evaluate cohort.csv --segmenter A:mois=a.pt --segmenter B:mois=b.pt --out ablation
  mois evaluate --report results
                         draw the figures and tables again"""

_BENCHMARK_SEGMENTERS = ("mois=phantom", "mois-clicks=phantom", "region-growing")
_RUN = "run"


def add_parser(commands: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the command."""
    parser = commands.add_parser(
        "evaluate",
        help="measure segmenters on scans whose truth is known",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
    )
    parser.add_argument("cohort", nargs="?", type=Path, metavar="COHORT", help="table or folder")
    parser.add_argument("--out", type=Path, metavar="DIR", help="results folder")
    parser.add_argument(
        "--segmenter",
        action="append",
        default=[],
        metavar="SPEC",
        help="what is measured; can be repeated",
    )
    parser.add_argument(
        "--benchmark",
        choices=["short", "long", "readers"],
        help="the whole benchmark on phantoms, or only the agreement with simulated readers; "
        "--phantoms changes the scans for each set",
    )
    parser.add_argument("--report", type=Path, metavar="DIR", help="only draw DIR's figures again")
    _add_scans(parser)
    _add_protocol(parser)
    _add_measuring(parser)
    _add_work(parser)
    return parser


def _add_scans(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("scans")
    group.add_argument(
        "--phantoms", type=int, metavar="N", help="four synthetic test sets of N scans each"
    )
    group.add_argument(
        "--size", type=matrix_size, metavar="ROWSxCOLUMNS", help="matrix of the phantoms (1024x320)"
    )
    scan_files.add_arguments(group)
    group.add_argument(
        "--set", action="append", default=[], metavar="NAME", help="only this test set; repeatable"
    )


def _add_protocol(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("protocol")
    group.add_argument(
        "--protocol",
        choices=["lesion-wise", "scan-wise", "reader"],
        default="lesion-wise",
        help="one lesion after the other (default); each click at the largest error of the scan; "
        "or lesion by lesion with a reader's mistakes",
    )
    group.add_argument(
        "--lesions", type=int, default=20, metavar="L", help="largest lesions to click on (20)"
    )
    group.add_argument(
        "--clicks",
        type=int,
        metavar="C",
        help="interactions for each lesion (3), or for the scan (8)",
    )
    group.add_argument(
        "--stop-at", type=finite_number, metavar="DSC", help="of a lesion (1), or of the scan (0.8)"
    )
    group.add_argument(
        "--measured",
        choices=["end", "lesion", "click"],
        default="end",
        help="when a row is written, with a search before it (end)",
    )
    group.add_argument(
        "--rule",
        choices=["centre", "deepest", "published"],
        default="centre",
        help="where in the largest error a click goes: the centre, moved inside (default); the "
        "place furthest from the border; or as the published code does it, anywhere, and a "
        "second click in what is too much",
    )
    group.add_argument(
        "--order",
        choices=["largest", "published"],
        default="largest",
        help="published: in the order of the file, split where joined by corners only",
    )
    group.add_argument(
        "--lesions-from",
        choices=["components", "labels"],
        default="components",
        help="true lesions are connected components (default), or numbered in the label map",
    )
    group.add_argument(
        "--objects",
        choices=["lesions", "one"],
        default="lesions",
        help="scan-wise: each lesion an object (default), or all together, as published",
    )
    group.add_argument(
        "--jitter-mm", type=finite_number, default=2.0, help="reader: displacement (2)"
    )
    group.add_argument(
        "--late", type=finite_number, default=0.1, help="reader: share of late clicks (0.1)"
    )
    group.add_argument(
        "--wrong", type=finite_number, default=0.05, help="reader: share of wrong clicks (0.05)"
    )
    group.add_argument("--seed", type=seed, default=0, help="of the reader's mistakes (0)")


def _add_measuring(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("measuring")
    group.add_argument(
        "--as-published",
        action="store_true",
        help="click and measure as the published code does, where it departs from the paper",
    )
    group.add_argument(
        "--smallest-cm3", type=finite_number, metavar="V", help="leave out smaller components (1)"
    )
    group.add_argument(
        "--detection",
        choices=["each-side", "one-to-one", "any-overlap"],
        help="when a lesion counts as found: any that overlaps it enough, as the paper says "
        "(each-side), pairs, or any shared voxel, as its code has it; pairs are counted besides",
    )
    group.add_argument("--iou", type=finite_number, metavar="T", help="from this overlap on (0.1)")
    group.add_argument(
        "--lesion-dice", choices=["pair", "box"], help="box: as published (default pair)"
    )
    group.add_argument(
        "--tolerance-mm", type=finite_number, metavar="T", help="of the surface DSC (2)"
    )


def _add_work(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("work")
    group.add_argument("--jobs", type=int, default=1, metavar="N", help="scans at a time (1)")
    group.add_argument(
        "--dask", metavar="ADDRESS", help="scheduler of a cluster that sees DIR under this name"
    )
    group.add_argument(
        "--no-masks", action="store_true", help="keep no masks: no overlays, no agreement"
    )
    group.add_argument("--device", choices=DEVICES, default="cpu", help="where to compute (cpu)")
    add_precision(group)


def run(args: argparse.Namespace) -> None:
    """Evaluate, or only draw figures again, and print where they are."""
    _need_tools()
    from mois_core.evaluation.analysis import EvaluationResults
    from mois_core.evaluation.report import write_report
    from mois_core.evaluation.tables import as_text, benchmark_table

    if args.report:
        if args.cohort or args.benchmark or args.out:
            raise BadInput("--report draws what is in a results folder and takes nothing else")
        print(f"{write_report(args.report)}: open it in a browser")
        return
    _evaluate(args)
    page = write_report(args.out)
    print(as_text(benchmark_table(EvaluationResults.read(args.out))))
    print(f"{page}: open it in a browser")


def _need_tools() -> None:
    provide_matplotlib_folder()
    try:
        import joblib  # noqa: F401  # only whether it is there
        import matplotlib  # noqa: F401  # only whether it is there
    except ModuleNotFoundError as error:
        raise BadInput(
            f"evaluation needs {error.name}, which is not installed; install it with 'pip "
            f"install {error.name}'"
        ) from error


def _evaluate(args: argparse.Namespace) -> None:
    from mois_core.cli.progress_bar import progress_bar
    from mois_core.evaluation.results_folder import read_rows
    from mois_core.evaluation.runner import run_plan

    if args.out is None:
        raise BadInput("--out is needed: the folder that receives the results")
    if args.out.exists() and not args.out.is_dir():
        raise BadInput(f"{args.out} is a file; --out takes a folder")
    plan = _plan(args)
    for line in plan.untested():
        print(line, file=sys.stderr)
    with progress_bar() as bar:
        run_plan(plan, args.out, args.jobs, bar, bar.say, args.dask)
    failed = read_rows(args.out, "failures.csv")
    if failed:
        print(f"{len(failed)} runs failed; {args.out / 'failures.csv'} says why")


def _plan(args: argparse.Namespace) -> EvaluationPlan:
    from dataclasses import replace

    from mois_core.evaluation.benchmark import benchmark_plan
    from mois_core.evaluation.cohort import chosen_sets
    from mois_core.evaluation.plan import EvaluationPlan, Experiment
    from mois_core.evaluation.segmenter_specs import parse_spec, without_missing

    words = args.segmenter or (_BENCHMARK_SEGMENTERS if args.benchmark else ())
    if not words:
        raise BadInput("--segmenter is needed, like --segmenter mois=phantom")
    asked = [parse_spec(text, args.device, args.dtype) for text in words]
    specs, left_out = without_missing(asked)
    for name, why in left_out.items():
        print(f"{name} is left out: {why}", file=sys.stderr)
    if asked[0].label in left_out:
        print(f"the others are compared with {specs[0].name} instead", file=sys.stderr)
    if args.benchmark:
        _refuse_overruled_options(args)
        plan = benchmark_plan(args.benchmark, specs, args.phantoms, args.size)
        cases = tuple(chosen_sets(plan.cases, args.set))
        missing = tuple(left_out.items())
        return replace(plan, cases=cases, keep_masks=not args.no_masks, left_out=missing)
    return EvaluationPlan(
        cases=tuple(_cases(args)),
        segmenters=specs,
        experiments=(Experiment(_RUN, _protocol(args)),),
        measuring=_measuring(args),
        keep_masks=not args.no_masks,
        left_out=tuple(left_out.items()),
    )


def _refuse_overruled_options(args: argparse.Namespace) -> None:
    """Refuse options that the benchmark overrules, which would look as if they had an effect."""
    if args.cohort:
        raise BadInput("--benchmark runs on phantoms; leave out the cohort or --benchmark")
    _refuse_scan_files(args)
    fixed = argparse.ArgumentParser()
    _add_protocol(fixed)
    _add_measuring(fixed)
    for name, default in vars(fixed.parse_args([])).items():
        if getattr(args, name) != default:
            option = name.replace("_", "-")
            raise BadInput(f"--benchmark has its own protocol; leave out --{option} or --benchmark")


def _refuse_scan_files(args: argparse.Namespace) -> None:
    if scan_files.is_given(args):
        raise BadInput("--scan-files, --label-files and --label are for cohorts, not for phantoms")


def _cases(args: argparse.Namespace) -> list[EvaluationCase]:
    from mois_core.evaluation.cohort import chosen_sets, read_cohort
    from mois_core.evaluation.phantom_sets import phantom_cases

    if (args.cohort is None) == (args.phantoms is None):
        raise BadInput("give either a cohort or --phantoms N")
    if args.cohort is None:
        _refuse_scan_files(args)
        cases = phantom_cases(args.phantoms, args.size)
    elif args.size is not None:
        raise BadInput("--size is the matrix of phantoms; a cohort's scans have their own")
    else:
        patterns, values = scan_files.patterns_of(args), scan_files.lesion_values_of(args)
        cases = read_cohort(args.cohort, patterns, values)
    return chosen_sets(cases, args.set)


def _protocol(args: argparse.Namespace) -> Protocol:
    from mois_core.evaluation.protocols import SCAN_WISE_CLICKS, SCAN_WISE_STOP, Protocol
    from mois_core.evaluation.simulated_reader import Mistakes

    if args.label and args.lesions_from == "labels":
        raise BadInput(
            "--label makes all lesions one value, and --lesions-from labels takes each value for "
            "one lesion; leave out one of them"
        )
    is_scan_wise = args.protocol == "scan-wise"
    published = args.as_published
    for name, usual in (("rule", "centre"), ("order", "largest"), ("objects", "lesions")):
        if published and getattr(args, name) != usual:
            raise BadInput(f"--as-published has its own --{name}; leave out one of them")
    return Protocol(
        kind=args.protocol,
        lesions=args.lesions,
        clicks=_first_given(args.clicks, SCAN_WISE_CLICKS if is_scan_wise else 3),
        stop_at=_first_given(args.stop_at, SCAN_WISE_STOP if is_scan_wise else 1.0),
        rule="published" if published else args.rule,
        order="published" if published else args.order,
        source=args.lesions_from,
        measured=args.measured,
        objects="one" if published else args.objects,
        mistakes=Mistakes(args.jitter_mm, args.late, args.wrong),
        seed=args.seed,
    )


def _measuring(args: argparse.Namespace) -> MetricSettings:
    from dataclasses import replace

    from mois_core.evaluation.metrics import AS_PUBLISHED, MetricSettings

    given = {
        "smallest_cm3": args.smallest_cm3,
        "detection": args.detection,
        "from_iou": args.iou,
        "lesion_dice": args.lesion_dice,
        "tolerance_mm": args.tolerance_mm,
    }
    base = AS_PUBLISHED if args.as_published else MetricSettings()
    return replace(base, **{name: value for name, value in given.items() if value is not None})


def _first_given(given: object, otherwise: object) -> object:
    return otherwise if given is None else given

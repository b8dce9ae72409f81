"""The paper's Table 2 at small scale: five approaches, several seeds of each, one table.

Run as ``python -m tools.ablation --out DIR``. Each approach begins with the encoder of the network
that ships and learns on phantoms; all are then measured on the same held-out ones. Stopped or
killed, the same command goes on where it was. ``DIR/results/report.html`` is the end of it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Run as a file, Python looks for imports beside it and not in the project's root.
sys.path.insert(0, str(Path(__file__).parents[1]))

from mois_core.cli.model_choice import add_precision
from mois_core.errors import BadInput
from mois_core.evaluation.analysis import BENCHMARK, EvaluationResults
from mois_core.evaluation.metrics import MetricSettings
from mois_core.evaluation.phantom_sets import phantom_cases
from mois_core.evaluation.plan import EvaluationPlan, Experiment
from mois_core.evaluation.protocols import Protocol
from mois_core.evaluation.report import write_report
from mois_core.evaluation.runner import run_plan
from mois_core.evaluation.segmenter_specs import SegmenterSpec
from mois_core.evaluation.tables import as_text, benchmark_table, folds_table
from mois_core.network.checkpoint import read_file
from mois_core.training.checkpoints import NEWEST, check_same_run
from mois_core.training.config_file import read_config
from mois_core.training.parallel import cores
from mois_core.training.scans import in_checkpoint
from mois_core.weights import sha256_of
from tools.make_weights import processes_for, train

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "mois_core" / "training" / "configs"
SET = "in-domain"
SCANS, SEEDS = 12, 3


@dataclass(frozen=True)
class Approach:
    """One of the paper's approaches."""

    name: str
    config: str
    segmenter: str = "mois"


APPROACHES = (
    Approach("5 complete", "ablation-phantom-5-complete.json"),
    Approach("4 no distances", "ablation-phantom-4-no-distances.json"),
    Approach("3 no pointers", "ablation-phantom-3-no-pointers.json"),
    Approach("2 shared attention", "ablation-phantom-2-shared-attention.json"),
    Approach("1 SAM 2", "ablation-phantom-1-no-exemplars.json", "sam2"),
)
"""The complete one first: the others are compared with it."""


@dataclass(frozen=True)
class Run:
    """One approach with one seed."""

    approach: Approach
    seed: int
    folder: Path

    @property
    def weights(self) -> Path:
        """What it came to."""
        return self.folder / NEWEST

    @property
    def config(self) -> Path:
        """The approach's config with this seed."""
        return self.folder / "config.json"

    def is_trained(self) -> bool:
        """Return whether the training came to its end; refuse one of another config."""
        if not self.weights.is_file():
            return False
        content, config = read_file(self.weights), read_config(self.config)
        check_same_run(self.weights, content, in_checkpoint(config))
        return content["step"] >= config.steps

    def segmenter(self, dtype: str) -> SegmenterSpec:
        """Return it as a segmenter, with its seed for a fold. All findings count."""
        options = (("min_confidence", "0"),)
        name, kind, fold = self.approach.name, self.approach.segmenter, str(self.seed)
        return SegmenterSpec(name, kind, str(self.weights), options, fold, dtype=dtype)


def runs_of(out: Path, configs: Path, seeds: int) -> Iterator[Run]:
    """Yield all runs, each approach once before any a second time, with their configs written."""
    for seed in range(1, seeds + 1):
        for approach in APPROACHES:
            run = Run(approach, seed, out / Path(approach.config).stem / f"seed-{seed}")
            cache = {"phantoms": {"cache": str(out / "phantoms")}}
            content = {"base": str(configs / approach.config), "seed": seed, "data": cache}
            run.folder.mkdir(parents=True, exist_ok=True)
            run.config.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            yield run


def ablate(
    out: Path,
    configs: Path = CONFIGS,
    seeds: int = SEEDS,
    scans: int = SCANS,
    size: tuple[int, int] | None = None,
    protocol: Protocol | None = None,
    dtype: str = "float32",
) -> EvaluationResults:
    """Train and measure everything that is not done yet; return the results.

    ``configs`` holds the approaches' files; ``size`` is the rows and columns of the phantoms that
    are measured on, by the paper's protocol or another one, in the precision ``dtype``.
    """
    runs = list(runs_of(out, configs, seeds))
    _check_start(out, runs)
    for number, run in enumerate(runs, start=1):
        print(f"{run.approach.name}, seed {run.seed} ({number} of {len(runs)})", flush=True)
        if not run.is_trained():
            train(run.config, run.folder, processes_for({"": read_config(run.config)}))
    run_plan(_plan(runs, scans, size, protocol or Protocol(), dtype), out / "results", cores())
    write_report(out / "results")
    return EvaluationResults.read(out / "results")


def _plan(
    runs: list[Run], scans: int, size: tuple[int, int] | None, protocol: Protocol, dtype: str
) -> EvaluationPlan:
    in_order = [run for approach in APPROACHES for run in runs if run.approach is approach]
    return EvaluationPlan(
        cases=tuple(case for case in phantom_cases(scans, size) if case.test_set == SET),
        segmenters=tuple(run.segmenter(dtype) for run in in_order),
        experiments=(Experiment(BENCHMARK, protocol),),
        measuring=MetricSettings(),
    )


def _check_start(out: Path, runs: list[Run]) -> None:
    """Refuse to go on with runs that began with other weights than the next ones would."""
    start = read_config(runs[0].config).start
    if start is None:
        return
    now, noted = sha256_of(Path(start)), out / "start.sha256"
    if noted.is_file() and noted.read_text(encoding="utf-8").strip() != now:
        raise BadInput(f"{out} was begun with another {start}; choose another --out")
    noted.write_text(now + "\n", encoding="utf-8")


def main() -> None:
    """Do as the command line says, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of it all")
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help=f"({SEEDS})")
    parser.add_argument(
        "--scans", type=int, default=SCANS, metavar="N", help=f"to measure on ({SCANS})"
    )
    add_precision(parser)
    args = parser.parse_args()
    out = args.out.resolve()
    # A config's own paths are relative to the project.
    os.chdir(ROOT)
    try:
        results = ablate(out, seeds=args.seeds, scans=args.scans, dtype=args.dtype)
    except BadInput as error:
        sys.exit(f"ablation: {error}")
    for table in (benchmark_table(results), folds_table(results)):
        print(as_text(table))
    print(f"{out / 'results' / 'report.html'}: open it in a browser")


if __name__ == "__main__":
    main()

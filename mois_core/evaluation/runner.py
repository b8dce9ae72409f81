"""Run a plan: several scans at a time, until each is measured or known to have failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import BrokenProcessPool

from mois_core.errors import BadInput
from mois_core.evaluation.plan import (
    EvaluationPlan,
    EvaluationTask,
    describe_plan,
    group_by_scan,
    tasks_of,
)
from mois_core.evaluation.results_folder import ResultsFolder
from mois_core.evaluation.scan_evaluation import evaluate_scan
from mois_core.progress import Progress, silent

CONNECT_SECONDS = 10

_KILLED = "the process that worked on it was ended from outside, perhaps for lack of memory"


def run_plan(
    plan: EvaluationPlan,
    folder: Path,
    jobs: int = 1,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda text: None,
    dask: str | None = None,
) -> ResultsFolder:
    """Run the tasks of a plan that are not done yet, and write the tables.

    ``jobs`` is the number of processes; ``say`` is given a line for each task that fails.
    ``dask`` is the address of a Dask scheduler whose workers see ``folder`` under the same name;
    any other backend of joblib can be chosen around this call with `joblib.parallel_config`.
    """
    if jobs < 1:
        raise BadInput(f"--jobs must be at least 1, not {jobs}")
    results = ResultsFolder(folder)
    whole_plan = results.begin(describe_plan(plan))
    waiting = [task for task in tasks_of(plan) if not results.is_done(task)]
    try:
        with _cluster(dask):
            _run_tasks(plan, results, waiting, -1 if dask else jobs, progress, say)
    finally:
        results.gather(whole_plan)
    return results


@contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """Use the workers of a Dask cluster within the block, if there is an address."""
    if address is None:
        yield
        return
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise BadInput("--dask needs 'pip install distributed'") from error
    try:
        client = Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise BadInput(f"there is no Dask scheduler at {address}: {error}") from error
    with client, parallel_config(backend="dask"):
        yield


def _run_tasks(
    plan: EvaluationPlan,
    results: ResultsFolder,
    waiting: Sequence[EvaluationTask],
    jobs: int,
    progress: Progress,
    say: Callable[[str], None],
) -> None:
    scans = group_by_scan(waiting)
    try:
        _run_parallel(plan, results, scans, jobs, progress, say)
    except BrokenProcessPool:
        # One of the scans that were being worked on is to blame. Each unfinished one gets a
        # process of its own, so that the others do not suffer for it.
        for scan in scans:
            left = [task for task in scan if not results.is_done(task)]
            if not left:
                continue
            try:
                _run_parallel(plan, results, [left], 2, silent, say)
            except BrokenProcessPool:
                for task in left:
                    if not results.is_done(task):
                        results.fail(task, _KILLED)
                say(f"{left[0].case.name}: {_KILLED}")


def _run_parallel(
    plan: EvaluationPlan,
    results: ResultsFolder,
    scans: Sequence[Sequence[EvaluationTask]],
    jobs: int,
    progress: Progress,
    say: Callable[[str], None],
) -> None:
    total = sum(len(scan) for scan in scans)
    done = 0
    progress(done, total, "evaluating")
    calls = (
        delayed(evaluate_scan)(scan, plan.measuring, results.folder, plan.keep_masks)
        for scan in scans
    )
    for outcomes in Parallel(n_jobs=jobs, return_as="generator_unordered")(calls):
        for name, error in outcomes:
            if error:
                say(f"{name}: {error}")
        done += len(outcomes)
        progress(done, total, "evaluating")

"""All scans, several at a time, until each is either measured or known to have failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import BrokenProcessPool

from mois_core.errors import BadInput
from mois_core.evaluation.plan import Job, Plan, by_scan, described, jobs_of
from mois_core.evaluation.scan_evaluation import evaluate_scan
from mois_core.evaluation.store import Store
from mois_core.progress import Progress, silent

CONNECT_SECONDS = 10

Say = Callable[[str], None]

_KILLED = "the process that worked on it was ended from outside, perhaps for lack of memory"


def run_plan(
    plan: Plan,
    folder: Path,
    jobs: int = 1,
    progress: Progress = silent,
    say: Say = lambda text: None,
    dask: str | None = None,
) -> Store:
    """Do what of a plan is not done yet, and put the tables together.

    ``dask`` is the address of a Dask scheduler whose workers see ``folder`` under the same name;
    any other backend of joblib can be chosen around this call with `joblib.parallel_config`.
    """
    if jobs < 1:
        raise BadInput(f"--jobs must be at least 1, not {jobs}")
    store = Store(folder)
    whole = store.begin(described(plan))
    waiting = [job for job in jobs_of(plan) if not store.is_done(job)]
    try:
        with _cluster(dask):
            _work(plan, store, waiting, -1 if dask else jobs, progress, say)
    finally:
        store.gather(whole)
    return store


@contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """The workers of a Dask cluster for the block, if there is an address."""
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


def _work(
    plan: Plan, store: Store, waiting: Sequence[Job], jobs: int, progress: Progress, say: Say
) -> None:
    scans = by_scan(waiting)
    try:
        _parallel(plan, store, scans, jobs, progress, say)
    except BrokenProcessPool:
        # One of the scans that were being worked on is to blame. Each unfinished one gets a
        # process of its own, so that the others do not suffer for it.
        for scan in scans:
            left = [job for job in scan if not store.is_done(job)]
            if not left:
                continue
            try:
                _parallel(plan, store, [left], 2, silent, say)
            except BrokenProcessPool:
                for job in left:
                    if not store.is_done(job):
                        store.fail(job, _KILLED)
                say(f"{left[0].case.name}: {_KILLED}")


def _parallel(
    plan: Plan,
    store: Store,
    scans: Sequence[Sequence[Job]],
    jobs: int,
    progress: Progress,
    say: Say,
) -> None:
    total = sum(len(scan) for scan in scans)
    done = 0
    progress(done, total, "evaluating")
    calls = (
        delayed(evaluate_scan)(scan, plan.measuring, store.folder, plan.keep_masks)
        for scan in scans
    )
    for said in Parallel(n_jobs=jobs, return_as="generator_unordered")(calls):
        for name, error in said:
            if error:
                say(f"{name}: {error}")
        done += len(said)
        progress(done, total, "evaluating")

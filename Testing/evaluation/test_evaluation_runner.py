"""Runs go on whatever happens to a scan, a process, or the whole run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import mois
from engine_fixtures import FIRST
from evaluation_fixtures import STUBS, plan_of, stub, write_case, write_cohort

from mois_core.errors import BadInput
from mois_core.evaluation import report, runner
from mois_core.evaluation.cohort import EvaluationCase, read_cohort
from mois_core.evaluation.plan import tasks_of
from mois_core.evaluation.results_folder import COLUMNS, read_rows
from mois_core.evaluation.runner import run_plan

GROWING = "region-growing"


def test_there_is_one_row_for_each_scan_segmenter_and_step(tmp_path):
    cases = read_cohort(write_cohort(tmp_path / "cohort", scans=1))
    plan = plan_of(cases, stub("StubMois"), stub("StubSam"), measured="lesion")
    run_plan(plan, tmp_path / "out")

    rows = read_rows(tmp_path / "out")
    assert tuple(rows[0]) == COLUMNS
    keys = [(row["scan"], row["segmenter"], row["step"]) for row in rows]
    assert len(set(keys)) == len(keys) == 2 * 2 * 3
    last = [row for row in rows if row["is_last"]]
    assert all(row["dsc"] == row["f1"] == row["nsd"] == 1 for row in last)
    first = {row["segmenter"]: row["dsc"] for row in rows if row["step"] == 1}
    assert first["StubMois"] == 1
    assert first["StubSam"] < 1
    seconds = read_rows(tmp_path / "out", "seconds.csv")
    assert [row["step"] for row in seconds] == [row["step"] for row in rows]


def test_several_processes_give_the_same_table_as_one(tmp_path):
    cases = read_cohort(write_cohort(tmp_path / "cohort"))
    plan = plan_of(cases, stub("StubMois"), GROWING, lesions=2)
    run_plan(plan, tmp_path / "one")
    run_plan(plan, tmp_path / "two", jobs=2)

    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")


def bytes_of(folder: Path) -> bytes:
    return (folder / "results.csv").read_bytes()


# ---- what goes wrong ---------------------------------------------------------------------------


def with_a_bright_one(folder: Path) -> list[EvaluationCase]:
    write_cohort(folder, scans=1)
    write_case(folder / "middle" / "bright", FIRST, brightest=1000)
    return read_cohort(folder)


def test_a_segmenter_that_fails_on_a_scan_is_recorded_and_the_others_go_on(tmp_path):
    cases = with_a_bright_one(tmp_path / "cohort")
    said = []
    plan = plan_of(cases, GROWING, stub("FailsOnBright"))
    run_plan(plan, tmp_path / "out", say=said.append)

    (failed,) = read_rows(tmp_path / "out", "failures.csv")
    assert (failed["scan"], failed["segmenter"]) == ("middle-bright", "FailsOnBright")
    assert failed["error"] == "RuntimeError: too bright for me"
    assert len(said) == 1
    assert len(read_rows(tmp_path / "out")) == 2 * 3 - 1


def test_an_unreadable_scan_is_recorded_for_every_segmenter(tmp_path):
    cases = with_a_bright_one(tmp_path / "cohort")
    (tmp_path / "cohort" / "middle" / "bright" / "scan.nii.gz").write_bytes(b"no image")
    run_plan(plan_of(cases, GROWING, stub("StubSam")), tmp_path / "out")

    failed = read_rows(tmp_path / "out", "failures.csv")
    assert [row["segmenter"] for row in failed] == ["Region growing", "StubSam"]
    assert {row["scan"] for row in read_rows(tmp_path / "out")} == {"far-p0", "near-p0"}


def test_what_failed_is_tried_again_in_the_next_run(tmp_path):
    cases = with_a_bright_one(tmp_path / "cohort")
    scan = tmp_path / "cohort" / "middle" / "bright" / "scan.nii.gz"
    whole = scan.read_bytes()
    scan.write_bytes(whole[:-20])
    plan = plan_of(cases, GROWING)
    run_plan(plan, tmp_path / "out")
    assert len(read_rows(tmp_path / "out", "failures.csv")) == 1

    scan.write_bytes(whole)
    run_plan(plan, tmp_path / "out")

    assert read_rows(tmp_path / "out", "failures.csv") == []
    assert len(read_rows(tmp_path / "out")) == 3


@pytest.mark.skipif(os.name == "nt", reason="processes end differently on Windows")
def test_a_scan_that_ends_its_process_is_recorded_and_the_others_go_on(tmp_path):
    cases = with_a_bright_one(tmp_path / "cohort")
    run_plan(plan_of(cases, stub("DiesOnBright")), tmp_path / "out", jobs=2)

    (failed,) = read_rows(tmp_path / "out", "failures.csv")
    assert failed["scan"] == "middle-bright"
    assert "ended from outside" in failed["error"]
    assert {row["scan"] for row in read_rows(tmp_path / "out")} == {"far-p0", "near-p0"}


# ---- stopping and going on ---------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="needs a signal that cannot be caught")
def test_a_killed_run_goes_on_to_the_same_table(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "write_report", lambda folder: folder)
    cohort = write_cohort(tmp_path / "cohort", scans=3)
    words = [
        "evaluate", str(cohort), "--segmenter", stub("StubMois"), "--segmenter", GROWING,
        "--smallest-cm3", "0", "--measured", "lesion", "--out",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(STUBS.parent), "OMP_NUM_THREADS": "1"}
    broken = tmp_path / "broken"
    process = subprocess.Popen(
        [sys.executable, "-m", "mois_core", *words, str(broken)], env=environment
    )
    deadline = time.monotonic() + 120
    while len(list((broken / "parts").glob("[!.]*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {path.name: path.stat().st_mtime_ns for path in (broken / "parts").glob("[!.]*.json")}
    assert 3 <= len(done) < 12
    assert not (broken / "results.csv").exists()

    assert mois(*words, broken) == 0
    assert mois(*words, tmp_path / "whole") == 0

    assert bytes_of(broken) == bytes_of(tmp_path / "whole")
    after = {name: (broken / "parts" / name).stat().st_mtime_ns for name in done}
    assert after == done


def test_a_finished_run_is_not_repeated_and_can_be_extended(tmp_path):
    cases = read_cohort(write_cohort(tmp_path / "cohort", scans=1))
    run_plan(plan_of(cases[:1], GROWING), tmp_path / "out")
    (part,) = (tmp_path / "out" / "parts").glob("*.json")
    written = part.stat().st_mtime_ns

    run_plan(plan_of(cases, GROWING, stub("StubSam")), tmp_path / "out")

    assert part.stat().st_mtime_ns == written
    assert len(read_rows(tmp_path / "out")) == 4
    run_plan(plan_of(cases[:1], GROWING), tmp_path / "out")
    assert len(read_rows(tmp_path / "out")) == 4


def test_a_scan_whose_files_have_changed_does_not_keep_its_results(tmp_path):
    folder = write_cohort(tmp_path / "cohort", scans=1)
    run_plan(plan_of(read_cohort(folder), GROWING), tmp_path / "out")

    write_case(tmp_path / "corrected", FIRST)
    for file in (tmp_path / "corrected").iterdir():
        file.replace(folder / "near" / "p0" / file.name)
    with pytest.raises(BadInput, match="'near-p0' .* files have changed since"):
        run_plan(plan_of(read_cohort(folder), GROWING), tmp_path / "out")


def test_a_scan_that_could_not_be_read_is_measured_once_it_is_mended(tmp_path):
    folder = write_cohort(tmp_path / "cohort", scans=1)
    labels = folder / "near" / "p0" / "semantic.nii.gz"
    whole = labels.read_bytes()
    labels.write_bytes(whole[:100])
    run_plan(plan_of(read_cohort(folder), GROWING), tmp_path / "out")
    assert len(read_rows(tmp_path / "out", "failures.csv")) == 1

    labels.write_bytes(whole)
    run_plan(plan_of(read_cohort(folder), GROWING), tmp_path / "out")
    assert len(read_rows(tmp_path / "out")) == 2
    assert not read_rows(tmp_path / "out", "failures.csv")


def test_what_failed_is_told_without_names_of_files(tmp_path):
    """A folder may have the patient's name."""
    folder = write_cohort(tmp_path / "Mueller Hans", scans=1)
    for damaged in ("near/p0/semantic.nii.gz", "far/p0/scan.nii.gz"):
        (folder / damaged).write_bytes(b"nothing")
    run_plan(plan_of(read_cohort(folder), GROWING), tmp_path / "out")

    near, far = (row["error"] for row in read_rows(tmp_path / "out", "failures.csv"))
    assert "the label map" in near + far and "the scan" in near + far
    written = [file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert not any(b"Mueller" in content for content in written)


# ---- folds -------------------------------------------------------------------------------------


def in_folds(*folds: str) -> list[EvaluationCase]:
    return [EvaluationCase(f"scan{n}", "s", fold=fold) for n, fold in enumerate(folds)]


def test_what_folds_leave_out_is_told():
    both = f"X@1:{GROWING}", f"X@2:{GROWING}"
    assert plan_of(in_folds("1", "2", ""), *both).untested() == []
    assert plan_of(in_folds("1", "1"), *both).untested() == [
        "X@2 is not tested: no scan was left out of its fold"
    ]
    assert plan_of(in_folds("1", "2", "3"), *both).untested() == [
        "X has no model for the folds of 1 of the scans"
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([f"X@1:{GROWING}", f"X@2:{GROWING}"], "'X@1' is of no scan's fold; these are: 1.0, 2.0"),
        ([f"X:{GROWING}", f"X@1.0:{GROWING}"], "'X' are no folds of one segmenter"),
        ([f"X@1.0:{GROWING}", stub("StubMois", "X@2.0")], "'X' are no folds of one segmenter"),
    ],
)
def test_models_that_no_fold_tests_or_that_are_no_folds_are_refused(words, said):
    with pytest.raises(BadInput, match=said):
        plan_of(in_folds("1.0", "2.0"), *words)


def test_results_of_another_protocol_do_not_mix(tmp_path):
    cases = read_cohort(write_cohort(tmp_path / "cohort", scans=1))
    run_plan(plan_of(cases, GROWING, clicks=1), tmp_path / "out")

    with pytest.raises(BadInput, match="another one"):
        run_plan(plan_of(cases, GROWING, clicks=2), tmp_path / "out")
    with pytest.raises(BadInput, match="another one"):
        run_plan(plan_of(cases, f"Region growing:{GROWING},fraction=0.5"), tmp_path / "out")


def test_the_model_of_a_fold_is_tested_only_on_scans_it_has_not_seen():
    cases = [
        EvaluationCase("a", "s", fold="1"),
        EvaluationCase("b", "s", fold="2"),
        EvaluationCase("c", "s"),
    ]
    plan = plan_of(cases, f"X@1:{GROWING}", f"X@2:{GROWING}")

    assert [(task.case.name, task.segmenter.fold) for task in tasks_of(plan)] == [
        ("a", "1"),
        ("b", "2"),
        ("c", "1"),
        ("c", "2"),
    ]


def test_names_of_task_files_never_meet():
    cases = [EvaluationCase("a b", "s"), EvaluationCase("a/b", "s"), EvaluationCase("ä" * 200, "s")]
    keys = [task.key for task in tasks_of(plan_of(cases, f"X:{GROWING}", f"X-1:{GROWING}"))]

    assert len(set(keys)) == 6
    assert max(map(len, keys)) < 100
    assert all(key.isascii() and "/" not in key for key in keys)


# ---- a cluster ---------------------------------------------------------------------------------


def test_a_dask_cluster_gives_the_same_table(tmp_path):
    distributed = pytest.importorskip("distributed")
    cases = read_cohort(write_cohort(tmp_path / "cohort", scans=1))
    plan = plan_of(cases, GROWING)
    run_plan(plan, tmp_path / "here")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        run_plan(plan, tmp_path / "there", dask=cluster.scheduler_address)
        work = [entry for entry in cluster.scheduler.transition_log if "evaluate" in str(entry[0])]
    assert work

    assert bytes_of(tmp_path / "there") == bytes_of(tmp_path / "here")


def test_a_scheduler_that_is_not_there_is_bad_input(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(runner, "CONNECT_SECONDS", 0.5)
    cases = read_cohort(write_cohort(tmp_path / "cohort", scans=1))
    with pytest.raises(BadInput, match="no Dask scheduler"):
        run_plan(plan_of(cases, GROWING), tmp_path / "out", dask="tcp://127.0.0.1:9", jobs=1)

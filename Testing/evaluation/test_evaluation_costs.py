"""What scores took: seconds and memory, beside them in tables and in the report."""

from __future__ import annotations

import csv
import math
import sys

import numpy as np
import pytest
from engine_fixtures import FIRST, scan_of, volume_of
from evaluation_fixtures import plan_of, stub, truth_of, write_cohort
from stub_segmenter import StubSam

from mois_core.evaluation import peak_memory
from mois_core.evaluation.analysis import EvaluationResults
from mois_core.evaluation.baselines.nninteractive import NnInteractive
from mois_core.evaluation.baselines.nnunet import NnUnet
from mois_core.evaluation.cohort import read_cohort
from mois_core.evaluation.peak_memory import PeakMemory
from mois_core.evaluation.protocols import Protocol, run_protocol
from mois_core.evaluation.report import write_report
from mois_core.evaluation.results_folder import read_rows
from mois_core.evaluation.runner import run_plan

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's peak")

MUCH_MIB = 200


def take_much() -> int:
    return int(np.ones(MUCH_MIB * 2**20, dtype=np.uint8).sum())


@on_linux
def test_the_peak_is_that_of_the_calls_alone():
    before, during, after = PeakMemory(), PeakMemory(), PeakMemory()
    before.watch(lambda: None)
    assert during.watch(take_much) == MUCH_MIB * 2**20
    after.watch(lambda: None)

    assert during.process_mib > before.process_mib + 0.9 * MUCH_MIB
    assert after.process_mib < during.process_mib - 0.5 * MUCH_MIB


@on_linux
def test_the_most_of_all_calls_is_kept():
    memory = PeakMemory()
    memory.watch(take_much)
    most = memory.process_mib
    memory.watch(lambda: None)
    assert memory.process_mib == most


def test_a_call_that_fails_still_fails():
    with pytest.raises(ZeroDivisionError):
        PeakMemory().watch(lambda: 1 // 0)


def test_where_the_system_tells_no_peak_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(peak_memory, "PROCESS", tmp_path / "nothing")
    memory = PeakMemory()
    assert memory.watch(lambda: 3) == 3
    assert math.isnan(memory.process_mib)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    home = tmp_path_factory.mktemp("evaluated")
    cases = read_cohort(write_cohort(home / "cohort", sets=["s"]))
    run_plan(plan_of(cases, stub("StubMois", "MOIS"), stub("StubSam", "SAM")), home / "out")
    write_report(home / "out")
    return home / "out"


@on_linux
def test_seconds_and_memory_stand_beside_the_scores(evaluated):
    with (evaluated / "tables" / "benchmark.csv").open(newline="", encoding="utf-8") as file:
        rows = {line["row"]: line for line in csv.DictReader(file)}
    page = (evaluated / "report.html").read_text(encoding="utf-8")

    assert list(rows)[-2:] == ["Seconds for a scan", "Peak memory (GiB)"]
    assert float(rows["Peak memory (GiB)"]["SAM"].split()[0]) > 0.05
    # In the table, and in that of every scan.
    assert page.count("Peak memory (GiB)") == 2
    assert all(row["memory_mib"] > 50 for row in read_rows(evaluated, "seconds.csv"))


def test_the_memory_of_another_process_is_not_told(tmp_path):
    class Elsewhere(StubSam):
        works_elsewhere = True

    volume = volume_of(scan_of(FIRST))
    (step,) = run_protocol(Protocol(), Elsewhere(), volume, truth_of(FIRST), "scan")
    assert math.isnan(step.memory_mib) and math.isnan(step.gpu_memory_mib)
    assert NnUnet.works_elsewhere and NnInteractive.works_elsewhere


def test_what_nobody_measured_is_in_no_table(evaluated):
    results = EvaluationResults.read(evaluated)
    assert "gpu_memory_mib" not in results.cost_names

    rows = [{k: v for k, v in row.items() if "memory" not in k} for row in results.seconds]
    earlier = EvaluationResults(evaluated, results.plan, results.rows, rows)
    assert list(earlier.cost_names) == ["seconds"]
    own = {row["scan"]: row["seconds"] for row in rows if row["segmenter"] == "SAM"}
    assert earlier.cost("seconds", "s", "SAM") == own and len(own) == 2

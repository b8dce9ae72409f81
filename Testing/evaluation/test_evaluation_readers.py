"""Simulated people who draw by hand, and how far results agree with what they draw."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from command_line import mois

from mois_core.evaluation.analysis import READERS, EvaluationResults
from mois_core.evaluation.benchmark import SIZES, benchmark_plan
from mois_core.evaluation.segmenter_specs import parse_spec
from mois_core.evaluation.simulated_annotators import ANNOTATORS, annotate
from mois_core.evaluation.statistics import SIGNIFICANT, bonferroni
from mois_core.results.scores import dice

SPACING = (7.8, 1.0, 1.0)
EXPERTS = [name for name in ANNOTATORS if name.startswith("Expert")]


@pytest.fixture(scope="module")
def anatomy():
    """Return numbered lesions, and structures that are none but look like some."""
    lesions, others = (np.zeros((12, 160, 120), dtype=np.uint8) for _ in range(2))
    random = np.random.default_rng(5)
    for number in range(1, 25):
        half = random.integers(3, 9)
        k, row, column = (int(random.integers(n)) for n in (9, 140, 100))
        target = lesions if number % 3 else others
        target[k : k + 3, row : row + 2 * half, column : column + 2 * half] = number
    others[lesions > 0] = 0
    return lesions, others


def drawn(anatomy, name: str, scan: str = "s") -> np.ndarray:
    return annotate(name, scan, *anatomy, SPACING)


def test_a_person_draws_the_same_in_every_run_and_else_on_other_scans(anatomy):
    first = drawn(anatomy, "Expert A")
    assert np.array_equal(first, drawn(anatomy, "Expert A"))
    assert not np.array_equal(first, drawn(anatomy, "Expert B"))
    assert not np.array_equal(first, drawn(anatomy, "Expert A", "another"))


def test_experts_agree_with_each_other_more_than_with_a_student(anatomy):
    masks = {n: [drawn(anatomy, n, str(s)) for s in range(4)] for n in ANNOTATORS}

    def agree(one: str, other: str) -> float:
        return float(np.mean([dice(*pair) for pair in zip(masks[one], masks[other], strict=True)]))

    experts = [agree("Expert A", "Expert B"), agree("Expert A", "Expert C")]
    assert min(experts) > agree("Expert A", "Resident") > agree("Expert A", "Student") > 0.1
    assert max(experts) < 0.95


def test_what_is_no_lesion_is_drawn_by_mistake_only(anatomy):
    lesions, others = anatomy
    alone = annotate("Student", "s", lesions, np.zeros_like(others), SPACING)
    with_others = annotate("Student", "s", lesions, others, SPACING)
    assert (alone & ~with_others).sum() == 0
    assert not annotate(
        "Expert A", "s", np.zeros_like(lesions), np.zeros_like(others), SPACING
    ).any()


def test_twelve_scans_can_get_a_star_against_all_baselines():
    smallest = 2 / 2 ** SIZES["long"].scans_per_set
    assert SIZES["long"].scans_per_set == 12
    assert bonferroni(smallest, 12) < SIGNIFICANT < bonferroni(2 / 2**10, 6)


def test_agreement_is_by_one_click_of_a_person_on_each_of_20_lesions():
    for length in ("long", "readers"):
        plan = benchmark_plan(length, (parse_spec("region-growing"),))
        protocol = next(e.protocol for e in plan.experiments if e.name == READERS)
        assert (protocol.kind, protocol.lesions, protocol.clicks) == ("reader", 20, 1)
        assert {case.annotators for case in plan.cases} == {tuple(ANNOTATORS)}


def test_one_command_compares_with_simulated_readers(tmp_path, capsys):
    words = ["--benchmark", "readers", "--size", "128x64", "--set", "low-burden"]
    words += ["--segmenter", "region-growing"]
    assert mois("evaluate", *words, "--out", tmp_path / "out") == 0
    with (tmp_path / "out" / "tables" / "agreement.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))

    people = [f"{name} (simulated)" for name in ANNOTATORS]
    assert [row["row"] for row in rows] == ["Truth", *people, "Region growing"]
    truth = rows[0]
    assert truth["Truth"] == "1.00" and 0 < float(truth[people[0]]) < 1
    assert (tmp_path / "out" / "figures" / "agreement.png").is_file()
    results = EvaluationResults.read(tmp_path / "out")
    assert results.experiments == [READERS]
    assert "by a person who makes mistakes" in results_page(tmp_path)


def results_page(folder) -> str:
    return (folder / "out" / "report.html").read_text(encoding="utf-8")

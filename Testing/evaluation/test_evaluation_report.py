"""The command line from a cohort to figures, tables and one page; and the segmenter of the docs."""

from __future__ import annotations

import csv
import re
import struct
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from command_line import mois
from engine_fixtures import FIRST, SECOND
from evaluation_fixtures import LESIONS, plan_of, stub, write_case, write_cohort, write_table
from paths import ROOT

from mois_core.evaluation.agreement import agreement
from mois_core.evaluation.analysis import EvaluationResults
from mois_core.evaluation.benchmark import benchmark_plan
from mois_core.evaluation.cohort import EvaluationCase, read_cohort
from mois_core.evaluation.figure_style import colour_of, marker_of
from mois_core.evaluation.plan import describe_plan, tasks_of
from mois_core.evaluation.report import write_report
from mois_core.evaluation.results_folder import METRICS, ResultsFolder, key_columns
from mois_core.evaluation.runner import run_plan
from mois_core.evaluation.segmenter_specs import parse_spec
from mois_core.evaluation.tables import (
    Cell,
    Table,
    as_csv,
    as_latex,
    as_markdown,
    as_text,
    benchmark_table,
    clicks_table,
    early_table,
    fewer_clicks_table,
)

DOCS = ROOT / "docs" / "evaluation.md"
FIGURES = {"efficiency", "exemplars", "shift", "burden", "overlays", "agreement"}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory) -> Path:
    """Return a results folder with everything in it."""
    home = tmp_path_factory.mktemp("evaluated")
    cohort = write_cohort(home / "cohort")
    out = home / "out"
    words = ["--segmenter", stub("StubMois", "MOIS"), "--segmenter", stub("StubSam", "SAM")]
    words += ["--segmenter", "region-growing", "--smallest-cm3", "0", "--measured", "lesion"]
    assert mois("evaluate", cohort, *words, "--clicks", "1", "--out", out) == 0
    return out


# ---- figures and the page ----------------------------------------------------------------------


def test_every_figure_is_there_as_png_and_pdf(evaluated):
    for name in FIGURES:
        png = (evaluated / "figures" / f"{name}.png").read_bytes()
        assert png.startswith(b"\x89PNG")
        width, height = struct.unpack(">II", png[16:24])
        assert min(width, height) > 400, name
        assert (evaluated / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")


class Page(HTMLParser):
    """Parser that records what a page loads, and checks that its elements are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.open: list[str] = []
        self.cells = 0

    def handle_starttag(self, tag, attributes) -> None:
        given = dict(attributes)
        self.sources += [value for name, value in given.items() if name in ("src", "href")]
        self.cells += tag == "td"
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag


def test_the_page_holds_all_it_shows(evaluated):
    text = (evaluated / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)

    assert not page.open
    images = [source for source in page.sources if source.startswith("data:image/png;base64,")]
    links = [source for source in page.sources if source not in images]
    assert len(images) == len(FIGURES)
    assert all(link.startswith("#") and f'id="{link[1:]}"' in text for link in links)
    assert page.cells > 50
    assert "MOIS" in text


def test_the_page_names_no_files_of_the_scans(evaluated):
    for name in ("report.html", "results.csv", "plan.json"):
        assert str(evaluated.parent) not in (evaluated / name).read_text(encoding="utf-8")


def test_drawing_again_gives_the_same_files(evaluated):
    kept = ("report.html", "figures/shift.png", "figures/shift.pdf", "tables/benchmark.tex")
    before = {name: (evaluated / name).read_bytes() for name in kept}

    assert mois("evaluate", "--report", evaluated) == 0

    assert {name: (evaluated / name).read_bytes() for name in kept} == before


@pytest.mark.filterwarnings("error")
def test_failures_are_told_on_the_page_and_left_out_of_it(tmp_path, capsys):
    cohort = write_cohort(tmp_path / "cohort", scans=1)
    write_case(cohort / "middle" / "bright", FIRST, brightest=1000)
    words = ["--segmenter", "region-growing", "--segmenter", stub("FailsOnBright")]
    assert mois("evaluate", cohort, *words, "--no-masks", "--out", tmp_path / "out") == 0

    assert "1 runs failed" in capsys.readouterr().out
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "too bright for me" in text
    assert not (tmp_path / "out" / "figures" / "overlays.png").exists()


# ---- tables ------------------------------------------------------------------------------------


def test_the_benchmark_table_has_the_papers_layout(evaluated):
    with (evaluated / "tables" / "benchmark.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))

    assert lines[0] == ["group", "row", "MOIS", "SAM", "Region growing"]
    assert [line[1] for line in lines[1:6]] == [
        "Scan-wise DSC",
        "Lesion F1 score (each side)",
        "Lesion F1 score (one to one)",
        "Lesion-wise DSC (each side)",
        "Seconds for a scan",
    ]
    assert list(dict.fromkeys(line[0] for line in lines[1:])) == [
        "Test set 1: Far (2 scans)",
        "Test set 2: Near (2 scans)",
    ]
    assert lines[1][2] == "1.00 \u00b1 0.00"


def synthetic(folder: Path, values: dict[str, list[float]], scans: int) -> EvaluationResults:
    """Return results with given DSCs after each click, nearly the same for every scan."""
    cases = [EvaluationCase(f"scan{n}", "set") for n in range(scans)]
    plan = plan_of(cases, *(f"{name}:region-growing" for name in values), measured="lesion")
    results = ResultsFolder(folder)
    whole = results.begin(describe_plan(plan))
    for task in tasks_of(plan):
        dscs = values[task.segmenter.name]
        extra = int(task.case.name.removeprefix("scan")) / 1000
        rows = []
        for step, dsc in enumerate(dscs, start=1):
            same = dict.fromkeys(METRICS, dsc + extra)
            counts = {"step": step, "clicks": step, "interactions": step, "prompted": step}
            last = step == len(dscs)
            rows.append(
                {**key_columns(task), **counts, **same, "is_last": last, "seconds": 2.0 * step}
            )
        results.finish(task, rows)
    results.gather(whole)
    return EvaluationResults.read(folder)


def test_stars_and_bold_mark_what_differs_and_what_is_best(tmp_path):
    results = synthetic(tmp_path, {"good": [0.5, 0.8], "bad": [0.1, 0.3]}, scans=12)
    _, lines = benchmark_table(results).groups[0]
    good, bad = lines[0][1]

    assert good == Cell("0.81 \u00b1 0.00", is_best=True)
    assert bad == Cell("0.31 \u00b1 0.00", is_different=True)


def test_three_scans_get_no_star(tmp_path):
    results = synthetic(tmp_path, {"good": [0.8], "bad": [0.3]}, scans=3)
    _, lines = benchmark_table(results).groups[0]
    assert not any(cell.is_different for _, cells in lines for cell in cells)


def test_clicks_and_seconds_to_a_dsc_are_those_of_the_first_step_that_has_it(tmp_path):
    results = synthetic(tmp_path, {"good": [0.5, 0.65, 0.7], "bad": [0.1, 0.2, 0.3]}, scans=2)
    _, lines = clicks_table(results).groups[0]
    texts = {label: [cell.text for cell in cells] for label, cells in lines}

    assert texts["Scan-wise DSC 0.5"] == ["2 of 2: 1.0 clicks, 2 s", "0 of 2"]
    assert texts["Scan-wise DSC 0.6"] == ["2 of 2: 2.0 clicks, 4 s", "0 of 2"]
    assert texts["Scan-wise DSC 0.8"] == ["0 of 2", "0 of 2"]


def without(results: EvaluationResults, segmenter: str, *scans: str) -> EvaluationResults:
    """Return results as if a segmenter had failed on some scans."""
    rows = [r for r in results.rows if r["segmenter"] != segmenter or r["scan"] not in scans]
    return replace(results, rows=rows)


def test_a_mean_over_fewer_scans_says_so_and_is_never_best(tmp_path):
    results = synthetic(tmp_path, {"good": [0.5], "fails": [0.6]}, scans=4)
    _, lines = benchmark_table(without(results, "fails", "scan0", "scan2")).groups[0]
    good, fails = lines[0][1]
    assert (good.text, good.is_best) == ("0.50 \u00b1 0.00", False)
    assert (fails.text, fails.is_best) == ("0.60 \u00b1 0.00 (n = 2)", False)

    _, lines = benchmark_table(without(results, "good", "scan0")).groups[0]
    assert [cell.text.endswith("(n = 3)") for cell in lines[0][1]] == [True, False]


def test_what_was_measured_at_the_end_alone_has_no_curve_and_no_count_of_clicks(tmp_path):
    cases = read_cohort(write_cohort(tmp_path / "cohort", scans=1))
    run_plan(plan_of(cases, stub("StubMois"), stub("StubSam")), tmp_path / "out")
    write_report(tmp_path / "out")

    tables = {path.stem for path in (tmp_path / "out" / "tables").glob("*.csv")}
    assert tables.isdisjoint({"clicks", "early", "fewer_clicks"}) and "comparison" in tables
    figures = {path.stem for path in (tmp_path / "out" / "figures").glob("*.png")}
    assert figures.isdisjoint({"efficiency", "exemplars"}) and "shift" in figures


def test_a_scan_that_never_gets_there_costs_one_click_more_than_it_was_given(tmp_path):
    results = synthetic(tmp_path, {"bad": [0.1, 0.2, 0.3, 0.4]}, scans=2)
    kept = [r for r in results.rows if r["scan"] == "scan0" or r["step"] <= 2]
    clicks = replace(results, rows=kept).clicks_until(0.9, "set", "bad")
    assert clicks == {"scan0": 5, "scan1": 3}


def test_every_segmenter_of_a_long_table_is_told_apart():
    names = [f"segmenter {n}" for n in range(40)]
    looks = {(colour_of(name, names), marker_of(name, names)) for name in names}
    assert len(looks) == len(names)


def test_saved_clicks_are_counted_to_fixed_dscs_and_to_the_others_last_one(tmp_path):
    runs = {"good": [0.3, 0.55], "bad": [0.1, 0.3], "best": [0.6, 0.9]}
    _, lines = fewer_clicks_table(synthetic(tmp_path, runs, 4)).groups[0]
    texts = {label: [cell.text for cell in cells] for label, cells in lines}
    best = {label: [cell.is_best for cell in cells] for label, cells in lines}

    def saved(ours: int, theirs: int) -> str:
        apart = f"{theirs - ours:.1f}".replace("-", "\u2212")
        return f"{ours}.0 against {theirs}.0; saved {apart} ({apart} to {apart})"

    assert texts["The other's last DSC"] == [saved(1, 2), saved(3, 2)]
    assert texts["Scan-wise DSC 0.5"] == [saved(2, 3), saved(2, 1)]
    assert texts["Scan-wise DSC 0.8"] == [saved(3, 3), saved(3, 2)]
    assert best["Scan-wise DSC 0.5"] == [True, False]


def test_who_is_ahead_after_few_interactions_is_told_with_an_interval(tmp_path):
    runs = {"good": [0.5, 0.6], "bad": [0.1, 0.9]}
    _, lines = early_table(synthetic(tmp_path, runs, 4)).groups[0]
    cells = [cells[0] for _, cells in lines]

    assert [cell.text for cell in cells] == [
        "0.50 against 0.10; 0.40 (0.40 to 0.40)",
        "0.60 against 0.90; \u22120.30 (\u22120.30 to \u22120.30)",
    ]
    assert [cell.is_best for cell in cells] == [True, False]


def test_a_scan_with_few_lesions_keeps_its_last_value_in_the_curve(tmp_path):
    cohort = tmp_path / "cohort"
    write_case(cohort / "s" / "many", *LESIONS)
    write_case(cohort / "s" / "one", FIRST)
    plan = plan_of(read_cohort(cohort), stub("StubSam"), clicks=1, measured="lesion")
    run_plan(plan, tmp_path / "out")
    curve = EvaluationResults.read(tmp_path / "out").curve("dsc", "s", "StubSam")

    assert list(curve) == [1, 2, 3]
    assert [curve[count]["s-one"] for count in curve] == [1, 1, 1]
    assert curve[1]["s-many"] < curve[2]["s-many"] < curve[3]["s-many"] == 1


def test_tables_are_whole_and_escaped_in_latex_and_csv():
    row = ("A_b & 50 %", (Cell("1 \u00b1 2", is_best=True), Cell("< 3", is_different=True)))
    table = Table("t", "Title #1", ("x", "y, z"), (("Group {1}", (row,)),), ("note_1",))
    text = as_latex(table)

    assert r"\textbf{1 $\pm$ 2} & $<$ 3$^{*}$ \\" in text
    assert r"A\_b \& 50 \% &" in text
    assert r"\multicolumn{3}{l}{\textbf{Group \{1\}}} \\" in text
    assert text.count("{") == text.count("}")
    assert list(csv.reader(as_csv(table).splitlines())) == [
        ["group", "row", "x", "y, z"],
        ["Group {1}", "A_b & 50 %", "1 \u00b1 2", "< 3*"],
    ]


def test_tables_in_markdown_have_the_same_cells():
    row = ("DSC", (Cell("1", is_best=True), Cell("2", is_different=True)))
    text = as_markdown(Table("t", "T", ("x", "y"), (("Set", (row,)),), ("* p",)))

    assert text.splitlines() == [
        "|  | x | y |",
        "| --- | --- | --- |",
        "| **Set** |  |  |",
        "| DSC | **1** | 2\\* |",
        "",
        "\\* p",
    ]


def test_a_table_for_the_terminal_has_its_columns_under_one_another(tmp_path):
    results = synthetic(tmp_path, {"good": [0.8], "bad": [0.3]}, scans=12)
    head, group, *lines = as_text(benchmark_table(results)).splitlines()

    assert group == "Set (12 scans)"
    column = head.index("bad")
    assert [line[column:] for line in lines] == ["0.31 \u00b1 0.00*"] * 4 + ["2.00 \u00b1 0.00"]


def test_scan_wise_curves_go_along_interactions(tmp_path):
    cases = read_cohort(write_cohort(tmp_path / "cohort", sets=["s"], scans=1))
    plan = plan_of(cases, stub("StubSam"), kind="scan-wise", clicks=8, measured="click")
    run_plan(plan, tmp_path / "out")
    results = EvaluationResults.read(tmp_path / "out")

    assert results.curve_unit == ("interactions", "Interactions")
    assert list(results.curve("dsc", "s", "StubSam")) == [1, 2, 3]


def test_readers_and_segmenters_are_compared_in_pairs(tmp_path):
    write_case(tmp_path / "truth", FIRST, SECOND)
    write_case(tmp_path / "other", FIRST)
    row = {
        "scan": "truth/scan.nii.gz",
        "labels": "truth/semantic.nii.gz",
        "reader:B": "other/semantic.nii.gz",
    }
    cases = read_cohort(write_table(tmp_path / "cohort.csv", [row]))
    run_plan(plan_of(cases, stub("StubMois")), tmp_path / "out")
    found = agreement(EvaluationResults.read(tmp_path / "out"))

    assert found.scans == {"Truth": 1, "B": 1, "StubMois": 1} and not found.missing
    expected = 2 * FIRST.voxels / (2 * FIRST.voxels + SECOND.voxels)
    assert found.dsc[0].tolist() == pytest.approx([1, expected, 1])
    assert found.dsc[1, 2] == found.dsc[2, 1] == pytest.approx(expected)


def test_readers_who_are_called_as_others_are_told_apart(tmp_path):
    write_case(tmp_path / "truth", FIRST, SECOND)
    write_case(tmp_path / "other", FIRST)
    row = {"scan": "truth/scan.nii.gz", "labels": "truth/semantic.nii.gz"}
    row |= {f"reader:{name}": "other/semantic.nii.gz" for name in ("Truth", "StubMois")}
    cases = read_cohort(write_table(tmp_path / "cohort.csv", [row]))
    run_plan(plan_of(cases, stub("StubMois")), tmp_path / "out")
    found = agreement(EvaluationResults.read(tmp_path / "out"))

    assert set(found.names) == {"Truth", "Truth (reader)", "StubMois (reader)", "StubMois"}
    pairs = dict(zip(found.names, found.dsc[found.names.index("Truth")], strict=True))
    assert pairs["StubMois"] == 1 and pairs["Truth (reader)"] == pairs["StubMois (reader)"] < 1


def test_scans_whose_names_are_no_file_names_are_kept_apart(tmp_path):
    write_case(tmp_path / "whole", FIRST, SECOND)
    write_case(tmp_path / "part", FIRST)
    rows = [
        {"name": name, "scan": f"{folder}/scan.nii.gz", "labels": f"{folder}/semantic.nii.gz"}
        for name, folder in (("a/b", "whole"), ("a-b", "part"), ("ä b", "part"))
    ]
    cases = read_cohort(write_table(tmp_path / "cohort.csv", rows))
    run_plan(plan_of(cases, stub("StubMois")), tmp_path / "out")
    results = EvaluationResults.read(tmp_path / "out")

    voxels = {name: int(results.kept(name).truth.sum()) for name in ("a/b", "a-b", "ä b")}
    assert voxels == {"a/b": FIRST.voxels + SECOND.voxels, "a-b": FIRST.voxels, "ä b": FIRST.voxels}
    assert {file.name for file in (tmp_path / "out" / "scans").iterdir()} > {"a-b.npz", "ä b.npz"}


def test_names_may_have_any_signs(tmp_path, capsys):
    """A dollar begins a formula to matplotlib, and its font lacks many scripts."""
    write_case(tmp_path / "case", FIRST, SECOND)
    row = {"scan": "case/scan.nii.gz", "labels": "case/semantic.nii.gz", "set": "1 $\\x$ 测试"}
    table = write_table(tmp_path / "cohort.csv", [row])
    words = ["--segmenter", stub("StubMois", "$ & <b>"), "--measured", "click"]
    assert mois("evaluate", table, *words, "--out", tmp_path / "out") == 0

    assert capsys.readouterr().err == ""
    assert (tmp_path / "out" / "figures" / "efficiency.png").is_file()


def test_who_lacks_a_mask_of_the_first_scan_is_compared_all_the_same(tmp_path):
    cases = read_cohort(write_cohort(tmp_path / "cohort", sets=["s"]))
    run_plan(plan_of(cases, stub("StubMois"), stub("StubSam")), tmp_path / "out")
    results = EvaluationResults.read(tmp_path / "out")
    found = agreement(without(results, "StubMois", "s-p0"))

    assert found.scans == {"Truth": 2, "StubMois": 1, "StubSam": 2}
    assert found.missing == " Cells with StubMois on 1 are about these."
    assert np.isfinite(found.dsc).all()


# ---- the documented segmenter and commands -------------------------------------------------------


def test_the_segmenter_of_the_docs_runs_through_everything(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    (code,) = [block for block in blocks if "class Threshold" in block]
    assert len(code.splitlines()) <= 30
    (tmp_path / "threshold.py").write_text(code, encoding="utf-8")
    cohort = write_cohort(tmp_path / "cohort")
    out = tmp_path / "out"

    words = ["--segmenter", f"{tmp_path / 'threshold.py'}:Threshold,part=0.5"]
    words += ["--segmenter", "region-growing", "--smallest-cm3", "0", "--out", out]
    assert mois("evaluate", cohort, *words) == 0

    results = EvaluationResults.read(out)
    assert results.segmenters == ["Threshold part=0.5", "Region growing"]
    assert min(results.final("recall", None, results.reference).values()) > 0
    assert (out / "figures" / "overlays.png").is_file()


def test_the_benchmark_covers_four_sets_by_both_protocols():
    segmenters = (parse_spec("region-growing"),)
    short, long = (benchmark_plan(length, segmenters) for length in ("short", "long"))

    assert len({case.test_set for case in short.cases}) == 4
    assert [e.name for e in short.experiments] == ["benchmark", "efficiency", "readers"]
    table, curve, _ = (experiment.protocol for experiment in long.experiments)
    assert (table.lesions, table.clicks) == (20, 3)
    assert (curve.lesions, curve.clicks, curve.measured) == (10, 1, "lesion")
    assert short.cases[0] == long.cases[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--out is needed"),
        (["--out", "X"], "--segmenter is needed"),
        (["--out", "X", "--segmenter", "region-growing"], "either a cohort or --phantoms"),
        (["--out", "X", "--segmenter", "nonsense"], "no segmenter 'nonsense'"),
        (["--out", "X", "--segmenter", "mois"], "needs a model"),
        (["--out", "X", "--segmenter", "mois=nowhere.pt"], "nowhere.pt"),
        (["--out", "X", "--segmenter", "region-growing,power=3"], "no option 'power'"),
        (["--out", "X", "--segmenter", "mois=a.pt,propagation_slices=wide"], "a whole number"),
        (["--out", "X", "--segmenter", "mois=a.pt,gate=maybe"], "yes or no"),
        (["--out", "X", "--segmenter", "mois=a.pt,axis=oblique"], "coronal or sagittal or axial"),
        (["--out", "X", "--segmenter", "mois=a.pt,propagation_slices=-1"], "propagated each way"),
        (["--out", "X", "--segmenter", "none.py:Mine"], "no Python file"),
        (["--out", "X", "C", "--segmenter", "region-growing", "--size", "64x64"], "--size"),
        (["--out", "X", "--phantoms", "1", "--segmenter", "region-growing", "--iou", "2"], "IoU"),
        (["--out", "X", "--phantoms", "1", "--segmenter", "region-growing", "--jobs", "0"], "jobs"),
        (["--out", "X", "C", "--benchmark", "short", "--segmenter", "region-growing"], "cohort"),
        (
            ["--out", "X", "--benchmark", "short", "--segmenter", "region-growing", "--late", "0"],
            "leave out --late",
        ),
        (
            [
                "--out",
                "X",
                "--phantoms",
                "1",
                "--segmenter",
                "region-growing",
                "--as-published",
                "--order",
                "published",
            ],
            "has its own --order",
        ),
        (["--report", "X"], "holds no results"),
        (["--report", "X", "--out", "Y"], "takes nothing else"),
    ],
)
def test_bad_input_gets_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    assert mois("evaluate", *words) == 2

    captured = capsys.readouterr()
    assert said in captured.err
    assert len(captured.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())

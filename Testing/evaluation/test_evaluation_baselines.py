"""What a segmenter is told and given: its scan, its files, and clicks as it takes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import mois
from engine_fixtures import FIRST, SECOND, scan_of, volume_of
from evaluation_fixtures import LESIONS, STUBS, plan_of, stub, truth_of, write_cohort
from stub_segmenter import BrightWhenClicked

from mois_core.errors import BadInput
from mois_core.evaluation.analysis import EvaluationResults
from mois_core.evaluation.baselines import BASELINES, Baseline
from mois_core.evaluation.cohort import read_cohort
from mois_core.evaluation.protocols import Protocol, run_protocol
from mois_core.evaluation.results_folder import read_rows
from mois_core.evaluation.runner import run_plan
from mois_core.evaluation.segmenter_specs import parse_spec, weights_of, without_missing
from mois_core.evaluation.segmenters import Missing, Surroundings
from mois_core.evaluation.tables import benchmark_table, early_table, fewer_clicks_table
from mois_core.geometry import SliceStack, Volume
from mois_core.io import write_image

GROWING = "region-growing"


def plan_on_disk(folder: Path) -> dict:
    return json.loads((folder / "plan.json").read_text(encoding="utf-8"))


# ---- what it is told ---------------------------------------------------------------------------


def test_a_segmenter_is_told_its_scan_and_has_a_folder_of_its_own_for_each(tmp_path):
    cases = read_cohort(write_cohort(tmp_path / "cohort", scans=1))
    plan = plan_of(cases, stub("Diarist", "One"), stub("Diarist", "Two"))
    results = run_plan(plan, tmp_path / "out")

    assert not read_rows(results.folder, "failures.csv")
    diaries = list((results.folder / "files").glob("*/diary.txt"))
    told = sorted(path.read_text("utf-8") for path in diaries)
    assert told == ["far-p0 cpu float32\n"] * 2 + ["near-p0 cpu float32\n"] * 2


def test_a_segmenter_that_is_used_by_itself_is_told_what_is_missing():
    with pytest.raises(BadInput, match="no folder"):
        Surroundings("scan").folder()


def test_what_weights_were_given_stands_below_the_table(tmp_path):
    cases = read_cohort(write_cohort(tmp_path / "cohort", scans=1))
    plan = plan_of(cases, stub("Taught"), GROWING)
    results = EvaluationResults.read(run_plan(plan, tmp_path / "out").folder)

    notes = benchmark_table(results).notes
    told = "Taught was given 15.5 minutes, 1,200 steps, 34,567 parameters, scans 120."
    assert told in notes
    assert not any("Region growing was given" in note for note in notes)


def test_results_go_on_when_more_is_told_of_the_same_weights(tmp_path):
    cases = read_cohort(write_cohort(tmp_path / "cohort", scans=1))
    plan, out = plan_of(cases, stub("Taught")), tmp_path / "out"
    run_plan(plan, out)
    told = plan_on_disk(out)
    del told["segmenters"]["Taught"]["given"]["minutes"]
    (out / "plan.json").write_text(json.dumps(told), "utf-8")

    run_plan(plan, out)
    assert plan_on_disk(out)["segmenters"]["Taught"]["given"]["minutes"] == 15.5


# ---- what it reads -----------------------------------------------------------------------------


def test_results_of_another_file_that_an_option_names_do_not_mix(tmp_path):
    cases = read_cohort(write_cohort(tmp_path / "cohort", scans=1))[:1]
    weights = tmp_path / "mine.bin"
    weights.write_bytes(b"trained for a day")
    plan = plan_of(cases, stub("Diarist") + f",rule={weights}")
    run_plan(plan, tmp_path / "out")

    told = plan_on_disk(tmp_path / "out")["segmenters"]["Diarist"]
    assert told["options"] == {"rule": "mine.bin"}
    assert len(told["files"]["rule"]["sha256"]) == 64
    assert str(tmp_path) not in (tmp_path / "out" / "plan.json").read_text("utf-8")
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    run_plan(
        plan_of(cases, stub("Diarist") + f",rule={weights.rename(moved / 'mine.bin')}"),
        tmp_path / "out",
    )
    (moved / "mine.bin").write_bytes(b"trained for two days")
    with pytest.raises(BadInput, match="another one"):
        run_plan(plan_of(cases, stub("Diarist") + f",rule={moved / 'mine.bin'}"), tmp_path / "out")


def test_a_folder_that_an_option_names_is_known_by_all_of_its_files(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a").write_bytes(b"a")
    before = weights_of(parse_spec(f"masks={tmp_path}"))

    (tmp_path / "inner" / "a").rename(tmp_path / "inner" / "b")
    renamed = weights_of(parse_spec(f"masks={tmp_path}"))
    (tmp_path / "inner" / "b").write_bytes(b"b")
    rewritten = weights_of(parse_spec(f"masks={tmp_path}"))

    assert before["file"] == tmp_path.name
    assert len({one["sha256"] for one in (before, renamed, rewritten)}) == 3


def test_yes_and_no_are_switches_where_a_segmenter_has_one():
    with pytest.raises(BadInput, match="yes or no"):
        parse_spec(f"{STUBS}:Diarist,careful=perhaps")
    with pytest.raises(BadInput, match="takes nothing behind"):
        parse_spec(f"{GROWING}=weights.pt")


# ---- clicks ------------------------------------------------------------------------------------


def test_a_segmenter_without_clicks_gets_none_and_is_a_flat_line(tmp_path):
    cases = read_cohort(write_cohort(tmp_path / "cohort", scans=1))
    plan = plan_of(cases, stub("StubMois"), stub("Bright"), measured="lesion", clicks=1)
    results = EvaluationResults.read(run_plan(plan, tmp_path / "out").folder)

    rows = [row for row in results.rows if row["segmenter"] == "Bright"]
    assert [(row["clicks"], row["prompted"], row["is_last"]) for row in rows] == [(0, 0, 1)] * 2
    assert results.without_clicks == ["Bright"]
    assert "Without clicks: Bright." in benchmark_table(results).notes
    curve = results.curve("dsc", "near", "Bright")
    assert list(curve) == [1, 2, 3]
    assert {value for values in curve.values() for value in values.values()} == {rows[0]["dsc"]}
    assert [label for label, _ in early_table(results).groups[0][1]][0] == "Prompted lesions: 1"
    saved = [cell.text for _, cells in fewer_clicks_table(results).groups[0][1] for cell in cells]
    assert set(saved) == {"\u2013"}


def test_a_segmenter_of_all_clicks_gets_all_of_them_each_time():
    segmenter = BrightWhenClicked()
    volume = volume_of(scan_of(*LESIONS))
    labels = truth_of(*LESIONS)
    steps = list(run_protocol(Protocol(clicks=2), segmenter, volume, labels, "scan"))

    assert segmenter.seen == [1, 2, 3, 4, 5, 6]
    assert steps[-1].clicks == 6
    assert len(steps[-1].prompted_dice) == 3


def test_a_lesion_of_all_clicks_is_what_is_joined_to_its_own(tmp_path):
    segmenter = BrightWhenClicked()
    stack = SliceStack(volume_of(scan_of(FIRST, SECOND)))
    segmenter.open(stack.volume)
    slice_index, row, column = FIRST.middle
    ras = stack.point_to_ras(np.asarray(slice_index), np.asarray(column), np.asarray(row))

    lesion_id = segmenter.click(ras)
    marked = segmenter.result()
    beside = marked[slice_index, SECOND.middle[1], SECOND.middle[2]]
    assert lesion_id == 1
    assert marked[FIRST.middle] == 1
    assert beside > 1
    assert np.array_equal(segmenter.lesion(1), marked == 1)
    segmenter.click(ras, False, 1)
    assert segmenter.result()[FIRST.middle] == 0
    with pytest.raises(BadInput, match="outside the scan"):
        segmenter.click((1e4, 0, 0))


# ---- finished masks ----------------------------------------------------------------------------


def test_masks_that_another_program_made_are_read_by_the_scans_name(tmp_path):
    cohort = write_cohort(tmp_path / "cohort", scans=1)
    cases = read_cohort(cohort)
    masks = tmp_path / "masks"
    masks.mkdir()
    volume = volume_of(truth_of(*LESIONS))
    write_image(masks / "far-p0.nii.gz", volume)
    results = run_plan(plan_of(cases, f"nnU-Net:masks={masks}"), tmp_path / "out")

    (row,) = read_rows(results.folder)
    assert (row["scan"], row["segmenter"], row["dsc"]) == ("far-p0", "nnU-Net", 1)
    (failed,) = read_rows(results.folder, "failures.csv")
    assert "holds no mask of near-p0, like near-p0.nii.gz" in failed["error"]


def test_masks_on_another_grid_are_refused_and_turned_ones_are_turned_back(tmp_path):
    cases = read_cohort(write_cohort(tmp_path / "cohort", scans=1))
    masks = tmp_path / "masks"
    masks.mkdir()
    volume = volume_of(truth_of(*LESIONS))
    to_old = np.diag([-1.0, 1, 1, 1])
    to_old[0, 3] = volume.array.shape[2] - 1
    turned = Volume(np.ascontiguousarray(volume.array[..., ::-1]), volume.ijk_to_ras @ to_old)
    write_image(masks / "far-p0.nii.gz", turned)
    write_image(masks / "near-p0.nii.gz", Volume(volume.array[1:], volume.ijk_to_ras))
    results = run_plan(plan_of(cases, f"masks={masks}"), tmp_path / "out")

    (row,) = read_rows(results.folder)
    assert (row["scan"], row["dsc"]) == ("far-p0", 1)
    (failed,) = read_rows(results.folder, "failures.csv")
    assert "voxel grid" in failed["error"]


def test_options_are_of_the_kind_of_their_default():
    for words, why in (
        ("region-growing,fraction=abc", "option 'fraction' must be a number, not 'abc'"),
        ("nnunet=x,threads=abc", "option 'threads' must be a number"),
    ):
        with pytest.raises(BadInput, match=why):
            parse_spec(words)
    # A text that reads as a number stays one.
    assert parse_spec("nnunet=x,python=3").options == (("python", "3"),)


def test_a_folder_whose_name_is_a_number_is_hashed_as_any_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "2024").mkdir()
    assert weights_of(parse_spec("masks=2024")) == weights_of(parse_spec("masks=./2024"))
    assert weights_of(parse_spec("masks=2024"))["sha256"]


# ---- what is not there -------------------------------------------------------------------------


def test_a_segmenter_that_is_not_here_is_left_out_with_the_reason_and_stops_nothing(
    tmp_path, capsys
):
    cohort = write_cohort(tmp_path / "cohort", scans=1)
    words = ["--segmenter", GROWING, "--segmenter", stub("NotHere")]
    words += ["--segmenter", f"nnU-Net:masks={tmp_path / 'nowhere'}"]
    assert mois("evaluate", cohort, *words, "--out", tmp_path / "out") == 0

    told = capsys.readouterr()
    assert "NotHere is left out: its weights are not here; get them from example.org" in told.err
    assert "nnU-Net is left out: there is no folder" in told.err
    results = EvaluationResults.read(tmp_path / "out")
    assert results.segmenters == ["Region growing"]
    assert list(results.left_out) == ["NotHere", "nnU-Net"]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Left out: NotHere, because its weights are not here" in page

    (tmp_path / "nowhere").mkdir()
    assert mois("evaluate", cohort, *words[:2], *words[4:], "--out", tmp_path / "out") == 0
    assert list(plan_on_disk(tmp_path / "out")["left_out"]) == ["NotHere"]


def test_nothing_left_to_measure_is_bad_input():
    with pytest.raises(BadInput, match=r"no segmenter can work .* example\.org"):
        without_missing([parse_spec(stub("NotHere"))])


def test_a_baseline_whose_package_is_not_installed_says_what_to_install(tmp_path, monkeypatch):
    package = tmp_path / "unheard.py"
    package.write_text("import a_package_that_nobody_has\n", "utf-8")
    monkeypatch.setattr("mois_core.evaluation.baselines.__path__", [str(tmp_path)])
    with pytest.raises(Missing, match=r"'a_package_that_nobody_has'.*mois-core\[baselines\]"):
        Baseline("Unheard", "unheard:Unheard").load()


@pytest.mark.parametrize("kind", BASELINES)
def test_every_baseline_is_found_by_its_word(kind):
    made = BASELINES[kind].load()
    assert made.__doc__
    assert parse_spec(kind).name == BASELINES[kind].title

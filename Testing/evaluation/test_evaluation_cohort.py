"""Cohorts from tables, folders and seeds; bad ones get one clear line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from engine_fixtures import FIRST, SECOND, volume_of
from evaluation_fixtures import truth_of, write_case, write_cohort, write_table

from mois_core.errors import BadInput
from mois_core.evaluation.cohort import (
    chosen_sets,
    describe_case,
    load_case,
    read_cohort,
    without_file_names,
)
from mois_core.evaluation.phantom_sets import FIRST_SEEDS, phantom_cases
from mois_core.geometry import Volume
from mois_core.io import write_image
from mois_core.phantom import HELD_OUT_FROM


def test_a_folder_gives_its_sets_and_scans_in_order(tmp_path):
    cases = read_cohort(write_cohort(tmp_path / "cohort"))

    assert [(case.test_set, case.name) for case in cases] == [
        ("far", "far-p0"),
        ("far", "far-p1"),
        ("near", "near-p0"),
        ("near", "near-p1"),
    ]
    assert [case.name for case in chosen_sets(cases, ["near"])] == ["near-p0", "near-p1"]


def test_a_table_names_sets_folds_patients_and_readers(tmp_path):
    write_case(tmp_path / "a", FIRST)
    row = {
        "scan": "a/scan.nii.gz", "labels": "a/semantic.nii.gz", "set": "site 2",
        "patient": "7", "fold": "1", "reader:Müller": "a/semantic.nii.gz",
    }  # fmt: skip
    (case,) = read_cohort(write_table(tmp_path / "cohort.csv", [row]))

    assert (case.name, case.test_set, case.patient, case.fold) == ("a", "site 2", "7", "1")
    loaded = load_case(case)
    assert np.array_equal(loaded.labels > 0, truth_of(FIRST) > 0)
    assert np.array_equal(loaded.readers["Müller"] > 0, truth_of(FIRST) > 0)


def test_results_name_no_files(tmp_path):
    (case, *_) = read_cohort(write_cohort(tmp_path / "cohort"))
    assert str(tmp_path) not in str(describe_case(case))
    assert describe_case(case)["sha256"].keys() == {"scan", "labels"}


def test_a_file_is_told_by_words_however_it_is_written(tmp_path, monkeypatch):
    write_cohort(tmp_path / "Mueller Hans")
    monkeypatch.chdir(tmp_path)
    case = read_cohort(Path("Mueller Hans"))[0]
    for path, words in ((case.scan, "the scan"), (case.labels, "the label map")):
        assert not Path(path).is_absolute()
        for form in (path, Path(path).absolute(), Path(path).resolve()):
            assert without_file_names(f"no: {form} (1)", case) == f"no: {words} (1)"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"scan": "a.nii"}], "labels"),
        ([{"scan": "a.nii", "labels": ""}], "labels"),
        ([{"scan": "a.nii", "labels": "b.nii", "name": "x"}] * 2, "two scans"),
    ],
)
def test_a_table_that_lacks_something_is_refused(tmp_path, rows, said):
    with pytest.raises(BadInput, match=said):
        read_cohort(write_table(tmp_path / "cohort.csv", rows))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scan;labels\na.nii;b.nii\n", "with commas between them; there are: scan;labels"),
        ("scan,labels\n\na.nii,b.nii\nc.nii,\n", "line 4: column 'labels' is empty"),
        ("scan,labels\n,,,\n", "names no scans"),
        ("", "there are: none"),
    ],
)
def test_a_table_that_is_none_is_told_where(tmp_path, text, said):
    path = tmp_path / "cohort.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(BadInput, match=said):
        read_cohort(path)


def test_columns_are_known_however_a_spreadsheet_writes_them(tmp_path):
    path = tmp_path / "cohort.csv"
    path.write_text("Scan, LABELS,Fold ,Reader: Müller\na.nii,b.nii,2,c.nii\n,,,\n", "utf-8")
    (case,) = read_cohort(path)
    assert (case.name, case.fold, case.readers) == (
        "a",
        "2",
        (("Müller", str(tmp_path / "c.nii")),),
    )


def test_a_value_that_no_label_map_has_is_refused_before_anything_is_measured(tmp_path):
    cohort = write_cohort(tmp_path / "cohort")
    assert len(read_cohort(cohort, lesion_values=[1])) == 4
    with pytest.raises(BadInput, match="no label map has a voxel of value 9; there are: 1"):
        read_cohort(cohort, lesion_values=[1, 9])


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(BadInput, match="does not exist"):
        read_cohort(tmp_path / "nowhere.csv")
    with pytest.raises(BadInput, match="holds no folder"):
        read_cohort(tmp_path)
    cases = read_cohort(write_cohort(tmp_path / "cohort"))
    with pytest.raises(BadInput, match="there are: far, near"):
        chosen_sets(cases, ["nearest"])


def test_a_truth_on_another_grid_is_refused(tmp_path):
    write_case(tmp_path / "a", FIRST)
    labels = truth_of(SECOND)
    shifted = volume_of(labels).ijk_to_ras.copy()
    shifted[0, 3] += 5
    write_image(tmp_path / "a" / "semantic.nii.gz", Volume(labels, shifted))

    with pytest.raises(BadInput, match="voxel grid"):
        load_case(read_cohort(tmp_path)[0])


def test_four_phantom_sets_are_held_out_apart_and_never_stored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cases = phantom_cases(3, size=(96, 64))

    seeds = [case.phantom.seed for case in cases]
    assert len(set(seeds)) == 12
    assert min(seeds) >= HELD_OUT_FROM
    assert list(dict.fromkeys(case.test_set for case in cases)) == list(FIRST_SEEDS)
    assert phantom_cases(1, size=(96, 64)) == cases[::3]
    loaded = load_case(cases[6])
    assert loaded.case.test_set == "low-burden"
    assert loaded.labels.any()
    assert loaded.volume.array.shape[1:] == (96, 64)
    assert np.array_equal(load_case(cases[6]).volume.array, loaded.volume.array)
    assert not list(Path(tmp_path).iterdir())


def test_phantom_sets_have_at_least_one_scan():
    with pytest.raises(BadInput, match="not 0"):
        phantom_cases(0)

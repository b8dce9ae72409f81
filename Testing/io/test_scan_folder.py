"""Scans in folders of any layout, each with the label map that belongs to it."""

from __future__ import annotations

import pytest

from mois_core.errors import BadInput
from mois_core.io.scan_folder import read_scans


def files(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def told(rows, folder):
    return [(row.name, row.patient, row.labels.relative_to(folder).as_posix()) for row in rows]


def test_stars_of_label_maps_stand_for_what_they_were_in_the_scan(tmp_path):
    files(tmp_path, "a/1/x_T2.nii", "a/1/x_T1.nii", "b/2/y_T2.nii", "maps/a-1-x.nii")
    files(tmp_path, "maps/b-2-y.nii")
    rows = read_scans(tmp_path, ("{patient}/*/*_T2.nii", "maps/{patient}-*-*.nii"))
    assert told(rows, tmp_path) == [
        ("a-1-x", "a", "maps/a-1-x.nii"),
        ("b-2-y", "b", "maps/b-2-y.nii"),
    ]


def test_a_patient_is_the_same_wherever_it_is_written(tmp_path):
    files(
        tmp_path,
        *("p1-0/p1-0-t1.nii", "p1-0/p1-0-seg.nii", "p1-1/p1-1-t1.nii", "p1-1/p1-1-seg.nii"),
        *("p2-0/p3-0-t1.nii",),
    )
    start = "{patient}-*/{patient}-*"
    rows = read_scans(tmp_path, (f"{start}-t1.nii", f"{start}-seg.nii"))
    assert told(rows, tmp_path) == [
        ("p1-0", "p1", "p1-0/p1-0-seg.nii"),
        ("p1-1", "p1", "p1-1/p1-1-seg.nii"),
    ]


def test_without_a_patient_in_the_pattern_each_scan_is_one(tmp_path):
    files(tmp_path, "v-1.nii", "v-2.nii", "s-1.nii", "s-2.nii", "[x].txt")
    rows = read_scans(tmp_path, ("v-*.nii", "s-*.nii"))
    assert told(rows, tmp_path) == [("1", "", "s-1.nii"), ("2", "", "s-2.nii")]


def test_brackets_in_names_are_brackets(tmp_path):
    files(tmp_path, "[1]/scan 1.nii", "[1]/map 1.nii")
    rows = read_scans(tmp_path, ("[1]/scan *.nii", "[1]/map *.nii"))
    assert told(rows, tmp_path) == [("1", "", "[1]/map 1.nii")]


@pytest.mark.parametrize(
    ("scans", "labels", "words"),
    [
        ("v-*.nii", "t-*.nii", "1 of 2 scans have no label map; the first is .*v-2.nii"),
        ("w-*.nii", "s-*.nii", "nothing in .* is called 'w-\\*.nii'"),
        ("v-*.nii", "*/s-*.nii", "parts that differ"),
        ("v-*.nii", "s-{patient}.nii", "parts that differ"),
        ("v-*.nii", "v-*.nii", "name the same file"),
        ("../v-*.nii", "s-*.nii", "is no pattern"),
        ("**/v-*.nii", "s-*.nii", "is no pattern"),
        ("/v-*.nii", "s-*.nii", "is no pattern"),
        ("", "s-*.nii", "is no pattern"),
    ],
)
def test_patterns_that_do_not_fit_are_refused(tmp_path, scans, labels, words):
    files(tmp_path, "v-1.nii", "v-2.nii", "s-1.nii", "s-2.nii", "t-1.nii")
    with pytest.raises(BadInput, match=words):
        read_scans(tmp_path, (scans, labels))


def test_patterns_are_for_folders(tmp_path):
    table = tmp_path / "scans.csv"
    table.write_text("scan,labels\na.nii,b.nii\n", "utf-8")
    with pytest.raises(BadInput, match="patterns are for folders"):
        read_scans(table, ("*.nii", "*.nii"))

"""Tables of scans are read in one way, whatever they are read for."""

from __future__ import annotations

import pytest

from mois_core.errors import BadInput
from mois_core.io.scan_table import read_scan_table


def read(tmp_path, text: str):
    path = tmp_path / "Tabelle für später.csv"
    path.write_text(text, encoding="utf-8-sig")
    return read_scan_table(path)


def test_files_are_relative_to_the_table_and_what_is_not_told_is_empty(tmp_path):
    (row,) = read(tmp_path, "scan,labels\na/b.nii.gz,c.nrrd\n")

    assert (row.scan, row.labels) == (tmp_path / "a" / "b.nii.gz", tmp_path / "c.nrrd")
    assert (row.scan_text, row.name) == ("a/b.nii.gz", "b")
    assert (row.test_set, row.patient, row.fold, row.readers) == ("", "", "", ())


def test_every_column_is_read_in_any_order(tmp_path):
    (row,) = read(
        tmp_path,
        "fold,reader: B,labels,patient,scan,set,name,reader:A\n"
        "1,b.nii,l.nii,7,s.nii,far,one,a.nii\n",
    )

    assert (row.name, row.test_set, row.patient, row.fold) == ("one", "far", "7", "1")
    assert row.readers == (("A", tmp_path / "a.nii"), ("B", tmp_path / "b.nii"))


@pytest.mark.parametrize(
    ("scan", "name"),
    [
        ("p1/scan.nii.gz", "p1"),
        ("scan.nii.gz", "scan"),
        ("p1/t2.nrrd", "t2"),
        ("p1/T2.NII.GZ", "T2"),
        ("a.b.nii", "a.b"),
    ],
)
def test_a_scan_without_a_name_is_called_as_its_file_or_folder(tmp_path, scan, name):
    (row,) = read(tmp_path, f"scan,labels,name\n{scan},l.nii,\n")
    assert row.name == name


def test_cells_that_are_left_out_or_too_many_change_nothing(tmp_path):
    short, long = read(tmp_path, "scan,labels,patient\na.nii,b.nii\nc.nii,d.nii,7,more,more\n")
    assert (short.patient, long.patient) == ("", "7")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scan,labels\n", "names no scans"),
        ("", "the columns scan and labels, with commas between them; there are: none"),
        ("scan\na.nii\n", "there are: scan"),
        ("scan,labels\na.nii,\n", "line 2: column 'labels' is empty"),
    ],
)
def test_a_table_that_lacks_something_is_refused(tmp_path, text, said):
    with pytest.raises(BadInput, match=said):
        read(tmp_path, text)


def test_what_is_no_table_is_refused(tmp_path):
    with pytest.raises(BadInput, match="cannot be read as a table"):
        read_scan_table(tmp_path / "nowhere.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00scan")
    with pytest.raises(BadInput, match="cannot be read as a table"):
        read_scan_table(tmp_path / "bytes.csv")

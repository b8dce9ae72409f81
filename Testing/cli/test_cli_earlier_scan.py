"""``mois segment --earlier``: the lesions of an earlier scan on the new one."""

from __future__ import annotations

import pytest
from command_line import mois, use_stub
from follow_up_visits import SEED, SMALL, write_dicom_visit, write_labels_of_dicom

from mois_core.cli import EXIT_BAD_INPUT, EXIT_DONE
from mois_core.followup.time_point import TimePoint
from mois_core.io import read_labels, read_scan
from mois_core.io.slicer_segments import read_segment_names
from mois_core.phantom import make_follow_up, make_phantom, write_phantom
from mois_core.session.session_file import saved_lesions


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("visits")
    first = make_phantom(SEED, **SMALL)
    write_phantom(first, root / "1")
    write_phantom(make_follow_up(first, 1, posture=0.7)[0], root / "2")
    return root


def segment(folder, *words: object) -> int:
    scan = folder / "2" / "scan.nii.gz"
    return mois("segment", scan, "--model", "stub", "--out", folder / "out.seg.nrrd", *words)


def earlier(folder) -> str:
    return f"{folder / '1' / 'scan.nii.gz'}:{folder / '1' / 'instances.nii.gz'}"


def test_earlier_lesions_are_proposed_and_known_in_the_comparison(
    folder, tmp_path, monkeypatch, capsys
):
    use_stub(monkeypatch)
    saved = tmp_path / "new.mois"
    words = ("--earlier", earlier(folder), "--no-search", "--save-session", saved)
    assert segment(folder, *words) == EXIT_DONE
    said = capsys.readouterr()
    assert "are proposed as findings" in said.err and "found lesions" in said.out

    names = {name for name, _ in read_segment_names(folder / "out.seg.nrrd").values()}
    assert "Lesion 1 before" in names
    assert len(names) >= 8
    there = TimePoint(
        read_scan(folder / "1" / "scan.nii.gz"),
        read_labels(folder / "1" / "instances.nii.gz").array,
    )
    uids = [lesion.uid for lesion in saved_lesions(saved, read_scan(folder / "2" / "scan.nii.gz"))]
    assert len(uids) == len(names) == len(set(uids))
    assert set(uids) <= {there.uid(value) for value in there.lesions}

    scans = (earlier(folder), f"{folder / '2' / 'scan.nii.gz'}:{saved}")
    assert mois("compare", *scans, "--tracked", tmp_path / "t.seg.nrrd") == EXIT_DONE
    assert read_labels(tmp_path / "t.seg.nrrd").array.any()


def test_search_and_proposals_together(folder, monkeypatch, capsys):
    use_stub(monkeypatch)
    assert segment(folder, "--earlier", earlier(folder)) == EXIT_DONE
    assert "found lesions" in capsys.readouterr().out


def test_an_earlier_scan_of_another_patient_is_refused(folder, tmp_path, monkeypatch, capsys):
    use_stub(monkeypatch)
    write_phantom(make_phantom(SEED + 1, **SMALL), tmp_path / "1")
    out = folder / "refused.seg.nrrd"
    words = ("--earlier", earlier(tmp_path), "--no-search", "--out", out)
    assert segment(folder, *words) == EXIT_BAD_INPUT
    said = capsys.readouterr().err
    assert "cannot be registered" in said
    assert "'mois compare --unchecked --registration', and go on without --earlier" in said
    assert not out.exists()


def test_the_earlier_scan_and_its_lesions_are_never_written_over(
    folder, tmp_path, monkeypatch, capsys
):
    use_stub(monkeypatch)
    lesions = tmp_path / "old.nii.gz"
    lesions.write_bytes((folder / "1" / "instances.nii.gz").read_bytes())
    before = lesions.read_bytes()
    words = ("--earlier", f"{folder / '1' / 'scan.nii.gz'}:{lesions}", "--out", lesions)
    assert segment(folder, *words) == EXIT_BAD_INPUT
    assert "is also an input" in capsys.readouterr().err
    assert lesions.read_bytes() == before


def test_a_series_of_the_earlier_scan_is_chosen(folder, tmp_path, monkeypatch, capsys):
    use_stub(monkeypatch)
    first = make_phantom(SEED, **SMALL)
    for uid in ("1.2.1", "1.2.2"):
        write_dicom_visit(tmp_path / "dicom", first, uid, {})
    write_labels_of_dicom(tmp_path / "labels.nii.gz", tmp_path / "dicom", "1.2.1", first)
    words = ("--earlier", f"{tmp_path / 'dicom'}:{tmp_path / 'labels.nii.gz'}", "--no-search")
    assert segment(folder, *words, "--earlier-series", "1.2.1") == EXIT_DONE
    assert "are proposed as findings" in capsys.readouterr().err

    assert segment(folder, *words, "--earlier-series", "1.2.7") == EXIT_BAD_INPUT
    assert "holds no series 1.2.7" in capsys.readouterr().err


def test_a_series_without_an_earlier_scan_is_refused(folder, capsys):
    assert segment(folder, "--lesions", "x.nii.gz", "--earlier-series", "1.2.1") == EXIT_BAD_INPUT
    assert "--earlier, which is missing" in capsys.readouterr().err

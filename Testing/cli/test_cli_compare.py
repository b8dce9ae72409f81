"""``mois compare`` as a user runs it, on small phantoms."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from command_line import mois
from dicom_files import write_series
from follow_up_visits import SEED, SMALL, write_dicom_visit, write_labels_of_dicom
from stub_network import StubNetwork

from mois_core.cli import EXIT_BAD_INPUT, EXIT_DONE, build_parser
from mois_core.cli.compare import read_time_point, split_pair
from mois_core.cli.progress_bar import progress_bar
from mois_core.followup.stored_uids import read_uids
from mois_core.geometry import Volume
from mois_core.io import read_labels, read_scan, write_image
from mois_core.phantom import make_follow_up, make_phantom, write_phantom
from mois_core.session import Session
from mois_core.session.session_file import save


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("visits")
    first = make_phantom(SEED, **SMALL)
    second, changes = make_follow_up(first, 1, posture=0.7)
    write_phantom(first, root / "1")
    write_phantom(second, root / "2", changes)
    return root


def pair(folder, n: int) -> str:
    return f"{folder / str(n) / 'scan.nii.gz'}:{folder / str(n) / 'instances.nii.gz'}"


@pytest.fixture(scope="module")
def compared(folder, tmp_path_factory):
    """A comparison with every kind of output."""
    out = tmp_path_factory.mktemp("out")
    code = mois(
        "compare", pair(folder, 1), pair(folder, 2), "--dates", "2022-01-01", "2023-01-01",
        "--report", out / "change.json", "--picture", out / "change.png",
        "--curve", out / "curve.png", "--registration", out / "registration.png",
        "--tracked", out / "tracked.seg.nrrd",
    )  # fmt: skip
    assert code == EXIT_DONE
    return out


def test_the_report_tells_what_the_phantom_did(folder, compared):
    table = json.loads((compared / "change.json").read_text("utf-8"))
    truth = json.loads((folder / "2" / "lesions.json").read_text("utf-8"))["changes"]
    links = {
        (lesion["label_in_scan"][0], lesion["label_in_scan"][1]) for lesion in table["lesions"]
    }
    expected = {
        (c["id"] if c["before_cm3"] else None, c["id"] if c["after_cm3"] else None) for c in truth
    }
    assert len(links & expected) >= len(expected) - 1
    by_id = {change["id"]: change for change in truth}
    for lesion in table["lesions"]:
        before, after = lesion["label_in_scan"]
        if before == after:
            change = by_id[before]
            assert lesion["then_cm3"] == pytest.approx(change["before_cm3"], rel=1e-3)
            assert lesion["now_cm3"] == pytest.approx(change["after_cm3"], rel=1e-3)
    assert table["scans"][1]["days_since_first"] == 365
    assert table["registrations"][0]["correlation"] > 0.7


def test_nothing_tells_paths_or_dates(folder, compared):
    text = (compared / "change.json").read_text("utf-8")
    assert "2022" not in text and str(folder) not in text and "nii" not in text


def test_pictures_are_written(compared):
    for name in ("change", "curve", "registration"):
        assert (compared / f"{name}.png").read_bytes()[:4] == b"\x89PNG"


def test_a_lesion_keeps_its_uid_in_the_next_comparison(folder, compared, tmp_path):
    uids = read_uids(compared / "tracked.seg.nrrd")
    table = json.loads((compared / "change.json").read_text("utf-8"))
    told = {le["label_in_scan"][1]: le["uid"] for le in table["lesions"] if le["now_cm3"]}
    assert uids == told

    scan = folder / "2" / "scan.nii.gz"
    tracked = f"{scan}:{compared / 'tracked.seg.nrrd'}"
    assert mois("compare", tracked, pair(folder, 2), "--report", tmp_path / "b.csv") == EXIT_DONE
    with open(tmp_path / "b.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {int(row["lesion"]): row["uid"] for row in rows} == uids
    assert {row["change"] for row in rows} == {"stable"}
    assert {float(row["percent"]) for row in rows} == {0}


def test_a_session_is_compared_without_its_network(folder, tmp_path):
    scan = read_scan(folder / "1" / "scan.nii.gz")
    session = Session(StubNetwork(), scan)
    session.add_lesions(read_labels(folder / "1" / "instances.nii.gz").array, {1: "the first"})
    save(session, tmp_path / "one.mois")
    one = f"{folder / '1' / 'scan.nii.gz'}:{tmp_path / 'one.mois'}"
    assert mois("compare", one, pair(folder, 1), "--report", tmp_path / "r.json") == EXIT_DONE
    lesions = json.loads((tmp_path / "r.json").read_text("utf-8"))["lesions"]
    assert {lesion["percent"] for lesion in lesions} == {0}
    assert lesions[0]["name"] == "the first"


def test_a_session_of_another_scan_is_refused(folder, tmp_path, capsys):
    save(Session(StubNetwork(), read_scan(folder / "1" / "scan.nii.gz")), tmp_path / "one.mois")
    other = f"{folder / '2' / 'scan.nii.gz'}:{tmp_path / 'one.mois'}"
    assert mois("compare", other, pair(folder, 2)) == EXIT_BAD_INPUT
    assert "belongs to another scan" in capsys.readouterr().err


def test_another_patient_is_refused_and_nothing_is_written(folder, tmp_path, capsys):
    write_phantom(make_phantom(SEED + 1, **SMALL), tmp_path / "2")
    code = mois("compare", pair(folder, 1), pair(tmp_path, 2), "--report", tmp_path / "r.csv")
    said = capsys.readouterr().err
    assert code == EXIT_BAD_INPUT
    assert "cannot be registered" in said and "same patient" in said and "Traceback" not in said
    assert not (tmp_path / "r.csv").exists()


def test_wrong_order_is_said_before_anything_is_registered(folder, capsys):
    code = mois("compare", pair(folder, 1), pair(folder, 2), "--dates", "2023-01-01", "2022-01-01")
    assert code == EXIT_BAD_INPUT
    assert "scan 2 was made before scan 1" in capsys.readouterr().err


def test_scans_without_lesions_are_refused(folder, tmp_path, capsys):
    scan = read_scan(folder / "1" / "scan.nii.gz")
    empty = Volume(np.zeros(scan.array.shape, dtype=np.uint8), scan.ijk_to_ras)
    write_image(tmp_path / "empty.nii.gz", empty)
    nothing = f"{folder / '1' / 'scan.nii.gz'}:{tmp_path / 'empty.nii.gz'}"
    assert mois("compare", nothing, nothing) == EXIT_BAD_INPUT
    assert "no scan has an outlined lesion" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a.nii.gz", "b.nii.gz"], "SCAN:LESIONS"),
        (["none.nii.gz:none.seg.nrrd", "x:y"], "does not exist"),
    ],
)
def test_what_cannot_be_read_is_said(words, said, capsys):
    assert mois("compare", *words) == EXIT_BAD_INPUT
    assert said in capsys.readouterr().err


def test_lesions_of_another_scan_and_damaged_files_are_refused(folder, tmp_path, capsys):
    scan = folder / "1" / "scan.nii.gz"
    damaged = tmp_path / "damaged.seg.nrrd"
    damaged.write_bytes(b"no segmentation")
    assert mois("compare", f"{scan}:{damaged}", pair(folder, 2)) == EXIT_BAD_INPUT
    cut = tmp_path / "cut.nii.gz"
    labels = read_labels(folder / "1" / "instances.nii.gz")
    write_image(cut, Volume(labels.array[1:], labels.ijk_to_ras))
    assert mois("compare", f"{scan}:{cut}", pair(folder, 2)) == EXIT_BAD_INPUT
    assert "does not lie on the same voxels" in capsys.readouterr().err


def test_as_many_dates_as_scans_are_needed(folder, capsys):
    assert mois("compare", pair(folder, 1), pair(folder, 2), "--dates", "2022-01-01") == 2
    assert "2 scans need as many --dates" in capsys.readouterr().err


def test_the_colon_of_a_windows_drive_separates_nothing():
    scan, lesions = split_pair(r"C:\scans\a.nii.gz:D:\lesions\a.seg.nrrd")
    assert (str(scan), str(lesions)) == (r"C:\scans\a.nii.gz", r"D:\lesions\a.seg.nrrd")


def test_the_order_of_dicom_scans_is_known_from_their_studies(tmp_path, capsys):
    places = [n * 7.8 for n in range(6)]
    words = []
    for name, day in (("late", "20240102"), ("early", "20230102")):
        (tmp_path / name).mkdir()
        write_series(tmp_path / name, f"1.2.{day}", places, tags={"0008|0020": day})
        scan = read_scan(tmp_path / name)
        labels = np.zeros(scan.array.shape, dtype=np.uint8)
        labels[2, 3:6, 3:6] = 1
        write_image(tmp_path / f"{name}.nii.gz", Volume(labels, scan.ijk_to_ras))
        words.append(f"{tmp_path / name}:{tmp_path / name}.nii.gz")
    assert mois("compare", *words) == EXIT_BAD_INPUT
    said = capsys.readouterr().err
    assert "scan 2 was made before scan 1" in said
    assert "2024" not in said.replace(str(tmp_path), "")


@pytest.fixture(scope="module")
def in_dicom(tmp_path_factory):
    """Two visits of a patient, each in a folder with two series of which one is to be compared."""
    root = tmp_path_factory.mktemp("dicom")
    first = make_phantom(SEED, **SMALL)
    second, _ = make_follow_up(first, 1, posture=0.7)
    for visit, phantom, days in ((1, first, ("2022", "2025")), (2, second, ("2023", "2020"))):
        folder = root / str(visit)
        for series, year in zip((f"1.2.{visit}.1", f"1.2.{visit}.2"), days, strict=True):
            tags = {"0008|0020": f"{year}0101", "0020|000d": f"1.9.{visit}.{year}"}
            tags["0018|0015"] = {"2022": "PELVIS", "2025": "CHEST"}.get(year, "")
            write_dicom_visit(folder, phantom, series, tags)
        write_labels_of_dicom(root / f"{visit}.nii.gz", folder, f"1.2.{visit}.1", phantom)
    return root


def of_dicom(root) -> list[str]:
    return [f"{root / str(n)}:{root / str(n)}.nii.gz" for n in (1, 2)]


def test_series_of_both_folders_are_chosen_and_their_studies_tell_the_order(in_dicom, tmp_path):
    report = tmp_path / "change.json"
    words = (*of_dicom(in_dicom), "--series", "1.2.1.1", "1.2.2.1", "--report", report)
    assert mois("compare", *words) == EXIT_DONE
    scans = json.loads(report.read_text("utf-8"))["scans"]
    assert scans[0]["lesions"] == SMALL["lesions"]
    assert scans[1]["days_since_first"] == 365


def test_the_headers_of_the_chosen_series_tell_the_part_of_the_body(in_dicom, tmp_path):
    report = tmp_path / "change.csv"
    words = (*of_dicom(in_dicom), "--series", "1.2.1.1", "1.2.2.1", "--report", report)
    assert mois("compare", *words) == EXIT_DONE
    with open(report, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    regions = {row["region"] for row in rows if row["change"] != "new"}
    assert regions == {"pelvis"}
    assert {row["region"] for row in rows if row["change"] == "new"} == {"unknown"}


def test_a_folder_with_two_series_is_refused_with_the_option_that_chooses(in_dicom, capsys):
    assert mois("compare", *of_dicom(in_dicom)) == EXIT_BAD_INPUT
    said = capsys.readouterr().err
    assert "choose one with --series UID" in said and "1.2.1.2" in said


def test_a_scan_that_is_no_folder_needs_no_series(in_dicom, folder, tmp_path):
    scans = (of_dicom(in_dicom)[0], pair(folder, 2))
    assert mois("compare", *scans, "--series", "1.2.1.1", "-") == EXIT_DONE


@pytest.mark.parametrize(
    ("series", "said"),
    [
        (["1.2.1.1"], "2 scans need as many --series, not 1; give - for a scan that needs none"),
        (["1.2.1.1", "1.2.9"], "holds no series 1.2.9"),
        (["1.2.1.1+1.2.1.2", "1.2.2.1"], "only with --compose"),
    ],
)
def test_series_that_do_not_fit_are_refused(in_dicom, capsys, series, said):
    assert mois("compare", *of_dicom(in_dicom), "--series", *series) == EXIT_BAD_INPUT
    assert said in capsys.readouterr().err


def test_stations_of_a_scan_are_joined_for_the_comparison(tmp_path):
    places = [0, 1, 2]
    for uid, down in (("1.2.3.1", 0), ("1.2.3.2", 12 * 0.6)):
        write_series(tmp_path / "dicom", uid, places, description=uid, down=down, prefix=uid)
    scan = read_scan(tmp_path / "dicom", ["1.2.3.1", "1.2.3.2"], compose=True)
    labels = np.zeros(scan.array.shape, dtype=np.uint8)
    labels[1, 3:6, 3:6] = 1
    write_image(tmp_path / "labels.nii.gz", Volume(labels, scan.ijk_to_ras))
    words = (f"{tmp_path / 'dicom'}:{tmp_path / 'labels.nii.gz'}", "x:y")
    args = build_parser().parse_args(
        ["compare", *words, "--compose", "--series", "1.2.3.1+1.2.3.2", "-"]
    )
    with progress_bar() as bar:
        point = read_time_point(
            *split_pair(words[0]), None, bar, args.series[0], compose=args.compose
        )
    assert point.scan.array.shape == scan.array.shape
    assert list(point.lesions) == [1]

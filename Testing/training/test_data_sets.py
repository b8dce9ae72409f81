"""Public data sets go in as docs/data.md says, from small files that are called as theirs are."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import mois
from paths import ROOT
from training_fixtures import small_config

from mois_core import weights
from mois_core.errors import BadInput
from mois_core.evaluation.cohort import load_case, read_cohort
from mois_core.geometry import Volume
from mois_core.io import RasClick, read_labels, read_scan, write_image, write_points
from mois_core.network.checkpoint import read_file, scans_in
from mois_core.network.loading import network_in
from mois_core.session import Session
from mois_core.session.intensity import normalise
from mois_core.training import validation
from mois_core.training.config import DataConfig, ValidationConfig
from mois_core.training.stages import run_stages
from mois_core.training.training_case import TrainingCase
from tools import average

AXIAL = np.diag([-2.0, -2.0, 5.0, 1.0])
"""Slices of 5 mm from feet to head, as scanners store them."""
SHAPE = (6, 32, 48)
LIVER, LESION, OTHER = np.s_[1:5, 8:28, 10:40], np.s_[2:4, 12:18, 14:20], np.s_[3:5, 20:26, 30:36]
DOCS = ROOT / "docs" / "data.md"


MRI, SUV, HU = (100.0, 20.0), (1.0, 5.0), (40.0, 20.0)
"""How bright scans of a kind are, and how much brighter their lesions."""


def write_scan(path: Path, values: dict[int, list], kind: tuple[float, float] = MRI) -> None:
    """Write a scan in which blocks of voxels differ from the rest, more so with a higher value."""
    brightness, step = kind
    array = np.random.default_rng(0).normal(brightness, step / 4, SHAPE)
    for value, blocks in values.items():
        for block in blocks:
            array[block] += step * value
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, Volume(array.astype(np.float32), AXIAL))


def write_labels(path: Path, values: dict[int, list]) -> None:
    array = np.zeros(SHAPE, dtype=np.uint8)
    for value, blocks in values.items():
        for block in blocks:
            array[block] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, Volume(array, AXIAL))


def write_pair(
    scan: Path, labels: Path, values: dict[int, list], kind: tuple[float, float] = MRI
) -> None:
    write_scan(scan, values, kind)
    write_labels(labels, values)


# ---- layouts -------------------------------------------------------------------------------


def fdg_pet_ct(folder: Path) -> None:
    for patient, studies in {"PETCT_0a1": 2, "PETCT_0b2": 1, "PETCT_0c3": 1}.items():
        for n in range(studies):
            study = folder / patient / f"0{n + 1}-02-2003-NA-PET-CT Ganzkoerper  primaer mit KM-1"
            lesions = {} if patient == "PETCT_0c3" else {1: [LESION, OTHER]}
            write_pair(study / "SUV.nii.gz", study / "SEG.nii.gz", lesions, SUV)
            for name in ("CT", "CTres", "PET"):
                write_scan(study / f"{name}.nii.gz", {})


def autopet_3(folder: Path) -> None:
    names = ["fdg_0a1_01-02-2003-NA-PET-CT Ganzkoerper  primaer-1", "psma_95_2018-04-16"]
    names.append("psma_95_2019-01-10")
    for name in names:
        scan = folder / "imagesTr" / f"{name}_0001.nii.gz"
        write_pair(scan, folder / "labelsTr" / f"{name}.nii.gz", {1: [LESION, OTHER]}, SUV)
        write_scan(folder / "imagesTr" / f"{name}_0000.nii.gz", {})


def brats_mets(folder: Path) -> None:
    oedema = np.s_[1:5, 10:20, 12:22]
    for name in ("BraTS-MET-00001-000", "BraTS-MET-00001-001", "BraTS-MET-00002-000"):
        start = folder / name / name
        values = {2: [oedema], 3: [LESION, OTHER], 1: [np.s_[2:4, 14:16, 16:18]]}
        write_pair(Path(f"{start}-t1c.nii.gz"), Path(f"{start}-seg.nii.gz"), values)
        for contrast in ("t1n", "t2f", "t2w"):
            write_scan(Path(f"{start}-{contrast}.nii.gz"), values)


def mslesseg(folder: Path) -> None:
    for patient, times in {"P1": ("T1", "T2"), "P2": ("T1",)}.items():
        for one in times:
            start = folder / patient / one / f"{patient}_{one}"
            scan, labels = Path(f"{start}_FLAIR.nii.gz"), Path(f"{start}_MASK.nii.gz")
            write_pair(scan, labels, {1: [LESION, OTHER]})
            write_scan(Path(f"{start}_T1.nii.gz"), {})


def ljubljana(folder: Path) -> None:
    for patient in ("patient01", "patient02", "patient03"):
        home = folder / patient
        write_pair(home / "FLAIR.nii.gz", home / "consensus_gt.nii.gz", {1: [LESION, OTHER]})
        write_scan(home / "T1W.nii.gz", {})


def lits(folder: Path) -> None:
    for n, batch in enumerate(("Training Batch 1", "Training Batch 1", "Training Batch 2")):
        home = folder / batch
        values = {1: [LIVER], 2: [LESION, OTHER]}
        scan, labels = home / f"volume-{n}.nii", home / f"segmentation-{n}.nii"
        write_pair(scan, labels, values, HU)


LAYOUTS: dict[str, tuple[Callable[[Path], None], int, int]] = {
    "FDG-PET-CT-Lesions": (fdg_pet_ct, 4, 3),
    "autoPET-III": (autopet_3, 3, 2),
    "BraTS-METS": (brats_mets, 3, 2),
    "MSLesSeg": (mslesseg, 3, 2),
    "open_ms_data": (ljubljana, 3, 3),
    "LiTS": (lits, 3, 3),
}
"""For each folder of docs/data.md its writer, and how many scans and patients are in it."""


def commands() -> dict[str, list[str]]:
    """Return the commands of the documentation by the folder that they read."""
    lines = re.findall(r"^mois (prepare .*--scan-files.*)$", DOCS.read_text("utf-8"), re.MULTILINE)
    words = [shlex.split(line) for line in lines]
    return {line[1]: line for line in words}


def test_every_layout_of_the_documentation_is_tried():
    assert commands().keys() == LAYOUTS.keys()


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_data_set_goes_in_as_documented(name, tmp_path, monkeypatch, capsys):
    write, scans, patients = LAYOUTS[name]
    write(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    words = commands()[name]

    assert mois(*words, "--folds", 2) == 0
    said = capsys.readouterr().out
    assert f"{scans} scans of {patients} patients in 2 folds" in said
    assert "Warning" not in said
    out = Path(words[words.index("--out") + 1])
    index = json.loads((out / "cases.json").read_text("utf-8"))
    assert index["axis"] == "axial"
    folds = {}
    for case in index["cases"]:
        assert (case["slices"], case["rows"], case["columns"]) == SHAPE
        assert case["tumours"] == (0 if case["patient"] == "PETCT_0c3" else 2)
        assert folds.setdefault(case["patient"], case["fold"]) == case["fold"]


# ---- values of label maps ------------------------------------------------------------------


def prepared(tmp_path: Path, name: str, *more: object) -> list[str]:
    words = [w for w in commands()[name] if w not in ("--label", "1", "2", "3")]
    words[words.index("--out") + 1] = str(tmp_path / "out")
    return [*words, "--folds", "2", *map(str, more)]


@pytest.mark.parametrize("name", ["LiTS", "BraTS-METS"])
def test_values_that_look_like_classes_are_warned_of(name, tmp_path, monkeypatch, capsys):
    LAYOUTS[name][0](tmp_path / name)
    monkeypatch.chdir(tmp_path)

    assert mois(*prepared(tmp_path, name)) == 0
    said = capsys.readouterr().out
    assert "Warning: in 3 of 3 scans the values of the label map look like classes" in said
    assert "--label" in said


def test_a_value_that_no_map_has_is_refused(tmp_path, monkeypatch, capsys):
    lits(tmp_path / "LiTS")
    monkeypatch.chdir(tmp_path)

    assert mois(*prepared(tmp_path, "LiTS", "--label", 4)) == 2
    assert "no label map has a voxel of value 4; there are: 1, 2" in capsys.readouterr().err
    assert not (tmp_path / "out" / "cases.json").exists()


def test_a_preparation_that_fails_leaves_the_one_before_as_it_was(tmp_path, monkeypatch, capsys):
    lits(tmp_path / "LiTS")
    monkeypatch.chdir(tmp_path)
    assert mois(*prepared(tmp_path, "LiTS", "--label", 2)) == 0
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert mois(*prepared(tmp_path, "LiTS", "--label", 4)) == 2
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before


def test_slices_other_than_the_acquired_ones_are_warned_of(tmp_path, monkeypatch, capsys):
    mslesseg(tmp_path / "MSLesSeg")
    monkeypatch.chdir(tmp_path)

    assert mois(*prepared(tmp_path, "MSLesSeg", "--axis", "coronal")) == 0
    assert "--axis axial takes them as most of these were" in capsys.readouterr().out


def test_an_evaluation_takes_the_same_lesions_for_the_truth(tmp_path):
    lits(tmp_path / "LiTS")
    patterns = ("*/volume-{patient}.nii", "*/segmentation-{patient}.nii")
    cases = read_cohort(tmp_path / "LiTS", patterns, [2])

    assert [case.patient for case in cases] == ["0", "1", "2"]
    truth = read_labels(tmp_path / "LiTS" / "Training Batch 1" / "segmentation-0.nii").array == 2
    assert np.array_equal(load_case(cases[0]).labels, truth)


# ---- CT, from files to segmentation --------------------------------------------------------


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    """Return a folder with CT, the cases made of it, and what learned from these for two steps."""
    folder = tmp_path_factory.mktemp("ct")
    lits(folder / "LiTS")
    words = commands()["LiTS"]
    words[1], words[words.index("--out") + 1] = str(folder / "LiTS"), str(folder / "prepared")
    assert mois(*words, "--folds", 2) == 0
    data = DataConfig(prepared=str(folder / "prepared"))
    config = small_config(steps=2, threads=1, data=data)
    run_stages({"": replace(config, changes={**config.changes, "image_size": (64, 64)})}, folder)
    return folder


def clicked(folder: Path, model: Path, *more: object) -> dict[str, object]:
    """Segment a lesion of the last scan; return the parameters of the report."""
    place = AXIAL @ [17, 15, 3, 1]
    points, report = folder / "clicks.mrk.json", folder / "report.json"
    write_points(points, [RasClick(1, True, (place[0], place[1], place[2]))])
    out = ("--no-search", "--out", folder / "labels.nii.gz", "--report", report)
    scan = folder / "LiTS" / "Training Batch 2" / "volume-2.nii"
    assert mois("segment", scan, "--points", points, "--model", model, *out, *more) == 0
    return json.loads(report.read_text("utf-8"))["parameters"]


def test_what_learned_from_ct_segments_ct(ct):
    told = clicked(ct, ct / "newest.pt")
    assert (told["axis"], told["grey_window"]) == ("axial", [-160, 240])

    scan = read_scan(ct / "LiTS" / "Training Batch 1" / "volume-0.nii")
    session = Session(weights.open_checkpoint(ct / "newest.pt", device="cpu").network, scan)
    seen = session.stack.from_volume(normalise(scan.array, session.settings.grey_window))
    case = TrainingCase.load(ct / "prepared" / "case-0001.npz")
    assert case.images.shape == SHAPE
    # 40 HU lie in the middle of a window from -160 to 240.
    assert abs(float(np.median(case.images)) - 127.5) < 8
    assert np.array_equal(np.rint(seen), case.images)


def test_converted_weights_still_know_their_scans(ct):
    converted = ct / "ct.safetensors"
    average.convert([ct / "newest.pt"], converted, half=True)
    _, config = network_in(ct / "newest.pt")
    told = scans_in(read_file(converted))

    assert told == {"axis": "axial", "grey_window": [-160.0, 240.0]}
    assert (config.axis, config.grey_window) == ("axial", (-160.0, 240.0))


def test_the_command_line_overrules_what_the_weights_tell(ct):
    told = clicked(ct, ct / "newest.pt", "--axis", "coronal", "--window", "-100,300")
    assert (told["axis"], told["grey_window"]) == ("coronal", [-100, 300])


def test_a_window_for_other_units_is_refused(ct, capsys):
    with pytest.raises(AssertionError):
        clicked(ct, ct / "newest.pt", "--window", "2000,3000")
    assert "lie outside the grey window 2000 to 3000" in capsys.readouterr().err


def test_a_fold_is_measured_as_its_cases_are(ct, monkeypatch):
    seen = []
    monkeypatch.setattr(validation, "Session", lambda *how: seen.append(Session(*how)) or seen[-1])
    case = TrainingCase.load(ct / "prepared" / "case-0001.npz")
    network = weights.open_checkpoint(ct / "newest.pt", device="cpu").network
    validation.measure_cases(network, [case], exemplars=1)

    (session,) = seen
    assert np.array_equal(session.stack.array, case.images)
    assert session.settings.grey_window == (0, 255)


def test_a_scan_in_other_units_is_named(tmp_path, monkeypatch, capsys):
    mslesseg(tmp_path / "MSLesSeg")
    monkeypatch.chdir(tmp_path)

    assert mois(*prepared(tmp_path, "MSLesSeg", "--window", "-160,20")) == 2
    said = capsys.readouterr().err
    assert "P1_T1_FLAIR.nii.gz: The image has no contrast" in said


def test_ct_is_not_validated_on_phantoms(ct, tmp_path):
    data = DataConfig(prepared=str(ct / "prepared"))
    config = small_config(data=data, validation=ValidationConfig(every=1))
    with pytest.raises(BadInput, match="leave a fold out"):
        run_stages({"": config}, tmp_path)

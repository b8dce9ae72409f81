"""nnU-Net's files and commands, with a stand-in for its program that is as strict as it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from command_line import mois
from engine_fixtures import LESION, SCENE, scan_of, volume_of
from evaluation_fixtures import plan_of, truth_of, write_cohort
from orientations import STORAGE_ORDERS, stored_as
from stand_in_nnunet import write_environment

from mois_core.errors import BadInput
from mois_core.evaluation.baselines.nnunet import NnUnet
from mois_core.evaluation.baselines.nnunet_process import DATASET, MODEL, NnUnetProcess
from mois_core.evaluation.baselines.nnunet_training import train_nnunet, upright_scan
from mois_core.evaluation.cohort import read_cohort
from mois_core.evaluation.results_folder import read_rows
from mois_core.evaluation.runner import run_plan
from mois_core.evaluation.segmenter_specs import parse_spec, without_missing
from mois_core.evaluation.segmenters import Missing, Surroundings
from mois_core.geometry import SliceStack, Volume
from mois_core.training.config import DataConfig
from mois_core.training.scans import INDEX
from mois_core.training.training_case import TrainingCase, case_of

SCAN = volume_of(scan_of(*SCENE))
TRUTH = truth_of(*(block for block in SCENE if block.brightness == LESION))


@pytest.fixture(scope="module")
def nnunet(tmp_path_factory) -> NnUnetProcess:
    folder = tmp_path_factory.mktemp("nnunet")
    return NnUnetProcess(write_environment(folder / "bin"), folder / "wörk er", threads=1)


@pytest.fixture(scope="module")
def model(nnunet) -> Path:
    oblique = Volume(SCAN.array[:, ::-1], np.diag([0.7, 0.7, 5.0, 1.0]))
    return nnunet.train([(SCAN, TRUTH), (oblique, TRUTH[:, ::-1])], minutes=0.5)


def segmenter(nnunet: NnUnetProcess, model: Path, folder: Path) -> NnUnet:
    made = NnUnet(str(model), str(nnunet.python))
    made.surroundings = Surroundings("scan", files=folder)
    return made


def test_cases_are_written_as_nnunet_wants_them_and_without_names(nnunet, model):
    raw = nnunet.work / "nnUNet_raw" / DATASET
    files = sorted(path.relative_to(raw).as_posix() for path in raw.rglob("*.*"))
    assert files == [
        "dataset.json",
        "imagesTr/case_0001_0000.nii.gz",
        "imagesTr/case_0002_0000.nii.gz",
        "labelsTr/case_0001.nii.gz",
        "labelsTr/case_0002.nii.gz",
    ]
    labels = SimpleITK.ReadImage(str(raw / "labelsTr" / "case_0001.nii.gz"))
    assert np.array_equal(SimpleITK.GetArrayFromImage(labels), TRUTH > 0)


def test_a_model_is_told_by_what_it_was_given(nnunet, model):
    assert NnUnet(str(model), str(nnunet.python)).given() == {
        "minutes": 0.5,
        "steps": 1,
        "parameters": 1,
    }
    assert NnUnet().given() == {}


@pytest.mark.parametrize(("order", "flips"), STORAGE_ORDERS[5::21])
def test_a_mask_comes_back_on_the_scan_however_it_is_stored(nnunet, model, tmp_path, order, flips):
    scan = stored_as(SCAN, order, flips)
    made = segmenter(nnunet, model, tmp_path)
    made.open(scan)
    # Its threshold lies below the brightness of the other kind, and below the bright row on top.
    assert np.array_equal(made.result(), scan.array > 80)


# ---- trained here ------------------------------------------------------------------------------


def prepared(folder: Path, **told: object) -> Path:
    folder.mkdir()
    entries = []
    for fold in range(3):
        case = case_of(f"{fold}", SCAN, TRUTH, np.zeros(TRUTH.max() + 1))
        case.save(folder / f"{fold}.npz")
        entries.append({"file": f"{fold}.npz", "fold": fold})
    (folder / INDEX).write_text(json.dumps({"cases": entries, **told}), "utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(nnunet, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    cases = prepared(folder / "cases")
    words = ["train-baseline", "nnunet", "--python", nnunet.python, "--minutes", "0.25"]
    words += ["--prepared", cases, "--fold", "0", "--out", folder / "out"]
    assert mois(*words) == 0
    model = folder / "out" / "nnUNet_results" / DATASET / MODEL
    before = (folder / "out" / "nnunet.log").stat().st_mtime_ns
    assert mois(*words) == 0
    assert (folder / "out" / "nnunet.log").stat().st_mtime_ns == before, "it is trained already"
    assert mois(*words[:5], 0.5, *words[6:]) == 2, "it is of other minutes"
    assert mois(*words, "--seed", 3) == 2, "it has no seed"
    return model


def test_one_command_trains_it_and_leaves_no_scan_behind(nnunet, trained):
    given = {"minutes": 0.25, "steps": 1, "parameters": 1, "scans": 2}
    assert NnUnet(str(trained), str(nnunet.python)).given() == given
    assert not list(trained.parents[2].rglob("*.nii.gz"))


@pytest.mark.parametrize(("order", "flips"), STORAGE_ORDERS[5::21])
def test_it_is_shown_the_same_as_in_its_training_however_a_scan_is_stored(
    nnunet, trained, tmp_path, monkeypatch, order, flips
):
    shown = []
    real = NnUnetProcess.predict
    monkeypatch.setattr(
        NnUnetProcess,
        "predict",
        lambda self, model, scan: shown.append(scan) or real(self, model, scan),
    )
    scan = stored_as(SCAN, order, flips)
    made = segmenter(nnunet, trained, tmp_path)
    made.open(scan)
    assert np.array_equal(shown[0].array, case_of("", SCAN, TRUTH, np.zeros(4)).images)
    assert np.allclose(shown[0].spacing, (0.62, 0.62, 7.8))
    assert np.array_equal(made.result(), scan.array > 80)


def test_slices_and_grey_window_of_the_training_are_those_of_the_prediction(nnunet, tmp_path):
    cases = prepared(tmp_path / "cases", axis="axial", grey_window=[0.0, 100.0])
    process = NnUnetProcess(nnunet.python, tmp_path / "out")
    model = train_nnunet(process, DataConfig(str(cases)), 0.1)
    shown = upright_scan(model, SCAN)
    assert shown.stack.axis == "axial"
    assert shown.volume().array.max() == 255
    assert shown.volume().array.shape == SliceStack(SCAN, "axial").array.shape


def test_scans_without_the_size_of_their_voxels_are_refused(nnunet, tmp_path):
    cases = prepared(tmp_path / "cases")
    for path in cases.glob("*.npz"):
        replace(TrainingCase.load(path), voxel_mm=None).save(path)
    with pytest.raises(BadInput, match="prepare them again"):
        train_nnunet(NnUnetProcess(nnunet.python, tmp_path), DataConfig(str(cases)), 1)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["nnunet"], "pip install nnunetv2"),
        (["nnunet", "--python", "nowhere"], "no Python at"),
        (["nnunet", "--python", "nowhere", "--steps", "5"], "--minutes"),
        (["nnunet", "--python", "nowhere", "--minutes", "0"], "more than 0"),
        (["unet", "--python", "nowhere"], "of nnunet"),
    ],
)
def test_a_training_that_cannot_be_is_refused(tmp_path, capsys, words, why):
    assert mois("train-baseline", *words, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err.strip()
    assert why in said
    assert len(said.splitlines()) == 1


# ---- files and folders -------------------------------------------------------------------------


def test_no_scan_is_left_on_the_disk(nnunet, model, tmp_path):
    made = segmenter(nnunet, model, tmp_path)
    made.open(SCAN)
    assert [path.name for path in tmp_path.rglob("*")] == ["nnunet.log"]

    (broken := tmp_path / "model" / "fold_all").mkdir(parents=True)
    (broken / "checkpoint_final.pth").write_text("{}", "utf-8")
    for name in ("dataset.json", "plans.json"):
        (tmp_path / "model" / name).write_text("{}", "utf-8")
    with pytest.raises(BadInput, match="failed: .*file_ending.*nnunet.log has all"):
        segmenter(nnunet, tmp_path / "model", tmp_path / "again").open(SCAN)
    assert [path.name for path in (tmp_path / "again").rglob("*")] == ["nnunet.log"]


def test_our_own_packages_do_not_reach_its_environment(nnunet, model, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong numpy')\n", "utf-8")
    segmenter(nnunet, model, tmp_path / "files").open(SCAN)


@pytest.mark.parametrize("lacking", ["dataset.json", "plans.json", "fold_all"])
def test_a_folder_that_is_no_model_is_refused(nnunet, model, tmp_path, lacking):
    for name in {"dataset.json", "plans.json"} - {lacking}:
        (tmp_path / name).write_text("{}", "utf-8")
    if lacking != "fold_all":
        (tmp_path / "fold_all").mkdir()
        (tmp_path / "fold_all" / "checkpoint_final.pth").write_text("", "utf-8")
    with pytest.raises(BadInput, match=f"no trained nnU-Net: {lacking.replace('all', '')}"):
        NnUnet(str(tmp_path), str(nnunet.python)).require()


def test_what_is_missing_is_said_with_what_to_do(nnunet, model, tmp_path):
    with pytest.raises(Missing, match="pip install nnunetv2"):
        NnUnet(str(model)).require()
    with pytest.raises(Missing, match="no Python at"):
        NnUnet(str(model), str(tmp_path / "python")).require()
    (tmp_path / "python").write_text("", "utf-8")
    with pytest.raises(Missing, match="not installed beside"):
        NnUnet(str(model), str(tmp_path / "python")).require()
    with pytest.raises(Missing, match="no folder none;") as told:
        NnUnet(str(tmp_path / "none"), str(nnunet.python)).require()
    assert str(tmp_path) not in str(told.value), "the reason stands in results, which travel"
    with pytest.raises(BadInput, match="nothing to learn from"):
        NnUnetProcess(nnunet.python, tmp_path).train([], minutes=1)


def test_it_is_evaluated_beside_others_and_left_out_where_it_is_not_installed(
    nnunet, model, tmp_path
):
    cases = read_cohort(write_cohort(tmp_path / "cohort", sets=("near",), scans=1))
    spec = f"nnunet={model},python={nnunet.python}"
    results = run_plan(plan_of(cases, "region-growing", spec), tmp_path / "out")
    rows = read_rows(results.folder)
    assert [(row["segmenter"], row["clicks"]) for row in rows][1] == ("nnU-Net", 0)
    assert not read_rows(results.folder, "failures.csv")

    asked = [parse_spec("region-growing"), parse_spec(f"nnunet={model}")]
    specs, left_out = without_missing(asked)
    assert [one.name for one in specs] == ["Region growing"]
    assert "an environment of its own" in left_out["nnU-Net"]


def test_its_name_says_nothing_of_where_it_lies():
    assert parse_spec("nnunet=model,python=bin/python").name == "nnU-Net"

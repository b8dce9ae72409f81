"""nnU-Net's files and commands, with a stand-in for its program that is as strict as it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from command_line import mois
from engine_fixtures import LESION, SCENE, scan_of, volume_of
from evaluation_fixtures import truth_of, write_cohort
from orientations import STORAGE_ORDERS, stored_as
from stand_in_nnunet import write_environment

from mois_core.errors import BadInput
from mois_core.evaluation.baselines.nnunet import NnUnet
from mois_core.evaluation.baselines.nnunet_process import DATASET, NnUnetProcess
from mois_core.evaluation.results_folder import read_rows
from mois_core.evaluation.segmenter_specs import parse_spec
from mois_core.evaluation.segmenters import Missing, Surroundings
from mois_core.geometry import Volume

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


def test_no_scan_is_left_on_the_disk(nnunet, model, tmp_path):
    made = segmenter(nnunet, model, tmp_path)
    made.open(SCAN)
    assert [path.name for path in tmp_path.rglob("*")] == ["nnunet.log"]

    (broken := tmp_path / "model" / "fold_all").mkdir(parents=True)
    (broken / "checkpoint_final.pth").write_text("{}")
    for name in ("dataset.json", "plans.json"):
        (tmp_path / "model" / name).write_text("{}")
    with pytest.raises(BadInput, match="failed: .*file_ending.*nnunet.log has all"):
        segmenter(nnunet, tmp_path / "model", tmp_path / "again").open(SCAN)
    assert [path.name for path in (tmp_path / "again").rglob("*")] == ["nnunet.log"]


def test_our_own_packages_do_not_reach_its_environment(nnunet, model, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong numpy')\n")
    segmenter(nnunet, model, tmp_path / "files").open(SCAN)


@pytest.mark.parametrize("lacking", ["dataset.json", "plans.json", "fold_all"])
def test_a_folder_that_is_no_model_is_refused(nnunet, model, tmp_path, lacking):
    for name in {"dataset.json", "plans.json"} - {lacking}:
        (tmp_path / name).write_text("{}")
    if lacking != "fold_all":
        (tmp_path / "fold_all").mkdir()
        (tmp_path / "fold_all" / "checkpoint_final.pth").write_text("")
    with pytest.raises(BadInput, match=f"no trained nnU-Net: {lacking.replace('all', '')}"):
        NnUnet(str(tmp_path), str(nnunet.python)).require()


def test_what_is_missing_is_said_with_what_to_do(nnunet, model, tmp_path):
    with pytest.raises(Missing, match="pip install nnunetv2"):
        NnUnet(str(model)).require()
    with pytest.raises(Missing, match="no Python at"):
        NnUnet(str(model), str(tmp_path / "python")).require()
    (tmp_path / "python").write_text("")
    with pytest.raises(Missing, match="not installed beside"):
        NnUnet(str(model), str(tmp_path / "python")).require()
    with pytest.raises(Missing, match="no folder"):
        NnUnet(str(tmp_path / "none"), str(nnunet.python)).require()
    with pytest.raises(BadInput, match="nothing to learn from"):
        NnUnetProcess(nnunet.python, tmp_path).train([], minutes=1)


def test_it_is_evaluated_beside_others_and_left_out_where_it_is_not_installed(
    nnunet, model, tmp_path, capsys
):
    cohort = write_cohort(tmp_path / "cohort", sets=("near",), scans=1)
    growing = ["evaluate", str(cohort), "--segmenter", "region-growing", "--smallest-cm3", "0"]
    spec = f"nnunet={model},python={nnunet.python}"
    assert mois(*growing, "--segmenter", spec, "--out", str(tmp_path / "out")) == 0
    rows = read_rows(tmp_path / "out")
    assert [(row["segmenter"], row["clicks"]) for row in rows][1] == ("nnU-Net", 0)
    assert not read_rows(tmp_path / "out", "failures.csv")

    assert mois(*growing, "--segmenter", f"nnunet={model}", "--out", str(tmp_path / "two")) == 0
    assert "nnU-Net is left out: nnU-Net runs in an environment of its own" in (
        capsys.readouterr().err
    )
    left_out = json.loads((tmp_path / "two" / "plan.json").read_text())["left_out"]
    assert list(left_out) == ["nnU-Net"]


def test_its_name_says_nothing_of_where_it_lies():
    assert parse_spec("nnunet=model,python=bin/python").name == "nnU-Net"

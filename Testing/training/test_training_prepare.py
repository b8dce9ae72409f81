"""From scans and label maps to cases: lesions, folds, and the network that a run starts with."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from training_fixtures import CONFIGS

from mois_core.cli import main
from mois_core.errors import BadInput
from mois_core.geometry import SliceStack, Volume
from mois_core.io import write_image
from mois_core.io.scan_folder import read_scans
from mois_core.network.config import preset
from mois_core.network.loading import build
from mois_core.phantom import PhantomSettings, make_phantom
from mois_core.training.config import DataConfig, InteractionConfig, SamplingConfig, TrainConfig
from mois_core.training.config_file import read_config
from mois_core.training.initial_network import new_model
from mois_core.training.label_values import classes_in, instances_of
from mois_core.training.prepare import folds_of
from mois_core.training.resized_case import ResizedCase
from mois_core.training.scans import held_back, load_scans
from mois_core.training.trainer import Trainer
from mois_core.training.training_case import TrainingCase
from mois_core.training.validation import measure_cases

RSA = np.array([[1.5, 0, 0, -9], [0, 0, 7.8, 4], [0, 1.5, 0, -2], [0, 0, 0, 1.0]])
LPI = np.array([[-1.5, 0, 0, 9], [0, -7.8, 0, 4], [0, 0, -1.5, 2], [0, 0, 0, 1.0]])


@pytest.fixture
def a_table(tmp_path):
    """Three scans of two patients, one of them stored in another orientation."""
    lines = ["scan,labels,patient"]
    for scan_index, (affine, patient) in enumerate([(RSA, "a"), (LPI, "a"), (RSA, "b")]):
        rng = np.random.default_rng(scan_index)
        shape = (4, 40, 24) if affine is RSA else (40, 4, 24)
        scan = rng.integers(1, 900, size=shape).astype(np.int16)
        labels = np.zeros(shape, dtype=np.uint8)
        # On the same voxels of the patient in both orientations.
        block = np.zeros((4, 40, 24), dtype=np.uint8)
        block[1:3, 5:12, 5:12] = 1
        block[2:4, 20:36, 10:20] = 1
        labels[...] = block if affine is RSA else block.transpose(1, 0, 2)
        write_image(tmp_path / f"scan {scan_index}.nii.gz", Volume(scan, affine))
        write_image(tmp_path / f"labels {scan_index}.nii.gz", Volume(labels, affine))
        lines.append(f"scan {scan_index}.nii.gz,labels {scan_index}.nii.gz,{patient}")
    path = tmp_path / "scans.csv"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def test_a_case_lies_in_its_volume_as_in_the_network():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, size=(3, 7, 5)).astype(np.uint8)
    case = TrainingCase("one", images, np.zeros_like(images), np.zeros(1, dtype=np.uint8))
    np.testing.assert_array_equal(SliceStack(case.volume()).array, images)


def test_prepared_scans_can_be_trained_on(a_table, tmp_path, capsys):
    out = tmp_path / "prepared"
    assert main(["prepare", str(a_table), "--out", str(out), "--folds", "2"]) == 0
    said = capsys.readouterr().out
    assert "3 scans of 2 patients in 2 folds" in said and "tumours: 2 (2 to 2)" in said
    index = json.loads((out / "cases.json").read_text("utf-8"))
    folds = [case["fold"] for case in index["cases"]]
    assert folds[0] == folds[1] != folds[2]
    data = DataConfig(prepared=str(out), fold=folds[2])
    learned, kept_back = load_scans(data, (64, 32)), held_back(data)
    assert [len(learned), len(kept_back)] == [2, 1]
    assert all(scan.images.shape == (4, 64, 32) for scan in learned)
    assert {lesion.lesion_id for lesion in learned[0].lesions_on_slices} == {1, 2}
    torch.manual_seed(0)
    values = measure_cases(build(preset("mois-tiny")).eval(), kept_back, exemplars=2)
    assert 0 <= values["scan"] == values["score"] <= 1 and 0 <= values["clicked"] <= 1


def test_labels_of_another_grid_are_refused(a_table, tmp_path, capsys):
    labels = np.zeros((4, 40, 24), dtype=np.uint8)
    write_image(tmp_path / "labels 0.nii.gz", Volume(labels, RSA + np.eye(4, k=3) * 5))
    assert main(["prepare", str(a_table), "--out", str(tmp_path / "out"), "--folds", "2"]) == 2
    assert "voxel grid" in capsys.readouterr().err


def test_a_table_without_labels_is_refused(tmp_path):
    path = tmp_path / "scans.csv"
    path.write_text("scan,labels\none.nii.gz,\n", "utf-8")
    with pytest.raises(BadInput, match="'labels' is empty"):
        read_scans(path)


def test_no_patient_is_in_two_folds():
    patients = [f"p{n % 7}" for n in range(30)]
    folds = folds_of(patients, 3, seed=1)
    assert folds == folds_of(patients[::-1], 3, seed=1)
    sizes = np.bincount(list(folds.values()))
    assert sizes.sum() == 7 and sizes.max() - sizes.min() <= 1
    with pytest.raises(BadInput, match="cannot be put into"):
        folds_of(["a", "a"], 2, seed=1)


def test_lesions_are_numbered_by_size_and_the_255_largest_are_kept():
    labels = np.zeros((1, 40, 80), dtype=np.uint8)
    labels[0, ::2, ::2] = 1
    labels[0, 0:3, 0:3] = 1
    instances, left_out = instances_of(labels)
    assert instances[0, 1, 1] == 1 and instances.max() == 255
    assert left_out == 40 * 80 // 4 - 3 - 255


def test_lesions_by_number_do_not_look_like_classes():
    labels = np.zeros((6, 40, 40), dtype=np.uint8)
    labels[1:3, 2:12, 2:12] = 1
    labels[1:3, 12:20, 2:12] = 2  # touches the first
    labels[4, 20:30, 20:30] = 3
    labels[0, 34:38, 34:38] = labels[5, 34:38, 34:38] = 4  # in two places
    assert classes_in(labels) == ()
    assert classes_in((labels > 0).astype(np.uint8)) == ()


def test_classes_are_in_several_places_or_within_each_other():
    scattered = np.zeros((6, 40, 40), dtype=np.uint8)
    scattered[:, 2:30, 2:30] = 1
    within = scattered.copy()
    within[2:4, 10:14, 10:14] = 2
    scattered[:, 32:36, 2:6] = scattered[:, 32:36, 20:24] = 5
    assert classes_in(scattered) == (1, 5)
    assert classes_in(within) == (1, 2)


@pytest.mark.parametrize("seed", [11, 12])
def test_the_lesions_of_phantoms_do_not_look_like_classes(seed):
    phantom = make_phantom(seed, PhantomSettings(size=(256, 80), slices=20, lesions=16))
    assert 1 < len(np.unique(phantom.instances)) - 1 <= 20
    assert classes_in(phantom.instances) == ()


def test_a_second_memory_begins_as_a_copy_of_the_first(tmp_path):
    sam2 = build(preset("slm-tiny")).state_dict()
    sam2 = {name: value for name, value in sam2.items() if not name.startswith("rec")}
    torch.save({"model": sam2}, tmp_path / "sam2.pt")
    config = TrainConfig(
        model="slm-tiny", start=str(tmp_path / "sam2.pt"), start_is_sam2=True, frozen=("*norm*",)
    )
    model = new_model(config)
    state = model.state_dict()
    copied = [name for name in state if name.startswith("recent_memory_attention.")]
    for name in copied:
        assert torch.equal(state[name], sam2[name.replace("recent_", "", 1)])
    assert copied and not model.memory_attention.norm.weight.requires_grad


@pytest.mark.full
def test_a_step_at_full_size_runs_on_a_processor(tmp_path):
    """The published network, one slice of 1024 x 1024: clicks, one correction, search, update."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, size=(2, 1024, 1024)).astype(np.uint8)
    labels = np.zeros_like(images)
    labels[:, 100:200, 300:420] = 1
    labels[:, 600:800, 500:600] = 2
    scans = [ResizedCase("one", images, labels, np.zeros(3, dtype=np.uint8))]
    config = replace(
        read_config(CONFIGS / "mois-sam2-b+.json"),
        start=None,
        start_is_sam2=False,
        steps=1,
        autocast=False,
        data=DataConfig(),
        sampling=SamplingConfig(scans=1, consecutive=1, elsewhere=0),
        interaction=InteractionConfig(mean_corrections=0.0, painted=0.0),
    )
    trainer = Trainer(config, tmp_path, scans=scans)
    before = trainer.model.no_mem_embed.detach().clone()
    trainer.run()
    assert not torch.equal(trainer.model.no_mem_embed, before)

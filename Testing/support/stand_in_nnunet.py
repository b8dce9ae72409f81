"""A tiny program in the place of nnU-Net: as strict on files and options, and done in a second.

What it refuses is what ``nnunetv2`` 2.8.1 refuses: of a data set, in its
``verify_dataset_integrity``; of options, in its parsers; of a model's folder, in
``initialize_from_trained_model_folder``. Its network is a threshold between lesions and the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import SimpleITK

COMMANDS = ("nnUNetv2_plan_and_preprocess", "nnUNetv2_train", "nnUNetv2_predict_from_modelfolder")
REQUIRED = ("labels", "channel_names", "numTraining", "file_ending")


def write_environment(folder: Path) -> Path:
    """Write an environment with nnU-Net's commands; return its Python."""
    folder.mkdir(parents=True)
    python = folder / "python"
    python.write_text("never started\n", "utf-8")
    for name in COMMANDS:
        call = f'"{sys.executable}" "{Path(__file__).resolve()}" {name}'
        if os.name == "nt":
            (folder / f"{name}.bat").write_text(f"@{call} %*\n", "utf-8")
        else:
            script = folder / name
            script.write_text(f'#!/bin/sh\nexec {call} "$@"\n', "utf-8")
            script.chmod(0o755)
    return python


def folder_of(variable: str) -> Path:
    if variable not in os.environ:
        raise RuntimeError(f"{variable} is not defined.")
    return Path(os.environ[variable])


def parsed(name: str) -> argparse.Namespace:
    """Parse with the options that nnU-Net's own parsers have, and no others."""
    parser = argparse.ArgumentParser(prog=name, allow_abbrev=True)
    if name == COMMANDS[0]:
        parser.add_argument("-d", nargs="+", type=int)
        for option in ("-fpe", "-pl", "-preprocessor_name", "-overwrite_plans_name"):
            parser.add_argument(option)
        parser.add_argument("-npfp", type=int, default=8)
        parser.add_argument("-gpu_memory_target", type=float)
        parser.add_argument("-overwrite_target_spacing", nargs="+")
        parser.add_argument("-c", nargs="+", default=["2d", "3d_fullres", "3d_lowres"])
        parser.add_argument("-np", type=int, nargs="+")
        for option in ("--verify_dataset_integrity", "--no_pp", "--clean", "--verbose"):
            parser.add_argument(option, action="store_true")
    elif name == COMMANDS[1]:
        parser.add_argument("dataset")
        parser.add_argument("configuration")
        parser.add_argument("fold")
        parser.add_argument("-tr", default="nnUNetTrainer")
        parser.add_argument("-p", default="nnUNetPlans")
        parser.add_argument("-pretrained_weights")
        parser.add_argument("-num_gpus", type=int, default=1)
        parser.add_argument("-device", default="cuda", choices=["cpu", "cuda", "mps"])
        for option in ("--npz", "--c", "--val", "--val_best", "--disable_checkpointing"):
            parser.add_argument(option, action="store_true")
    else:
        for option in ("-i", "-o", "-m"):
            parser.add_argument(option, required=True)
        parser.add_argument("-f", nargs="+", default=["0", "1", "2", "3", "4"])
        parser.add_argument("-step_size", type=float, default=0.5)
        parser.add_argument("-chk", default="checkpoint_final.pth")
        parser.add_argument("-npp", type=int, default=3)
        parser.add_argument("-nps", type=int, default=3)
        parser.add_argument("-prev_stage_predictions")
        parser.add_argument("-device", default="cuda", choices=["cpu", "cuda", "mps"])
        for option in (
            *("--disable_tta", "--verbose", "--save_probabilities", "--continue_prediction"),
            *("--disable_progress_bar", "--not_on_device"),
        ):
            parser.add_argument(option, action="store_true")
    return parser.parse_args(sys.argv[2:])


def cases_in(folder: Path, ending: str) -> dict[str, list[Path]]:
    """Return each case's files: nnU-Net takes a channel of four digits before the ending."""
    files = sorted(path.name for path in folder.iterdir() if path.name.endswith(ending))
    cases = {name[: -len(ending) - 5] for name in files}
    pattern = {
        case: re.compile(re.escape(case) + r"_\d\d\d\d" + re.escape(ending)) for case in cases
    }
    return {
        case: [folder / name for name in files if pattern[case].fullmatch(name)]
        for case in sorted(cases)
    }


def verify(raw: Path) -> None:
    content = json.loads((raw / "dataset.json").read_text("utf-8"))
    assert all(key in content for key in REQUIRED), "not all required keys are present"
    ending = content["file_ending"]
    cases = cases_in(raw / "imagesTr", ending)
    assert len(cases) == content["numTraining"], "Did not find the expected number of cases"
    values = sorted(content["labels"].values())
    assert values == list(range(len(values))), "Labels must be in consecutive order"
    assert content["labels"]["background"] == 0, "Background label must be 0"
    for case, channels in cases.items():
        labels_file = raw / "labelsTr" / f"{case}{ending}"
        assert labels_file.is_file(), f"not all training cases have a label file: {case}"
        assert len(channels) == len(content["channel_names"]), "Unexpected number of modalities"
        image = SimpleITK.ReadImage(str(channels[0]))
        labels = SimpleITK.ReadImage(str(labels_file))
        assert image.GetSize() == labels.GetSize(), "Shape mismatch"
        for what in ("GetSpacing", "GetOrigin", "GetDirection"):
            assert np.allclose(getattr(image, what)(), getattr(labels, what)()), f"{what} mismatch"
        assert not np.isnan(SimpleITK.GetArrayFromImage(image)).any(), "NaN pixel values"
        found = set(np.unique(SimpleITK.GetArrayFromImage(labels)).tolist())
        assert found <= set(values), f"Unexpected labels found: {found}"


def plan(options: argparse.Namespace) -> None:
    for number in options.d:
        found = list(folder_of("nnUNet_raw").glob(f"Dataset{number:03d}*"))
        assert len(found) == 1, f"Could not find a dataset with the ID {number}"
        if options.verify_dataset_integrity:
            verify(found[0])
        planned = folder_of("nnUNet_preprocessed") / found[0].name
        planned.mkdir(parents=True, exist_ok=True)
        (planned / "dataset.json").write_bytes((found[0] / "dataset.json").read_bytes())
        names = {name: {} for name in options.c}
        (planned / "nnUNetPlans.json").write_text(json.dumps({"configurations": names}), "utf-8")


def has_trainer(name: str) -> bool:
    files = folder_of("nnUNet_extTrainer").glob("*.py")
    return any(f"class {name}(nnUNetTrainer)" in path.read_text("utf-8") for path in files)


def train(options: argparse.Namespace) -> None:
    assert options.fold == "all" or int(options.fold) >= 0
    assert has_trainer(options.tr), f"Could not find requested nnunet trainer {options.tr}"
    planned = folder_of("nnUNet_preprocessed") / options.dataset
    plans = json.loads((planned / f"{options.p}.json").read_text("utf-8"))
    assert options.configuration in plans["configurations"], "no such configuration"
    minutes = float(os.environ["MOIS_NNUNET_MINUTES"])

    raw = folder_of("nnUNet_raw") / options.dataset
    inside, outside = [], []
    for case, channels in cases_in(raw / "imagesTr", ".nii.gz").items():
        voxels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(channels[0])))
        labels = SimpleITK.ReadImage(str(raw / "labelsTr" / f"{case}.nii.gz"))
        is_lesion = SimpleITK.GetArrayFromImage(labels) > 0
        inside.append(voxels[is_lesion].mean())
        outside.append(voxels[~is_lesion].mean())
    model = (
        folder_of("nnUNet_results")
        / options.dataset
        / f"{options.tr}__{options.p}__{options.configuration}"
    )
    fold = model / f"fold_{options.fold}"
    fold.mkdir(parents=True)
    (model / "dataset.json").write_bytes((planned / "dataset.json").read_bytes())
    (model / "plans.json").write_text(json.dumps(plans), "utf-8")
    threshold = (np.mean(inside) + np.mean(outside)) / 2
    checkpoint = {"trainer_name": options.tr, "threshold": float(threshold)}
    (fold / "checkpoint_final.pth").write_text(json.dumps(checkpoint), "utf-8")
    told = {"minutes": minutes, "steps": 1, "parameters": 1}
    (model / "training.json").write_text(json.dumps(told), "utf-8")


def predict(options: argparse.Namespace) -> None:
    model = Path(options.m)
    ending = json.loads((model / "dataset.json").read_text("utf-8"))["file_ending"]
    json.loads((model / "plans.json").read_text("utf-8"))
    for fold in options.f:
        assert fold == "all" or int(fold) >= 0
        checkpoint = json.loads((model / f"fold_{fold}" / options.chk).read_text("utf-8"))
        assert has_trainer(checkpoint["trainer_name"]), "Could not find requested nnunet trainer"
    out = Path(options.o)
    out.mkdir(parents=True, exist_ok=True)
    for case, channels in cases_in(Path(options.i), ending).items():
        image = SimpleITK.ReadImage(str(channels[0]))
        found = SimpleITK.GetArrayFromImage(image) > checkpoint["threshold"]
        answer = SimpleITK.GetImageFromArray(found.astype(np.uint8))
        answer.CopyInformation(image)
        SimpleITK.WriteImage(answer, str(out / f"{case}{ending}"))


if __name__ == "__main__":
    command = sys.argv[1]
    {COMMANDS[0]: plan, COMMANDS[1]: train, COMMANDS[2]: predict}[command](parsed(command))

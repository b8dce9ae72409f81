"""nnU-Net as a process of its own: PyPI's ``nnunetv2`` in an environment of its own.

What it needs must not stand among our dependencies, so nothing of it is imported here. Scans go
to it and masks come back as files in nnU-Net's own layout, in a folder that the caller names:

  nnUNet_raw/Dataset501_MOIS      dataset.json, imagesTr/case_0001_0000.nii.gz and so on
  nnUNet_preprocessed             what its planning makes of them
  nnUNet_results                  the trained model
  nnunet.log                      what it prints
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mois_core.errors import BadInput
from mois_core.evaluation.baselines.environments import environment_without_ours
from mois_core.evaluation.segmenters import Missing
from mois_core.geometry import Volume, same_grid
from mois_core.io import read_labels, write_image
from mois_core.training.parallel import cores

PLAN = "nnUNetv2_plan_and_preprocess"
TRAIN = "nnUNetv2_train"
PREDICT = "nnUNetv2_predict_from_modelfolder"

DATASET = "Dataset501_MOIS"
CONFIGURATION = "3d_fullres"
TRAINER = "TimedTrainer"
MODEL = f"{TRAINER}__nnUNetPlans__{CONFIGURATION}"
FOLD = "all"
"""Learn from all cases: which scans are left out is decided before they come here."""

ENDING = ".nii.gz"
GET_IT = (
    "make an environment for it with 'python -m venv nnunet' and that one's 'pip install "
    "nnunetv2', and name its Python, like python=nnunet/bin/python"
)

_TRAINERS = Path(__file__).parent / "nnunet_trainer"


@dataclass(frozen=True)
class NnUnetProcess:
    """nnU-Net of one environment, working in one folder."""

    python: Path
    """The environment's interpreter, beside which nnU-Net's commands lie."""
    work: Path
    device: str = "cpu"
    threads: int | None = None
    memory_gb: float | None = None
    """GPU memory that nnU-Net plans its patches for; None leaves it to nnU-Net."""

    def command(self, name: str) -> str:
        """Return the file of one of nnU-Net's commands; refuse an environment without it."""
        if not self.python.is_file():
            raise Missing(f"there is no Python at the place that was named; {GET_IT}")
        found = shutil.which(name, path=str(self.python.parent))
        if found is None:
            raise Missing(f"nnU-Net is not installed beside the Python that was named; {GET_IT}")
        return found

    def run(self, name: str, *arguments: str, **settings: str) -> None:
        """Run one of nnU-Net's commands to its end; what it prints goes to the log."""
        command = self.command(name)
        self.work.mkdir(parents=True, exist_ok=True)
        log = self.work / "nnunet.log"
        with log.open("ab") as output:
            start = output.tell()
            code = subprocess.run(
                [command, *arguments],
                env=self._environment() | settings,
                cwd=self.work,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        if code != 0:
            printed = log.read_bytes()[start:].decode(errors="replace").strip().splitlines()
            last = printed[-1] if printed else "it printed nothing"
            raise BadInput(f"{name} failed: {last}; {log} has all that it printed")

    @property
    def _device(self) -> tuple[str, str]:
        """It knows kinds of devices alone; which one of several, CUDA's own variables tell it."""
        return "-device", self.device.partition(":")[0]

    def _environment(self) -> dict[str, str]:
        return {
            **environment_without_ours(),
            "MOIS_NNUNET_THREADS": str(self.threads or cores()),
            "nnUNet_raw": str(self.work / "nnUNet_raw"),
            "nnUNet_preprocessed": str(self.work / "nnUNet_preprocessed"),
            "nnUNet_results": str(self.work / "nnUNet_results"),
            "nnUNet_extTrainer": str(_TRAINERS),
            "nnUNet_def_n_proc": str(self.threads or cores()),
        }

    # ---- training ----------------------------------------------------------------------------

    def train(self, cases: Iterable[tuple[Volume, np.ndarray]], minutes: float) -> Path:
        """Let nnU-Net plan for and learn from scans and their masks; return the model's folder.

        Arrays are in the scans' own order. ``minutes`` is the training's time, without that for
        planning and preprocessing.
        """
        self.command(TRAIN)
        self._write_cases(cases)
        processes = str(self.threads or cores())
        self.run(
            PLAN,
            *("-d", DATASET.removeprefix("Dataset").partition("_")[0]),
            *("-c", CONFIGURATION, "-npfp", processes, "-np", processes),
            *("--verify_dataset_integrity", "--clean"),
            *([] if self.memory_gb is None else ["-gpu_memory_target", f"{self.memory_gb:g}"]),
        )
        self.run(
            TRAIN,
            *(DATASET, CONFIGURATION, FOLD, "-tr", TRAINER, *self._device),
            MOIS_NNUNET_MINUTES=f"{minutes:g}",
        )
        model = self.work / "nnUNet_results" / DATASET / MODEL
        check_model(model)
        return model

    def _write_cases(self, cases: Iterable[tuple[Volume, np.ndarray]]) -> None:
        """Write cases by number: no name of a scan leaves it."""
        raw = self.work / "nnUNet_raw" / DATASET
        shutil.rmtree(raw, ignore_errors=True)
        for part in ("imagesTr", "labelsTr"):
            (raw / part).mkdir(parents=True)
        count = 0
        for count, (volume, mask) in enumerate(cases, start=1):
            name = f"case_{count:04d}"
            write_image(raw / "imagesTr" / f"{name}_0000{ENDING}", volume)
            labels = Volume((mask > 0).astype(np.uint8), volume.ijk_to_ras)
            write_image(raw / "labelsTr" / f"{name}{ENDING}", labels)
        if not count:
            raise BadInput("nnU-Net has nothing to learn from: no scan was given")
        content = {
            "channel_names": {"0": "MRI"},
            "labels": {"background": 0, "lesion": 1},
            "numTraining": count,
            "file_ending": ENDING,
        }
        text = json.dumps(content, indent=1) + "\n"
        (raw / "dataset.json").write_text(text, encoding="utf-8")

    # ---- predicting --------------------------------------------------------------------------

    def predict(self, model: Path, volume: Volume) -> np.ndarray:
        """Return a scan's mask in the scan's own order, by a trained model's folder.

        The scan is written into the working folder for the time of the prediction only.
        """
        folds = folds_of(model)
        given, answers = self.work / "scan", self.work / "answer"
        try:
            for folder in (given, answers):
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
            write_image(given / f"scan_0000{ENDING}", volume)
            self.run(
                PREDICT,
                *("-i", str(given), "-o", str(answers), "-m", str(model), "-f", *folds),
                *(*self._device, "-npp", "1", "-nps", "1", "--disable_progress_bar"),
            )
            answer = read_labels(answers / f"scan{ENDING}", volume)
            if not same_grid(volume, answer):
                raise BadInput("nnU-Net's mask does not lie on the voxel grid of the scan")
            return answer.array > 0
        finally:
            for folder in (given, answers):
                shutil.rmtree(folder, ignore_errors=True)


def check_model(model: Path) -> None:
    """Refuse a folder that is no trained nnU-Net."""
    missing = [name for name in ("dataset.json", "plans.json") if not (model / name).is_file()]
    if missing or not folds_of(model):
        lacks = ", ".join([*missing, *([] if folds_of(model) else ["fold_*/checkpoint_final.pth"])])
        raise BadInput(
            f"{model} is no trained nnU-Net: {lacks} is missing; give the folder named "
            "TRAINER__PLANS__CONFIGURATION in nnUNet_results"
        )


def folds_of(model: Path) -> list[str]:
    """Return the trained folds in a model's folder, as nnU-Net takes them."""
    found = sorted(model.glob("fold_*/checkpoint_final.pth"))
    return [path.parent.name.removeprefix("fold_") for path in found]

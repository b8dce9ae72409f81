"""nnU-Net's own training for a number of minutes instead of a number of epochs.

nnU-Net loads this file in its own environment: it looks for trainers in the folder that
``nnUNet_extTrainer`` names. Nothing of ours imports it.
"""

import json
import os
import time
from pathlib import Path

import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

MINUTES = "MOIS_NNUNET_MINUTES"
THREADS = "MOIS_NNUNET_THREADS"


class _PolynomialOverTime(PolyLRScheduler):
    """nnU-Net's learning rate, which falls with the time that is gone instead of with epochs."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, rate: float, trainer: "TimedTrainer"
    ) -> None:
        self.trainer = trainer
        super().__init__(optimizer, rate, max_steps=1)

    def step(self, current_step: int | None = None) -> None:
        super().step(self.trainer.part_done())


class TimedTrainer(nnUNetTrainer):
    """Every other thing about the training is nnU-Net's: network, loss, optimiser, augmentation.

    The seconds count from the first step, as for the other baselines. The validation that follows
    a training is left out: it would predict every training scan.
    """

    # nnU-Net reads the names of these arguments.
    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int | str,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.budget = 60 * float(os.environ[MINUTES])
        self.started: float | None = None
        self.steps = 0
        # nnU-Net takes all cores of the machine, also those that this process may not use.
        torch.set_num_threads(int(os.environ[THREADS]))

    def part_done(self) -> float:
        """Return how much of the time is gone, 0 to 1."""
        if self.started is None:
            return 0.0
        return min((time.monotonic() - self.started) / self.budget, 1.0)

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, PolyLRScheduler]:
        optimizer, _ = super().configure_optimizers()
        return optimizer, _PolynomialOverTime(optimizer, self.initial_lr, self)

    def run_training(self) -> None:
        self.on_train_start()
        self.started = time.monotonic()
        while self.part_done() < 1:
            self.on_epoch_start()
            self.on_train_epoch_start()
            outputs = []
            while len(outputs) < self.num_iterations_per_epoch:
                self.lr_scheduler.step()
                outputs.append(self.train_step(next(self.dataloader_train)))
                self.steps += 1
                if self.part_done() >= 1:
                    break
            self.on_train_epoch_end(outputs)
            self._validate(len(outputs))
            self.on_epoch_end()
        self.on_train_end()
        self._tell()

    def _validate(self, steps: int) -> None:
        """Measure with nnU-Net's ratio of batches, so that a short epoch is not mostly this."""
        count = max(1, steps * self.num_val_iterations_per_epoch // self.num_iterations_per_epoch)
        with torch.no_grad():
            self.on_validation_epoch_start()
            outputs = [self.validation_step(next(self.dataloader_val)) for _ in range(count)]
            self.on_validation_epoch_end(outputs)

    def _tell(self) -> None:
        """Write what the training was given."""
        told = {
            "minutes": round((time.monotonic() - self.started) / 60, 2),
            "device": self.device.type,
            "steps": self.steps,
            "parameters": sum(one.numel() for one in self.network.parameters()),
        }
        path = Path(self.output_folder_base) / "training.json"
        path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Leave it out."""

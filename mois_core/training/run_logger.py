"""What a run says while it runs: a line now and then, a file of all numbers, TensorBoard."""

from __future__ import annotations

import json
import time
from pathlib import Path

LOG = "log.jsonl"


class RunLogger:
    """Writes numbers of steps and validations; TensorBoard is used where it is installed."""

    def __init__(self, out: Path, steps: int) -> None:
        self.path = out / LOG
        self.steps = steps
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.seconds = 0.0
        self.number = 0
        try:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(out / "tensorboard"))
        except ImportError:
            self.board = None

    def step(self, number: int, losses: dict[str, float], seconds: float, say: bool) -> None:
        """Take in one step's numbers; with ``say`` the means since the last time come out."""
        for name, value in losses.items():
            # A part that did not occur in this step is zero and would only blur the mean.
            if value:
                self.sums[name] = self.sums.get(name, 0.0) + value
                self.counts[name] = self.counts.get(name, 0) + 1
        self.seconds += seconds
        self.number += 1
        if not say:
            return
        means = {name: total / self.counts[name] for name, total in self.sums.items()}
        pace = self.seconds / self.number
        left = (self.steps - number) * pace / 60
        parts = "  ".join(f"{name} {value:.3f}" for name, value in means.items())
        print(f"step {number}/{self.steps}  {pace:.2f} s  {left:.0f} min left  {parts}", flush=True)
        self._write({"step": number, "seconds": round(pace, 3), **means})
        self.sums, self.counts, self.seconds, self.number = {}, {}, 0.0, 0

    def validation(self, number: int, values: dict[str, float]) -> None:
        """Say and keep what was measured."""
        shown = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
        print(f"step {number}/{self.steps}  validation  {shown}", flush=True)
        self._write({"step": number, "validation": values})

    def _write(self, entry: dict) -> None:
        entry["time"] = round(time.time(), 1)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        if self.board:
            for name, value in (entry.get("validation") or entry).items():
                if name not in ("step", "time"):
                    self.board.add_scalar(name, value, entry["step"])

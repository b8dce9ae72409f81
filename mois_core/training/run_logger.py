"""What a run says while it runs: a line now and then, a file of all losses, TensorBoard."""

from __future__ import annotations

import json
import time
from pathlib import Path

LOG = "log.jsonl"


class RunLogger:
    """Log of losses and validations; TensorBoard is used where it is installed."""

    def __init__(self, out: Path, steps: int) -> None:
        self.path = out / LOG
        self.steps = steps
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.seconds = 0.0
        self.steps_taken = 0
        """Steps since the last line."""
        try:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(out / "tensorboard"))
        except ImportError:
            self.board = None

    def add(self, losses: dict[str, float], seconds: float) -> None:
        """Take in the losses of one step, and how long it took."""
        for name, value in losses.items():
            # A part that did not occur in this step is zero and would only blur the mean.
            if value:
                self.sums[name] = self.sums.get(name, 0.0) + value
                self.counts[name] = self.counts.get(name, 0) + 1
        self.seconds += seconds
        self.steps_taken += 1

    def log(self, step: int) -> None:
        """Log the means since the last time, after so many steps of the run."""
        means = {name: total / self.counts[name] for name, total in self.sums.items()}
        pace = self.seconds / self.steps_taken
        left = (self.steps - step) * pace / 60
        parts = "  ".join(f"{name} {value:.3f}" for name, value in means.items())
        print(f"step {step}/{self.steps}  {pace:.2f} s  {left:.0f} min left  {parts}", flush=True)
        self._write({"step": step, "seconds": round(pace, 3), **means})
        self.sums, self.counts, self.seconds, self.steps_taken = {}, {}, 0.0, 0

    def log_validation(self, step: int, values: dict[str, float]) -> None:
        """Log what was measured after so many steps of the run."""
        shown = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
        print(f"step {step}/{self.steps}  validation  {shown}", flush=True)
        self._write({"step": step, "validation": values})

    def _write(self, line: dict) -> None:
        line["time"] = round(time.time(), 1)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self.board:
            for name, value in (line.get("validation") or line).items():
                if name not in ("step", "time"):
                    self.board.add_scalar(name, value, line["step"])

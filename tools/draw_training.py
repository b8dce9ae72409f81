"""Draws docs/figures/training.png, the losses of the network that shipped before, from their log.

Run as ``python tools/draw_training.py``.
"""

from __future__ import annotations

import argparse
import json
from itertools import groupby
from pathlib import Path

import numpy as np

from mois_core.evaluation.figure_style import COLOURS, new_figure, panels, style

DOCS = Path(__file__).parents[1] / "docs"
PANELS = {"Clicked": "click mask", "Propagated": "propagated mask", "Searched": "search mask"}
"""The loss that each panel shows."""
_STEPS_PER_LINE = 20
_SMOOTHED = 9
"""Lines of the log that one point of a curve is the mean of."""
_OTHER_LOSS = ("crops",)
"""Runs whose search loss was counted otherwise."""


def main() -> None:
    """Read the log, smooth the losses of each run and draw them one after the other."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    lines = [json.loads(line) for line in (DOCS / "phantom-training.jsonl").open(encoding="utf-8")]
    with style():
        figure = new_figure(7.8, 2.8)
        axes = panels(figure, 1, len(PANELS))
        minutes = 0.0
        for run, group in groupby(lines, key=lambda line: line["run"]):
            own = list(group)
            # The median, because the machine sometimes stood still during a step.
            seconds = np.median([line["seconds"] for line in own])
            took = np.arange(1, len(own) + 1) * seconds * _STEPS_PER_LINE / 60
            colour = COLOURS[1] if "slices" in run else COLOURS[0]
            for panel, loss in zip(axes, PANELS.values(), strict=True):
                shown = [n for n, line in enumerate(own) if loss in line]
                if shown and not (loss == "search mask" and run in _OTHER_LOSS):
                    values = _smoothed(np.array([own[n][loss] for n in shown]))
                    panel.plot(minutes + took[shown], values, color=colour, linewidth=1.2)
            minutes += took[-1]
        for panel, title in zip(axes, PANELS, strict=True):
            panel.set_title(title)
            panel.set_xlabel("Minutes of training")
            panel.set_ylim(0.3, 1.6)
        axes[0].set_ylabel("Loss of the mask")
        axes[0].plot([], [], color=COLOURS[0], label="on crops")
        axes[0].plot([], [], color=COLOURS[1], label="on whole slices")
        axes[0].legend(frameon=False)
        axes[0].set_xlim(left=0)
        figure.savefig(DOCS / "figures" / "training.png", dpi=200, metadata={"Software": None})


def _smoothed(values: np.ndarray) -> np.ndarray:
    half = min(_SMOOTHED, len(values)) // 2
    return np.array([values[max(n - half, 0) : n + half + 1].mean() for n in range(len(values))])


if __name__ == "__main__":
    main()

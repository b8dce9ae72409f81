"""Draws docs/figures/training.png, the losses of the shipped network, from its training log.

Run as ``python tools/draw_training.py``.
"""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

import numpy as np

from mois_core.evaluation.figure_style import COLOURS, new_figure, panels, style

DOCS = Path(__file__).parents[1] / "docs"
PANELS = {"Clicked": "click mask", "Propagated": "propagated mask", "Searched": "search mask"}
_STEPS_PER_LINE, _SMOOTHED = 20, 9
_OTHER_LOSS = ("crops",)
"""Runs whose search loss was counted otherwise."""


def main() -> None:
    """Read, smooth and draw."""
    lines = [json.loads(line) for line in (DOCS / "phantom-training.jsonl").open(encoding="utf-8")]
    with style():
        figure = new_figure(7.8, 2.8)
        axes = panels(figure, 1, len(PANELS))
        minutes = 0.0
        for run, own in groupby(lines, key=lambda line: line["run"]):
            entries = list(own)
            # The median, because the machine sometimes stood still during a step.
            seconds = np.median([entry["seconds"] for entry in entries])
            took = np.arange(1, len(entries) + 1) * seconds * _STEPS_PER_LINE / 60
            colour = COLOURS[1] if "slices" in run else COLOURS[0]
            for place, loss in zip(axes, PANELS.values(), strict=True):
                shown = [n for n, entry in enumerate(entries) if loss in entry]
                if not shown or (loss == "search mask" and run in _OTHER_LOSS):
                    continue
                values = np.array([entries[n][loss] for n in shown])
                half = min(_SMOOTHED, len(values)) // 2
                means = [values[max(n - half, 0) : n + half + 1].mean() for n in range(len(values))]
                place.plot(minutes + took[shown], means, color=colour, linewidth=1.2)
            minutes += took[-1]
        for place, title in zip(axes, PANELS, strict=True):
            place.set_title(title)
            place.set_xlabel("Minutes of training")
            place.set_ylim(0.3, 1.6)
        axes[0].set_ylabel("Loss of the mask")
        axes[0].plot([], [], color=COLOURS[0], label="on pieces")
        axes[0].plot([], [], color=COLOURS[1], label="on whole slices")
        axes[0].legend(frameon=False)
        axes[0].set_xlim(left=0)
        figure.savefig(DOCS / "figures" / "training.png", dpi=200, metadata={"Software": None})


if __name__ == "__main__":
    main()

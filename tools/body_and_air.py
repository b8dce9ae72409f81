"""Counts on phantoms which places the engine takes for air around the body.

    python -m tools.body_and_air [--each N]

Each cohort has its share of phantoms of the training range. No voxel of a lesion may lie in air; of
random places more than 20 mm outside the body, nearly all should. Printed is a row for each phantom
with the processor time that finding the body took, and the sums.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from mois_core.geometry import SliceStack, Volume
from mois_core.phantom import make_phantom
from mois_core.phantom.cohorts import cohort_settings
from mois_core.phantom.grid import Grid
from mois_core.session.body import Body, find_body

COHORTS = ("training", "in-domain", "field-strength", "vendor", "low-burden")
FIRST_SEED = 90_100
"""Those of the next cohort begin 100 later."""
TRAINING_SHARE = 6
"""Phantoms of the training cohort for each one of another cohort."""
FAR_MM = 20
PLACES = 40_000


def in_air(body: Body, volume: Volume, places: np.ndarray) -> int:
    """Return how many voxels [n, 3], given as k, j, i, are taken for air."""
    ras = places[:, ::-1] @ volume.ijk_to_ras[:3, :3].T + volume.ijk_to_ras[:3, 3]
    position, x, y = body.stack.point_from_ras(ras)
    blocks, counts = np.unique(
        np.floor(np.stack([position, x, y], axis=1) + 0.5), axis=0, return_counts=True
    )
    centres = body.stack.point_to_ras(blocks[:, 0], blocks[:, 1], blocks[:, 2])
    return int(sum(n for centre, n in zip(centres, counts, strict=True) if body.mm_outside(centre)))


def measure(cohort: str, seed: int) -> tuple[int, int, int, int, float]:
    """Return voxels of lesions and those in air, far places and those in air, and seconds."""
    settings = cohort_settings(cohort, seed)
    phantom = make_phantom(seed, settings)
    volume = Volume(phantom.scan, phantom.ijk_to_ras)
    started = time.process_time()
    body = find_body(SliceStack(volume))
    seconds = time.process_time() - started
    assert body is not None, f"no air was found in phantom {seed}"
    lesions = np.argwhere(phantom.instances > 0)
    rng = np.random.default_rng(0)
    places = np.stack([rng.integers(0, n, PLACES) for n in volume.array.shape], axis=1)
    scanner, patient = settings.scanner, phantom.plan.patient
    grid = Grid(*settings.size, scanner.slices, patient.height, scanner.slice_mm)
    at = tuple(axis.ravel()[places[:, n]] for n, axis in enumerate(grid.axes()))
    far = places[patient.depth(at) < -FAR_MM]
    counts = (len(lesions), in_air(body, volume, lesions), len(far), in_air(body, volume, far))
    return *counts, seconds


def main() -> None:
    """Count, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--each", type=int, default=4, help="phantoms of each cohort (4)")
    args = parser.parse_args()
    rows = []
    print("phantom, lesions' voxels, of them in air, far places, of them in air, seconds")
    for n, cohort in enumerate(COHORTS):
        count = args.each * (TRAINING_SHARE if cohort == "training" else 1)
        for seed in range(FIRST_SEED + 100 * n, FIRST_SEED + 100 * n + count):
            rows.append(measure(cohort, seed))
            print(f"{cohort} {seed}", *rows[-1][:4], f"{rows[-1][4]:.3f}", flush=True)
    voxels, alarms, far, said = np.sum([row[:4] for row in rows], axis=0)
    seconds = np.median([row[4] for row in rows])
    print(f"{len(rows)} phantoms: {alarms} of {voxels} voxels of lesions are said to lie in air,")
    print(f"{said / far:.4%} of {far} places {FAR_MM} mm and more outside; {seconds:.3f} s")


if __name__ == "__main__":
    main()

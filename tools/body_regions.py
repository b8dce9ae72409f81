"""Counts on phantoms how often the region of the body that a lesion lies in is told right.

    python -m tools.body_regions [--phantoms N] [--first SEED] [--size ROWSxCOLUMNS]

Each phantom is scanned as drawn and once more with back and arms bent, and is of another height
than the one before. A lesion's true region is the one of most of its voxels by the tables that its
patient is drawn from: arms as far as they reach, and levels where the phantom has them.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np

from mois_core.cli.arguments import matrix_size
from mois_core.geometry import SliceStack, Volume
from mois_core.phantom import Phantom, PhantomSettings, make_phantom
from mois_core.phantom.generate import render
from mois_core.phantom.grid import Grid
from mois_core.phantom.shapes import nearest_surface
from mois_core.results.body_regions import BodyRegion, lesion_regions
from mois_core.session.lesion import Lesion, Status
from mois_core.session.masks import Mask

FIRST_SEED = 211_000
HEIGHTS_CM = (160, 180, 110, 140)
POSTURE = 1.0
LEVELS = (
    (0.830, BodyRegion.HEAD_AND_NECK),  # between the thyroid's lower end and the shoulders
    (0.689, BodyRegion.THORAX),  # the lower end of the lungs
    (0.600, BodyRegion.ABDOMEN),  # the upper end of the iliac wings
    (0.470, BodyRegion.PELVIS),  # the lower end of the trunk
)
"""Lower ends, in parts of the height."""
_TRUNK_PARTS = (BodyRegion.THORAX, BodyRegion.ABDOMEN, BodyRegion.PELVIS)


def true_regions(phantom: Phantom) -> dict[int, BodyRegion]:
    """Return the region of most voxels of each lesion of a phantom that is not bent."""
    plan, scanner = phantom.plan, phantom.plan.settings.scanner
    grid = Grid(*plan.settings.size, scanner.slices, plan.patient.height, scanner.slice_mm)
    z, y, x = (axis.ravel() for axis in grid.axes())
    *others, right_arm, left_arm = plan.patient.outline
    found = {}
    for lesion in phantom.lesions:
        k, j, i = np.nonzero(phantom.instances == lesion.id)
        at = z[k], y[j], x[i]
        in_arm = nearest_surface((right_arm, left_arm), at)
        in_arm = in_arm > np.maximum(nearest_surface(others, at), 0)
        up = at[1] / plan.patient.height
        names = np.select(
            [in_arm & (up < LEVELS[0][0]), *(up >= low for low, _ in LEVELS)],
            ["arm", *(region.value for _, region in LEVELS)],
            "leg",
        )
        sides = np.where(at[2] > 0, "left", "right")
        counts = Counter(
            f"{side} {'upper' if name == 'arm' else 'lower'} limb"
            if name in ("arm", "leg")
            else name
            for name, side in zip(names.tolist(), sides.tolist(), strict=True)
        )
        found[lesion.id] = BodyRegion(counts.most_common(1)[0][0])
    return found


def told_regions(phantom: Phantom) -> dict[int, BodyRegion]:
    """Return the region of each lesion that the scan tells."""
    volume = Volume(phantom.scan, phantom.ijk_to_ras)
    stack = SliceStack(volume)
    labels = stack.from_volume(phantom.instances)
    lesions = [
        Lesion(own.id, Status.PROMPTED, Mask.from_stack(labels == own.id))
        for own in phantom.lesions
    ]
    return lesion_regions(stack, lesions)


def main() -> None:
    """Count, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--phantoms", type=int, default=20)
    parser.add_argument("--first", type=int, default=FIRST_SEED, help=f"seed ({FIRST_SEED})")
    parser.add_argument("--size", type=matrix_size, default=(640, 200))
    args = parser.parse_args()
    told: Counter[tuple[BodyRegion, BodyRegion]] = Counter()
    for n in range(args.phantoms):
        height = HEIGHTS_CM[n % len(HEIGHTS_CM)]
        straight = make_phantom(args.first + n, PhantomSettings(size=args.size, height_cm=height))
        bent = render(straight.plan, 1, posture=POSTURE)
        truth = true_regions(straight)
        own = Counter(
            (truth[lesion_id], region)
            for phantom in (straight, bent)
            for lesion_id, region in told_regions(phantom).items()
        )
        told += own
        wrong = sum(count for pair, count in own.items() if kind(*pair) == "wrong")
        print(f"{args.first + n}, {height} cm: {wrong} of {own.total()} lesions wrong", flush=True)
    print("region: lesions, told right, as trunk alone, as unknown, wrong")
    for region in (*BodyRegion, None):
        sums = Counter()
        for (true, said), count in told.items():
            if region in (true, None):
                sums[kind(true, said)] += count
        if sums:
            shares = ", ".join(
                f"{sums[what] / sums.total():.1%}"
                for what in ("right", "trunk", "unknown", "wrong")
            )
            print(f"{region or 'all'}: {sums.total()}, {shares}")


def kind(true: BodyRegion, said: BodyRegion) -> str:
    """Return how well what is said agrees with the truth."""
    if said is true:
        return "right"
    if said is BodyRegion.TRUNK and true in _TRUNK_PARTS:
        return "trunk"
    return "unknown" if said is BodyRegion.UNKNOWN else "wrong"


if __name__ == "__main__":
    main()

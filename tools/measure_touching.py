"""Measure on phantoms how a mask of all lesions should be cut into single ones.

    python tools/measure_touching.py [--seeds N] [--lesions N]

Takes the true mask of the target lesions (what a perfect search would give), cuts it in several
ways and compares the components with the true lesions. The engine's own way is among them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
from scipy import ndimage

from mois_core.geometry import SliceStack, Volume
from mois_core.phantom import make_phantom
from mois_core.session.components import connected_components

FACES = ndimage.generate_binary_structure(3, 1)
IOU_LIMITS = (0.1, 0.5)
PEAKS_APART_MM = (30.0, 60.0)


def by_corners(mask: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Label components whose voxels share a corner, as the engine does."""
    labels = np.zeros(mask.shape, dtype=np.int32)
    for label, component in enumerate(connected_components(mask), start=1):
        component.mask.paint(labels, label)
    return labels


def by_faces(mask: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Label components whose voxels share a face."""
    return ndimage.label(mask, structure=FACES)[0]


def by_watershed(mask: np.ndarray, spacing: tuple[float, float, float], apart: float) -> np.ndarray:
    """Label components by corners, cut between points that are deep and far enough apart."""
    depth = ndimage.distance_transform_edt(mask, sampling=spacing)
    reach = [max(1, round(apart / step)) for step in spacing]
    peaks = mask & (depth == ndimage.maximum_filter(depth, size=[2 * r + 1 for r in reach]))
    markers, count = ndimage.label(peaks, structure=np.ones((3, 3, 3)))
    markers = markers.astype(np.int32)
    markers[~mask] = -1
    cost = (255 * (1 - depth / max(depth.max(), 1e-6))).astype(np.uint8)
    cut = ndimage.watershed_ift(cost, markers, structure=np.ones((3, 3, 3)))
    whole = by_corners(mask, spacing)
    # Components without a peak of their own stay as they are.
    return np.where(mask, np.where(cut > 0, cut, whole + count), 0)


WAYS: dict[str, Callable[[np.ndarray, tuple[float, float, float]], np.ndarray]] = {
    "corners (engine)": by_corners,
    "faces": by_faces,
} | {f"watershed, {mm:g} mm": partial(by_watershed, apart=mm) for mm in PEAKS_APART_MM}


def match(components: np.ndarray, truth: np.ndarray, limit: float) -> tuple[int, int, int]:
    """Count true positives, components and lesions; a pair needs an IoU above the limit."""
    both = truth.astype(np.int64) * (int(components.max()) + 1) + components
    values, shared = np.unique(both[(truth > 0) & (components > 0)], return_counts=True)
    lesion, component = np.divmod(values, int(components.max()) + 1)
    lesion_size, component_size = np.bincount(truth.ravel()), np.bincount(components.ravel())
    iou = shared / (lesion_size[lesion] + component_size[component] - shared)
    hits, used = 0, set()
    for index in np.argsort(-iou):
        if iou[index] <= limit:
            break
        if ("l", lesion[index]) not in used and ("c", component[index]) not in used:
            used |= {("l", lesion[index]), ("c", component[index])}
            hits += 1
    return hits, len(np.unique(components[components > 0])), len(np.unique(truth[truth > 0]))


def main() -> None:
    """Print a table: one row for each way of cutting."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--lesions", type=int, nargs="*", default=[30, 120])
    args = parser.parse_args()
    print(f"{'lesions':>8} {'way':<22} {'components':>7} {'truth':>6}", end="")
    print("".join(f"{f'F1 at IoU {limit}':>16}" for limit in IOU_LIMITS))
    for lesions in args.lesions:
        sums = {way: np.zeros((len(IOU_LIMITS), 3)) for way in WAYS}
        for seed in range(args.seeds):
            phantom = make_phantom(seed, lesions=lesions)
            stack = SliceStack(Volume(phantom.scan, phantom.ijk_to_ras))
            target = [lesion.id for lesion in phantom.lesions if lesion.target]
            truth = stack.from_volume(phantom.instances)
            truth = np.where(np.isin(truth, target), truth, 0).astype(np.int32)
            spacing = (stack.slice_spacing, *stack.pixel_spacing)
            for way, cut in WAYS.items():
                components = cut(truth > 0, spacing)
                sums[way] += [match(components, truth, limit) for limit in IOU_LIMITS]
        for way, total in sums.items():
            scores = [2 * hits / (found + there) for hits, found, there in total]
            print(f"{lesions:>8} {way:<22} {total[0][1]:>7.0f} {total[0][2]:>6.0f}", end="")
            print("".join(f"{score:>16.3f}" for score in scores))


if __name__ == "__main__":
    main()

"""Tell what a network makes of a click on the slice that is clicked, apart from all else.

Run as ``python -m tools.clicked_slice --checkpoint RUN/newest.pt``. Some lesions of each phantom
get a click at their deepest place, on crops of several sizes and on the whole slice. Printed are
means over lesions: Dice of the mask that the network chose and of the best of its candidates; Dice
near the lesion of what the loss on places taught the decoder to mark without any prompt, which is
what a click could come to; and, as parts of the lesion, what is missing, and what is too much
within and beyond a few pixels. Then the same for whole slices by the size of lesions.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from mois_core import models, weights
from mois_core.geometry import Volume
from mois_core.network.config import STRIDE, Size
from mois_core.network.model import Prompts, Sam2
from mois_core.phantom import PhantomSettings, is_held_out, make_phantom
from mois_core.results.scores import dice
from mois_core.session.preprocess import model_input
from mois_core.training.training_case import case_of

PARTS = (1, 2, 4, 8)
"""The crops' sides are about the slice's, divided by these."""
LEAST_SIDE = 32
NEAR = 6
"""Pixels from a lesion."""
SMALLEST_CM3 = 1.0
LARGE = 1000
"""Network pixels from which on a lesion counts as large."""


class Answer(NamedTuple):
    """What came of one click on one crop."""

    pixels: int
    chosen: float
    best: float
    unprompted: float
    missing: float
    near: float
    far: float


def crop_size(whole: Size, part: int) -> Size:
    """Return the sides of a slice divided, as multiples of what every encoder takes."""
    rows, columns = (max(LEAST_SIDE, side // part // LEAST_SIDE * LEAST_SIDE) for side in whole)
    return rows, columns


def answer(model: Sam2, image: Tensor, truth: np.ndarray, part: int) -> Answer:
    """Click into a lesion [rows, columns] on a crop of a slice."""
    whole = model.config.image_size
    depth = ndimage.distance_transform_edt(np.pad(truth, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), truth.shape)
    size = crop_size(whole, part)
    top, left = (
        int(np.clip((place - side / 2) // STRIDE * STRIDE, 0, all_of_it - side))
        for place, side, all_of_it in zip((row, column), size, whole, strict=True)
    )
    window = np.s_[..., top : top + size[0], left : left + size[1]]
    point = torch.tensor([[[column + 0.5, row + 0.5]]], dtype=torch.float32)
    features = model.encode(image[window], (top, left))
    decoded = model.decode(
        features, model.without_memory(features), Prompts(point, torch.ones(1, 1))
    )
    unprompted = _masks(model.unprompted(features), size)[0]
    truth, chosen = truth[window], _masks(decoded.logits, size)[0]
    near = ndimage.binary_dilation(truth, iterations=NEAR)
    return Answer(
        int(truth.sum()),
        dice(chosen, truth),
        max(dice(one, truth) for one in _masks(decoded.candidates, size)),
        dice(unprompted & near, truth),
        *((wrong.sum() / truth.sum()) for wrong in (truth & ~chosen, chosen & near & ~truth)),
        (chosen & ~near).sum() / truth.sum(),
    )


def _masks(logits: Tensor, size: Size) -> np.ndarray:
    large = F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)
    return (large[0] > 0).numpy()


def answers(model: Sam2, seed: int, lesions: int) -> dict[int, list[Answer]]:
    """Click into lesions of a phantom, each on the slice that shows most of it."""
    phantom = make_phantom(seed, PhantomSettings())
    ids = [lesion.id for lesion in phantom.lesions if lesion.volume_cm3 >= SMALLEST_CM3]
    appearances = np.zeros(len(phantom.lesions) + 1, np.uint8)
    scan = Volume(phantom.scan, phantom.ijk_to_ras)
    case = case_of(f"phantom-{seed}", scan, phantom.instances, appearances)
    found: dict[int, list[Answer]] = {part: [] for part in PARTS}
    for lesion in ids[:lesions]:
        index = int((case.labels == lesion).sum(axis=(1, 2)).argmax())
        image = model_input(case.images[index], model.config.image_size)[None]
        mask = torch.from_numpy(case.labels[index] == lesion)[None, None].float()
        truth = F.interpolate(mask, model.config.image_size)[0, 0].numpy() > 0
        for part in PARTS:
            found[part].append(answer(model, image, truth, part))
    return found


def main() -> None:
    """Click, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", help="weights to measure in place of the shipped ones")
    parser.add_argument("--first", type=int, default=90010, help="first seed")
    parser.add_argument("--count", type=int, default=4, help="phantoms")
    parser.add_argument("--lesions", type=int, default=8, help="of each phantom")
    args = parser.parse_args()
    if is_held_out(args.first + args.count - 1):
        parser.error("held-out phantoms are for measuring only, not for choosing")
    torch.set_num_threads(1)
    model = weights.open_checkpoint(args.checkpoint or models.SHIPPED, device="cpu").network
    every: dict[int, list[Answer]] = {part: [] for part in PARTS}
    with torch.inference_mode():
        for seed in range(args.first, args.first + args.count):
            for part, found in answers(model, seed, args.lesions).items():
                every[part] += found
    print("crop: lesions, Dice chosen, best candidate, unprompted; missing, too much near, far")
    for part in reversed(PARTS):
        rows, columns = crop_size(model.config.image_size, part)
        print(f"{rows} x {columns}: {_means(every[part])}")
    for name, is_one in (("large", True), ("small", False)):
        own = [one for one in every[1] if (one.pixels >= LARGE) == is_one]
        print(f"{name} lesions, whole slices: {_means(own)}")


def _means(found: list[Answer]) -> str:
    if not found:
        return "none"
    means = np.mean(found, axis=0)[1:]
    return (
        f"{len(found)}, {means[0]:.3f}, {means[1]:.3f}, {means[2]:.3f}; "
        f"{means[3]:.2f}, {means[4]:.2f}, {means[5]:.2f}"
    )


if __name__ == "__main__":
    main()

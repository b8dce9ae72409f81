"""How wrong masks, their predicted quality and the object score are, one value per mask.

In the comments on shapes n is the number of masks and h that of a mask's candidates: the single
mask, then the three that one click can mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from mois_core.network.mask_decoder import RawMasks
from mois_core.training.config import LossWeights


@dataclass
class LossAccumulator:
    """Sums of losses and how many masks they are of, so that several processes can share them."""

    weights: LossWeights = field(default_factory=LossWeights)
    """What the losses that are added count."""
    sums: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, float | Tensor] = field(default_factory=dict)
    """What a GPU has counted stays there as a tensor: asked at once, it would have to finish."""
    factors: dict[str, float] = field(default_factory=dict)
    """The weight of each loss that was added."""

    def add(self, name: str, values: Tensor, factor: float, where: Tensor | None = None) -> None:
        """Add one value per mask with a weight; with ``where`` only some of them count."""
        if where is not None:
            values = torch.where(where, values, 0.0)
        count = values.numel() if where is None else where.sum()
        self.sums[name] = self.sums.get(name, values.new_zeros(())) + values.sum()
        self.counts[name] = self.counts.get(name, 0.0) + count
        self.factors[name] = factor

    def total(self, names: Sequence[str]) -> tuple[Tensor, dict[str, float]]:
        """Return the weighted sum of the means over all processes, and each mean for the log.

        ``names`` lists everything that can occur, so that all processes count the same things.
        The loss is scaled such that averaging gradients over processes gives that of the means.
        """
        processes = dist.get_world_size() if dist.is_initialized() else 1
        counts, sums = (
            torch.tensor([read.get(name, 0.0) for name in names], dtype=torch.float64)
            for read in self._read()
        )
        if processes > 1:
            both = torch.stack((counts, sums))
            both = both.to("cuda" if dist.get_backend() == "nccl" else "cpu")
            dist.all_reduce(both)
            counts, sums = both.cpu()
        loss = torch.zeros(())
        for name, count in zip(names, counts.tolist(), strict=True):
            if name in self.sums and count:
                loss = loss + self.factors[name] * processes / count * self.sums[name]
        means = sums / counts.clamp(min=1)
        return loss, dict(zip(names, means.tolist(), strict=True))

    def _read(self) -> tuple[dict[str, float], dict[str, float]]:
        """Return counts and sums, for which the device is waited for a single time."""
        if not self.sums:
            return {}, {}
        counts = {name: n for name, n in self.counts.items() if torch.is_tensor(n)}
        there = [*counts.values(), *(value.detach() for value in self.sums.values())]
        read = torch.stack([value.float() for value in there]).tolist()
        sums = dict(zip(self.sums, read[len(counts) :], strict=True))
        return self.counts | dict(zip(counts, read, strict=False)), sums


def focal(logits: Tensor, truth: Tensor, alpha: float, gamma: float) -> Tensor:
    """Return the focal loss of masks [n, h, rows, columns], one value per mask [n, h]."""
    error = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    probability = logits.sigmoid()
    right = probability * truth + (1 - probability) * (1 - truth)
    share = alpha * truth + (1 - alpha) * (1 - truth)
    return (share * (1 - right) ** gamma * error).mean(dim=(-2, -1))


def cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Return the binary cross-entropy of masks [n, h, rows, columns], one value per mask [n, h]."""
    return F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(dim=(-2, -1))


def dice(logits: Tensor, truth: Tensor) -> Tensor:
    """Return the soft Dice loss of masks [n, h, rows, columns], one value per mask [n, h].

    An empty mask on an empty truth costs nothing.
    """
    probability = logits.sigmoid()
    shared = (probability * truth).sum(dim=(-2, -1))
    both = probability.sum(dim=(-2, -1)) + truth.sum(dim=(-2, -1))
    return 1 - (2 * shared + 1) / (both + 1)


def iou(logits: Tensor, truth: Tensor) -> Tensor:
    """Return the quality that the network should have predicted for its masks, [n, h]."""
    mask = logits > 0
    truth = truth >= 0.5
    shared = (mask & truth).sum(dim=(-2, -1))
    either = (mask | truth).sum(dim=(-2, -1))
    return shared / either.clamp(min=1)


def pooled(masks: Tensor, weights: LossWeights) -> Tensor:
    """Return masks [n, 1, rows, columns] at the resolution of the losses.

    There 0.5 is a pixel half covered.
    """
    return F.avg_pool2d(masks, weights.pooling) if weights.pooling > 1 else masks


def enlarged(logits: Tensor, truth: Tensor) -> Tensor:
    """Return logits at the size of the truth, as they are shown in the end."""
    size = truth.shape[-2:]
    return F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)


def add_instances(
    losses: LossAccumulator, name: str, raw: RawMasks, truth: Tensor, several: bool
) -> None:
    """Add the losses of lesions that were prompted or propagated.

    ``truth`` is [n, 1, rows, columns]; ``several`` says that the answer is the best of three, as
    after a single click. Masks only count where the lesion is, and the quality of every candidate
    is learned.
    """
    weights = losses.weights
    present = truth.flatten(1).any(dim=1)  # (n,)
    truth = pooled(truth, weights)
    logits = enlarged(raw.logits, truth)  # (n, h, rows, columns)
    truth = truth.expand_as(logits)
    mask_loss = weights.focal * focal(logits, truth, weights.focal_alpha, weights.focal_gamma)
    mask_loss = mask_loss + weights.dice * dice(logits, truth)  # (n, h)
    best = mask_loss[:, 1:].min(dim=1).values
    single = mask_loss[:, 0]
    used, unused = (best, single) if several else (single, best)
    losses.add(f"{name} mask", used + weights.unused_heads * unused, 1.0, present)
    wrong = (raw.ious - iou(logits.detach(), truth)).abs().mean(dim=1)
    losses.add(f"{name} iou", wrong, weights.iou, present)
    losses.add(f"{name} score", _score_loss(raw, present), weights.score)


def add_semantic(losses: LossAccumulator, raw: RawMasks, truth: Tensor, others: Tensor) -> None:
    """Add the losses of a search.

    ``truth`` [n, 1, rows, columns] is what looks like the exemplars, ``others`` are the lesions
    that do not.
    """
    weights = losses.weights
    present = truth.flatten(1).any(dim=1)  # (n,)
    truth, others = pooled(truth, weights), pooled(others, weights)
    logits = enlarged(raw.logits, truth)  # (n, h, rows, columns)
    wanted = truth.expand_as(logits)
    if weights.semantic_focal:
        pixels = focal(logits, wanted, weights.focal_alpha, weights.focal_gamma)
    else:
        pixels = cross_entropy(logits, wanted)
    mask_loss = weights.semantic_pixels * pixels + weights.dice * dice(logits, wanted)  # (n, h)
    best = mask_loss[:, 1:].min(dim=1).values
    both = mask_loss[:, 0] + weights.unused_heads * best
    losses.add("search mask", both, weights.semantic)
    wrong = (raw.ious - iou(logits.detach(), truth)).abs().mean(dim=1)
    losses.add("search iou", wrong, weights.semantic * weights.iou, present)
    losses.add("search score", _score_loss(raw, present), weights.semantic * weights.score)
    if weights.contrast:
        _add_contrast(losses, "contrast", logits[:, :1], truth, others, weights.contrast)


def _score_loss(raw: RawMasks, present: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(raw.score[:, 0], present.float(), reduction="none")


def add_click_contrast(
    losses: LossAccumulator, raw: RawMasks, truth: Tensor, others: Tensor
) -> None:
    """Add the cross-entropy of clicked lesions, ``truth``, against all ``others`` on the crop."""
    right, wrong = pooled(truth, losses.weights), pooled(others, losses.weights)
    larger = enlarged(raw.logits, right)
    weight = losses.weights.click_contrast
    _add_contrast(losses, "click contrast", larger, right, wrong, weight)


def add_heeded(losses: LossAccumulator, raw: RawMasks, places: Tensor, labels: Tensor) -> None:
    """Add the cross-entropy of all masks at the clicked ``places`` [n, clicks, (x, y)], given as
    parts of the map from 0 to 1; ``labels`` [n, clicks] are 1 where the lesion is."""
    grid = (2 * places - 1)[:, :, None]  # (n, clicks, 1, (x, y))
    logits = raw.logits.float()
    logits = F.grid_sample(logits, grid.to(logits), align_corners=False)[..., 0]
    sign = 1.0 - 2.0 * labels[:, None].to(logits)  # (n, 1, clicks)
    error = F.softplus(sign * logits).mean(dim=(1, 2))  # logits are (n, h, clicks)
    losses.add("heeded", error, losses.weights.heeded)


def _add_contrast(
    losses: LossAccumulator,
    name: str,
    logits: Tensor,
    truth: Tensor,
    others: Tensor,
    weight: float,
) -> None:
    """Add the cross-entropy on lesions only; all arrays are of one size.

    Pixels that belong to the answer and pixels that do not count the same, however many there
    are.
    """
    for side, sign, which in ((truth, -1.0, "right"), (others, 1.0, "wrong")):
        area = side.flatten(1).sum(dim=1)
        error = (F.softplus(sign * logits) * side).sum(dim=(-2, -1)).mean(dim=1)
        losses.add(f"{name} {which}", error / area.clamp(min=1), weight, area > 0)


def add_spread(losses: LossAccumulator, maps: Tensor) -> None:
    """Add the square of how far the size of each map's values [n, ...] exceeds 1."""
    size = maps.flatten(1).square().mean(dim=1).sqrt()
    losses.add("spread", (size - 1).clamp(min=0).square(), losses.weights.spread)


LOSSES = (
    *(
        f"{step} {what}"
        for step in ("click", "correction", "propagated")
        for what in ("mask", "iou", "score")
    ),
    *(f"search {what}" for what in ("mask", "iou", "score")),
    *(f"{of} {what}" for of in ("contrast", "click contrast") for what in ("right", "wrong")),
    *("heeded", "spread"),
    *("places", "places coarse", "places look", "places own"),
    *(f"attention {what}" for what in ("right", "wrong", "nothing")),
)
"""Every loss there is, in the order in which it is logged."""

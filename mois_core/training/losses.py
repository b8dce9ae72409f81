"""How wrong masks, their predicted quality and the object score are, one value per mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from mois_core.network.mask_decoder import RawMasks


@dataclass(frozen=True)
class LossWeights:
    """The paper's losses; the published code has other weights and a focal semantic loss."""

    focal: float = 20.0
    dice: float = 1.0
    iou: float = 1.0
    score: float = 1.0
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    pooling: int = 1
    """Masks are compared at a resolution so many times lower; 2 quarters the cost of losses, which
    on whole slices is most of a step of a small network."""
    semantic: float = 2.0
    """The search's share; its own terms are binary cross-entropy, Dice and IoU."""
    semantic_pixels: float = 1.0
    semantic_focal: bool = False
    """The published code's focal form in place of the paper's binary cross-entropy."""
    unused_heads: float = 0.25
    """For the masks that are not chosen at this step: the single one after one click, the three
    after several. At inference an unstable single mask gives way to one of the three."""
    contrast: float = 0.5
    """Cross-entropy on lesions only, right kind against wrong kinds, each counting the same."""
    attention: float = 0.0
    """For where the search looks: see `attending`."""
    spread: float = 0.0
    """On how far the encoder's values exceed 1 in the root of their mean square. Nothing in the
    network's first maps is normed; from scratch they grow thirtyfold, and every attention to what
    is remembered of them then sees a single token."""
    places: float = 0.0
    """On what every place shows: see `places`."""
    click_contrast: float = 0.0
    """The same for clicks, right lesion against all others: without it a network from scratch
    outlines whatever looks like a lesion for a long time before it heeds the click."""


@dataclass
class LossAccumulator:
    """Sums of losses and how many masks they are of, so that several processes can share them."""

    sums: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, values: Tensor, weight: float, where: Tensor | None = None) -> None:
        """Add one value per mask; with ``where`` only some of them count."""
        if where is not None:
            values = torch.where(where, values, 0.0)
        count = float(values.numel() if where is None else where.sum())
        self.sums[name] = self.sums.get(name, values.new_zeros(())) + values.sum()
        self.counts[name] = self.counts.get(name, 0.0) + count
        self.weights[name] = weight

    def total(self, names: Sequence[str]) -> tuple[Tensor, dict[str, float]]:
        """The weighted sum of the means over all processes, and each mean for the log.

        ``names`` lists everything that can occur, so that all processes count the same things.
        The loss is scaled such that averaging gradients over processes gives that of the means.
        """
        processes = dist.get_world_size() if dist.is_initialized() else 1
        nothing = torch.zeros(())
        counts = torch.tensor([self.counts.get(name, 0.0) for name in names], dtype=torch.float64)
        sums = torch.stack([self.sums.get(name, nothing).detach().cpu().double() for name in names])
        if processes > 1:
            both = torch.stack((counts, sums))
            both = both.to("cuda" if dist.get_backend() == "nccl" else "cpu")
            dist.all_reduce(both)
            counts, sums = both.cpu()
        loss = torch.zeros(())
        for name, count in zip(names, counts.tolist(), strict=True):
            if name in self.sums and count:
                loss = loss + self.weights[name] * processes / count * self.sums[name]
        means = sums / counts.clamp(min=1)
        return loss, dict(zip(names, means.tolist(), strict=True))


def focal(logits: Tensor, truth: Tensor, alpha: float, gamma: float) -> Tensor:
    """Focal loss of masks [n, heads, rows, columns], one value per mask."""
    error = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    probability = logits.sigmoid()
    right = probability * truth + (1 - probability) * (1 - truth)
    share = alpha * truth + (1 - alpha) * (1 - truth)
    return (share * (1 - right) ** gamma * error).mean(dim=(-2, -1))


def cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Binary cross-entropy of masks, one value per mask."""
    return F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(dim=(-2, -1))


def dice(logits: Tensor, truth: Tensor) -> Tensor:
    """Soft Dice loss, one value per mask; an empty mask on an empty truth costs nothing."""
    probability = logits.sigmoid()
    shared = (probability * truth).sum(dim=(-2, -1))
    both = probability.sum(dim=(-2, -1)) + truth.sum(dim=(-2, -1))
    return 1 - (2 * shared + 1) / (both + 1)


def iou(logits: Tensor, truth: Tensor) -> Tensor:
    """The quality that the network should have predicted for its masks."""
    mask = logits > 0
    truth = truth >= 0.5
    shared = (mask & truth).sum(dim=(-2, -1))
    either = (mask | truth).sum(dim=(-2, -1))
    return shared / either.clamp(min=1)


def pooled(masks: Tensor, weights: LossWeights) -> Tensor:
    """Masks [n, 1, rows, columns] at the resolution of the losses; 0.5 is a pixel half covered."""
    return F.avg_pool2d(masks, weights.pooling) if weights.pooling > 1 else masks


def enlarged(logits: Tensor, truth: Tensor) -> Tensor:
    """Logits at the size of the truth, as they are shown in the end."""
    size = truth.shape[-2:]
    return F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)


def add_instances(
    accumulator: LossAccumulator,
    name: str,
    raw: RawMasks,
    truth: Tensor,
    several: bool,
    weights: LossWeights,
) -> None:
    """Losses of lesions that were prompted or propagated; ``truth`` is [n, 1, rows, columns].

    ``several`` says that the answer is the best of three, as after a single click. Masks only
    count where the lesion is, and the quality of every head is learned.
    """
    present = truth.flatten(1).any(dim=1)
    truth = pooled(truth, weights)
    logits = enlarged(raw.logits, truth)
    truth = truth.expand_as(logits)
    mask_loss = weights.focal * focal(logits, truth, weights.focal_alpha, weights.focal_gamma)
    mask_loss = mask_loss + weights.dice * dice(logits, truth)
    best = mask_loss[:, 1:].min(dim=1).values
    single = mask_loss[:, 0]
    used, unused = (best, single) if several else (single, best)
    accumulator.add(f"{name} mask", used + weights.unused_heads * unused, 1.0, present)
    wrong = (raw.ious - iou(logits.detach(), truth)).abs().mean(dim=1)
    accumulator.add(f"{name} iou", wrong, weights.iou, present)
    score = F.binary_cross_entropy_with_logits(raw.score[:, 0], present.float(), reduction="none")
    accumulator.add(f"{name} score", score, weights.score)


def add_semantic(
    accumulator: LossAccumulator, raw: RawMasks, truth: Tensor, others: Tensor, weights: LossWeights
) -> None:
    """Losses of a search: ``truth`` is what looks like the exemplars, ``others`` what does not."""
    present = truth.flatten(1).any(dim=1)
    truth, others = pooled(truth, weights), pooled(others, weights)
    logits = enlarged(raw.logits, truth)
    wanted = truth.expand_as(logits)
    if weights.semantic_focal:
        pixels = focal(logits, wanted, weights.focal_alpha, weights.focal_gamma)
    else:
        pixels = cross_entropy(logits, wanted)
    mask_loss = weights.semantic_pixels * pixels + weights.dice * dice(logits, wanted)
    best = mask_loss[:, 1:].min(dim=1).values
    both = mask_loss[:, 0] + weights.unused_heads * best
    accumulator.add("search mask", both, weights.semantic)
    wrong = (raw.ious - iou(logits.detach(), truth)).abs().mean(dim=1)
    accumulator.add("search iou", wrong, weights.semantic * weights.iou, present)
    score = F.binary_cross_entropy_with_logits(raw.score[:, 0], present.float(), reduction="none")
    accumulator.add("search score", score, weights.semantic * weights.score)
    if weights.contrast:
        add_contrast(accumulator, "contrast", logits[:, :1], truth, others, weights.contrast)


def add_contrast(
    accumulator: LossAccumulator,
    name: str,
    logits: Tensor,
    truth: Tensor,
    others: Tensor,
    weight: float,
) -> None:
    """Cross-entropy on lesions only: pixels that belong to the answer and pixels that do not
    count the same, however many there are. All arrays are of one size."""
    for side, sign, which in ((truth, -1.0, "right"), (others, 1.0, "wrong")):
        area = side.flatten(1).sum(dim=1)
        error = (F.softplus(sign * logits) * side).sum(dim=(-2, -1)).mean(dim=1)
        accumulator.add(f"{name} {which}", error / area.clamp(min=1), weight, area > 0)


def add_spread(accumulator: LossAccumulator, maps: Tensor, weight: float) -> None:
    """The square of how far the size of each map's values [n, ...] exceeds 1."""
    size = maps.flatten(1).square().mean(dim=1).sqrt()
    accumulator.add("spread", (size - 1).clamp(min=0).square(), weight)


LOSSES = (
    *(
        f"{step} {what}"
        for step in ("click", "correction", "propagated")
        for what in ("mask", "iou", "score")
    ),
    *(f"search {what}" for what in ("mask", "iou", "score")),
    *(f"{of} {what}" for of in ("contrast", "click contrast") for what in ("right", "wrong")),
    "spread",
    *("places", "places coarse", "places look"),
    *(f"attention {what}" for what in ("right", "wrong", "nothing")),
)
"""Every loss there is, in the order in which it is logged."""

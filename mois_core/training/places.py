"""What every place of a slice shows: a lesion or none, and which lesions look like each other.

A click or a search teaches the encoder through a whole decoder, one lesion or one kind at a time.
A network from scratch learns to see many times sooner when every place is asked at once. The head
that answers is used in training only; it is kept in the checkpoint, not among the weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mois_core.network.config import STRIDE
from mois_core.network.layers import ChannelNorm
from mois_core.network.model import SliceFeatures
from mois_core.training.losses import LossAccumulator, LossWeights, cross_entropy, dice
from mois_core.training.sampling import ScanSample

_LOOK = 32
"""Numbers in which a place's look is told."""
_SHARPNESS = 10.0
"""Factor on the likeness of two looks, which is between -1 and 1."""
_NO_VOTE = -1e4
_MOST_HEALTHY = 1024
"""Of more healthy places than this every second, third and so on is asked: what is compared grows
with their square."""
_FINE = 4
"""Pixels per position of the finest map."""


class PlacesHead(nn.Module):
    """Reads the three maps as the mask decoder gets them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.coarse = nn.Conv2d(width, (STRIDE // _FINE) ** 2, kernel_size=1)
        self.look = nn.Conv2d(width, _LOOK, kernel_size=1)
        self.norm = ChannelNorm(width)
        self.middle = nn.Conv2d(width + width // 4, width, kernel_size=1)
        self.fine = nn.Conv2d(width + width // 8, width, kernel_size=1)
        self.lesion = nn.Conv2d(width, 1, kernel_size=1)

    def forward(self, features: SliceFeatures) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of a lesion at four pixels per position, the same from the coarse map alone, and
        looks [crops, numbers, side, side] of length 1."""
        coarse = F.pixel_shuffle(self.coarse(features.coarse), STRIDE // _FINE)
        looks = F.normalize(self.look(features.coarse), dim=1)
        x = self.norm(features.coarse)
        for finer, conv in ((features.middle, self.middle), (features.fine, self.fine)):
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = F.gelu(conv(torch.cat((x, finer), dim=1)))
        return self.lesion(x), coarse, looks


def add_places(
    accumulator: LossAccumulator,
    head: PlacesHead,
    features: SliceFeatures,
    samples: Sequence[ScanSample],
    weights: LossWeights,
) -> None:
    """Losses of the answers at every place of all crops."""
    features = SliceFeatures(
        features.coarse.float(), features.middle.float(), features.fine.float()
    )
    logits, coarse, looks = head(features)
    labels = torch.cat([sample.labels for sample in samples]).to(logits.device)
    truth = F.avg_pool2d((labels > 0).float()[:, None], _FINE)
    for name, answer in (("places", logits), ("places coarse", coarse)):
        error = weights.semantic_pixels * cross_entropy(answer, truth)
        accumulator.add(name, error + weights.dice * dice(answer, truth), weights.places)
    first = 0
    for sample in samples:
        crops = slice(first, first + len(sample.slices))
        first = crops.stop
        error = _mistaken(looks[crops], sample)
        if error is not None:
            accumulator.add("places look", error[None], weights.places)


def _mistaken(looks: Tensor, sample: ScanSample) -> Tensor | None:
    """Cross-entropy of each place's kind, or of being healthy, if the places of all other crops
    vote by how alike they look. Every kind counts the same."""
    size = looks.shape[-1] ** 2
    kinds = _kinds(sample).to(looks.device).flatten()
    every = -(-len(kinds) // _MOST_HEALTHY)
    order = torch.arange(len(kinds), device=looks.device)
    heard_of = (kinds > 0) | ((kinds == 0) & (order % every == 0))
    kinds, crop = kinds[heard_of], order[heard_of] // size
    flat = looks.flatten(2).transpose(1, 2).flatten(0, 1)[heard_of]
    likeness = _SHARPNESS * flat @ flat.T
    elsewhere = crop[:, None] != crop[None]
    present = [int(kind) for kind in kinds.unique() if kind >= 0]
    votes, heard = [], []
    for kind in present:
        voters = elsewhere & (kinds == kind)
        count = voters.sum(dim=1)
        vote = torch.logsumexp(likeness.masked_fill(~voters, _NO_VOTE), dim=1)
        votes.append(vote - count.clamp(min=1).log())
        heard.append(count > 0)
    logits = torch.stack(votes, dim=1)
    errors = []
    for n, kind in enumerate(present):
        asked = (kinds == kind) & heard[n]
        if asked.any():
            errors.append(-logits[asked].log_softmax(dim=1)[:, n].mean())
    return torch.stack(errors).mean() if len(errors) > 1 else None


def _kinds(sample: ScanSample) -> Tensor:
    """For each place 0 for healthy, 1 + the kind that most of its pixels are of, or -1 if it shows
    a little of a lesion only."""
    labels = sample.labels.long()
    kinds = torch.from_numpy(sample.kinds.astype(int))[labels]
    shown = [F.avg_pool2d((labels > 0).float()[:, None], STRIDE)[:, 0]]
    for kind in range(int(sample.kinds.max()) + 1):
        of_kind = (labels > 0) & (kinds == kind)
        shown.append(F.avg_pool2d(of_kind.float()[:, None], STRIDE)[:, 0])
    lesion, by_kind = shown[0], torch.stack(shown[1:])
    most, which = by_kind.max(dim=0)
    return torch.where(lesion == 0, 0, torch.where(most >= 0.25, which + 1, -1))

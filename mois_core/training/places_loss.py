"""A loss on what every place of a slice shows: a lesion or none, and which lesions look alike.

A click or a search teaches the encoder through a whole decoder, one lesion or one appearance at a
time. A network from scratch learns to see many times sooner when every place is asked at once. The
head that answers is used in training only; it is kept in the checkpoint, not among the weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mois_core.network.config import STRIDE
from mois_core.network.layers import ChannelNorm
from mois_core.network.model import SliceFeatures
from mois_core.training.device import on_device, places_of
from mois_core.training.losses import LossAccumulator, cross_entropy, dice
from mois_core.training.sampling import ScanSample

_LOOK = 32
"""Length of the vector that describes how a place looks."""
_SHARPNESS = 10.0
"""Factor on the likeness of two looks, which is between -1 and 1."""
_MOSTLY = 0.25
"""A place is of an appearance if this part of its pixels is."""
_NO_VOTE = -1e4
_MOST_HEALTHY = 1024
"""Of more healthy places than this every second, third and so on is asked: what is compared grows
with their square."""
_FINE = 4
"""Pixels per position of the finest map."""


class PlacesHead(nn.Module):
    """Head that reads the three maps as the mask decoder gets them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.coarse = nn.Conv2d(width, (STRIDE // _FINE) ** 2, kernel_size=1)
        self.look = nn.Conv2d(width, _LOOK, kernel_size=1)
        self.norm = ChannelNorm(width)
        self.middle = nn.Conv2d(width + width // 4, width, kernel_size=1)
        self.fine = nn.Conv2d(width + width // 8, width, kernel_size=1)
        self.lesion = nn.Conv2d(width, 1, kernel_size=1)

    def forward(self, features: SliceFeatures) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits of a lesion and how each place looks.

        The logits [crops, 1, 4 rows, 4 columns] are read from all maps, and once more from the
        coarse one alone; the looks [crops, look, rows, columns] are vectors of length 1.
        """
        coarse = F.pixel_shuffle(self.coarse(features.coarse), STRIDE // _FINE)
        looks = F.normalize(self.look(features.coarse), dim=1)
        x = self.norm(features.coarse)
        for finer, conv in ((features.middle, self.middle), (features.fine, self.fine)):
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = F.gelu(conv(torch.cat((x, finer), dim=1)))
        return self.lesion(x), coarse, looks


def add_places(
    losses: LossAccumulator,
    head: PlacesHead,
    features: SliceFeatures,
    samples: Sequence[ScanSample],
) -> None:
    """Add the losses of the answers at every place of all crops."""
    weights = losses.weights
    features = SliceFeatures(
        features.coarse.float(), features.middle.float(), features.fine.float()
    )
    logits, coarse, looks = head(features)
    labels = torch.cat([on_device(sample.labels, logits.device) for sample in samples])
    truth = F.avg_pool2d((labels > 0).float()[:, None], _FINE)
    present = truth.flatten(1).any(dim=1, keepdim=True)  # (crops, 1)
    for name, answer in (("places", logits), ("places coarse", coarse)):
        error = weights.semantic_pixels * cross_entropy(answer, truth)
        # Dice asks a crop without lesions to mark nothing at all, and drowns the others in it.
        overlap = torch.where(present, dice(answer, truth), 0.0)
        losses.add(name, error + weights.dice * overlap, weights.places)
    first = 0
    for sample in samples:
        crops = slice(first, first + len(sample.slice_indices))
        first = crops.stop
        error = _look_error(looks[crops], sample)
        if error is not None:
            losses.add("places look", error[None], weights.places)


def _look_error(looks: Tensor, sample: ScanSample) -> Tensor | None:
    """Cross-entropy of each place's appearance, or of being healthy, if the places of all other
    crops vote by how alike they look. Every appearance counts the same; None if there is but one.
    """
    size, device = looks[0, 0].numel(), looks.device
    # Which places are compared is found out on the host, which knows all of it.
    shown = _appearance_of_places(sample).flatten()  # (crops * places,)
    every = -(-len(shown) // _MOST_HEALTHY)
    is_nth = torch.arange(len(shown)) % every == 0
    asked = ((shown > 0) | ((shown == 0) & is_nth)).nonzero()[:, 0]
    shown, crop = shown[asked], asked // size  # (n,)
    flat = looks.flatten(2).transpose(1, 2).flatten(0, 1)[on_device(asked, device)]  # (n, look)
    likeness = _SHARPNESS * flat @ flat.T  # (n, n)
    shown_there, crop_there = on_device(shown, device), on_device(crop, device)
    is_elsewhere = crop_there[:, None] != crop_there[None]
    present = [appearance for appearance in shown.unique().tolist() if appearance >= 0]
    votes = []
    for appearance in present:
        voters = is_elsewhere & (shown_there == appearance)
        vote = torch.logsumexp(likeness.masked_fill(~voters, _NO_VOTE), dim=1)
        votes.append(vote - voters.sum(dim=1).clamp(min=1).log())
    logits = torch.stack(votes, dim=1)  # (n, appearances)
    errors = []
    for n, appearance in enumerate(present):
        own = shown == appearance
        by_crop = crop[own].bincount(minlength=len(looks))
        counted = own & (by_crop[crop] < by_crop.sum())
        if counted.any():
            chosen = logits[places_of(counted, device)]
            errors.append(-chosen.log_softmax(dim=1)[:, n].mean())
    return torch.stack(errors).mean() if len(errors) > 1 else None


def _appearance_of_places(sample: ScanSample) -> Tensor:
    """For each place 0 for healthy, 1 + the appearance that most of its pixels are of, or -1 if it
    shows a little of a lesion only; [crops, rows, columns]."""
    is_lesion, appearances = sample.labels > 0, sample.appearance_of_pixels()
    lesion = F.avg_pool2d(is_lesion.float()[:, None], STRIDE)[:, 0]
    by_appearance = [
        F.avg_pool2d((is_lesion & (appearances == n)).float()[:, None], STRIDE)[:, 0]
        for n in range(int(sample.appearances.max()) + 1)
    ]
    most, which = torch.stack(by_appearance).max(dim=0)
    return torch.where(lesion == 0, 0, torch.where(most >= _MOSTLY, which + 1, -1))

"""A loss on what every place of a slice shows: a lesion or none, which lesions look alike, and
which places are of the same lesion.

A click or a search teaches the encoder through a whole decoder, one lesion or one appearance at a
time. A network from scratch learns to see many times sooner when every place is asked at once. The
head that answers is used in training only; it is kept in the checkpoint, not among the weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mois_core.network.config import MASK_STRIDE, STRIDE
from mois_core.network.mask_decoder import MaskDecoder
from mois_core.network.model import SliceFeatures
from mois_core.training.compared_places import MOSTLY, ComparedPlaces
from mois_core.training.device import on_device
from mois_core.training.losses import LossAccumulator, cross_entropy, dice, enlarged, pooled
from mois_core.training.sampling import ScanSample

_LOOK = 32
"""Length of the vector that describes how a place looks."""
_SHARPNESS = 10.0
"""Factor on the likeness of two looks, which is between -1 and 1."""
_NO_VOTE = -1e4
_LEAST = 1e-9
"""Less than any mean of likenesses can be; its logarithm is finite."""


class PlacesHead(nn.Module):
    """Answers from a slice's features alone, without any prompt.

    Whether a place is a lesion is asked of the mask decoder itself: what it says with tokens that
    say nothing. So clicks and searches begin with the outlines that are learned here, and have to
    learn only which of the lesions is meant.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.coarse = nn.Conv2d(width, (STRIDE // MASK_STRIDE) ** 2, kernel_size=1)
        self.look = nn.Conv2d(width, _LOOK, kernel_size=1)
        self.own = nn.Conv2d(width, _LOOK, kernel_size=1)

    def forward(self, features: SliceFeatures, decoder: MaskDecoder) -> tuple[Tensor, ...]:
        """Return logits of a lesion, how each place looks and what tells its lesion from others.

        The logits [crops, 1, 4 rows, 4 columns] are the decoder's, and once more read from the
        coarse map alone; the others [crops, look, rows, columns] are vectors of length 1.
        """
        coarse = F.pixel_shuffle(self.coarse(features.coarse), STRIDE // MASK_STRIDE)
        looks, own = (F.normalize(part(features.coarse), dim=1) for part in (self.look, self.own))
        logits = decoder.unprompted(features.coarse, features.middle, features.fine)
        return logits, coarse, looks, own


def add_places(
    losses: LossAccumulator,
    head: PlacesHead,
    decoder: MaskDecoder,
    features: SliceFeatures,
    samples: Sequence[ScanSample],
    compared: Sequence[ComparedPlaces | None],
) -> None:
    """Add the losses of the answers at every place of all crops.

    ``compared`` are the places of each sample that are asked how they look.
    """
    weights = losses.weights
    features = features.to(torch.float32)
    logits, coarse, looks, own = head(features, decoder)
    labels = torch.cat([on_device(sample.labels, logits.device) for sample in samples])
    truth = pooled((labels > 0).float()[:, None], weights)
    present = truth.flatten(1).any(dim=1, keepdim=True)  # (crops, 1)
    for name, answer in (("places", logits), ("places coarse", coarse)):
        answer = enlarged(answer, truth)
        error = weights.semantic_pixels * cross_entropy(answer, truth)
        # Dice asks a crop without lesions to mark nothing at all, and drowns the others in it.
        overlap = torch.where(present, dice(answer, truth), 0.0)
        losses.add(name, error + weights.dice * overlap, weights.places)
    parts = looks.split([len(sample.slice_indices) for sample in samples])
    for of_scan, places in zip(parts, compared, strict=True):
        if places is not None:
            losses.add("places look", _look_error(of_scan, places)[None], weights.places)
    # From labels on the host, so that a GPU need not be waited for.
    errors = own_errors(own, lesion_of_places(torch.cat([sample.labels for sample in samples])))
    if len(errors):
        losses.add("places own", errors, weights.places)


def _look_error(looks: Tensor, places: ComparedPlaces) -> Tensor:
    """Cross-entropy of what each place is, if the places of all other crops vote by how alike they
    look."""
    index, crop, shown, weights = (
        on_device(tensor, looks.device)
        for tensor in (places.index, places.crop, places.shown, places.weights)
    )
    flat = looks.flatten(2).transpose(1, 2).flatten(0, 1)[index]  # (n, look)
    # The sum of thousands of exponentials needs more digits than half precision has.
    with torch.autocast(looks.device.type, enabled=False):
        is_elsewhere = (crop[:, None] != crop).float()  # (n, n)
        alike = (_SHARPNESS * flat @ flat.T).exp() * is_elsewhere
        voters = is_elsewhere @ shown  # (n, classes)
        mean = alike @ shown / voters.clamp(min=1)
        votes = torch.where(voters > 0, mean.clamp(min=_LEAST).log(), _NO_VOTE)
        return -(weights * votes.log_softmax(dim=1)).sum()


def lesion_of_places(labels: Tensor) -> Tensor:
    """Return which lesion most of each place's lesion pixels are of, [crops, rows, columns]; 0 for
    healthy places and those that show a little of a lesion only.

    Every fourth row and column of ``labels`` [crops, 16 rows, 16 columns] is looked at.
    """
    side = STRIDE // MASK_STRIDE
    looked = labels[:, MASK_STRIDE // 2 :: MASK_STRIDE, MASK_STRIDE // 2 :: MASK_STRIDE].long()
    pixels = looked.unfold(1, side, side).unfold(2, side, side).flatten(3)  # (B, rows, columns, n)
    # Healthy pixels all differ, so that they are never the most.
    each = -1 - torch.arange(pixels.shape[-1], device=pixels.device)
    most = torch.where(pixels > 0, pixels, each).mode(dim=-1).values
    return torch.where((pixels > 0).float().mean(dim=-1) >= MOSTLY, most, 0)


def own_errors(own: Tensor, lesions: Tensor) -> Tensor:
    """Divergence from asking a lesion's places which others of the crop are of the same lesion: one
    for each lesion that has several places on a crop, and 0 at best.

    ``lesions`` is what `lesion_of_places` gives, on the host.
    """
    crop, row, column = places = lesions.nonzero(as_tuple=True)
    lesion = lesions[places] + crop * (lesions.max() + 1)  # (n,)
    is_other = ~torch.eye(len(lesion), dtype=torch.bool)
    is_asked = (crop[:, None] == crop) & is_other
    is_own = (lesion[:, None] == lesion) & is_other
    counted = is_own.sum(dim=1)
    asking = counted.nonzero()[:, 0]
    _, group, count = lesion[asking].unique(return_inverse=True, return_counts=True)
    errors = own.new_zeros(len(count), dtype=torch.float32)
    crop, row, column, asking, group, is_asked, is_own, counted, count = (
        on_device(tensor, own.device)
        for tensor in (crop, row, column, asking, group, is_asked, is_own, counted, count)
    )
    flat = own[crop, :, row, column]  # (n, look)
    with torch.autocast(own.device.type, enabled=False):
        votes = (_SHARPNESS * flat @ flat.T).masked_fill(~is_asked, _NO_VOTE).log_softmax(dim=1)
        counted = counted.clamp(min=1)
        each = -(votes * is_own).sum(dim=1) / counted - counted.log()  # (n,)
        return errors.index_add(0, group, each[asking] / count[group])

"""An exemplar attention that looks at the exemplars' lesions from its first step.

As drawn it looks everywhere alike, and a lesion is a twentieth of its exemplar: what it says of
its look drowns in the background. SAM 2's own weights have no such trouble; a network from
scratch needs this, or thousands of steps. Measured on some scans before the run begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mois_core.network.conditioning import RotaryAttention
from mois_core.network.config import STRIDE
from mois_core.network.exemplar import ExemplarView, MoisSam2
from mois_core.training.prompting import choose_items, features_of, masks_of, remember_masks
from mois_core.training.sampling import Sampling, sample_scan
from mois_core.training.stacks import Stack
from mois_core.training.windows import window

_SCANS = 12
_PREFERENCE = 4.0
"""How much larger the logits of lesion tokens are made than those of the background."""
_LOUDNESS = 3.0
"""Deviation over exemplars of what the attention adds; a slice's own map has about this much."""
_SLOW_PAIRS = 6
"""The rotary pairs from this one on turn by less than a radian over a whole slice."""


@torch.no_grad()
def focus_search(model: MoisSam2, scans: Sequence[Stack], how: Sampling, seed: int) -> None:
    """Set up the exemplar attention on some scans: standardised inputs, eyes on the lesion."""
    rng = np.random.default_rng([seed, 1])
    samples = [sample_scan(rng, scans[int(n)], how) for n in rng.integers(len(scans), size=_SCANS)]
    rngs = [rng] * len(samples)
    size = samples[0].images.shape[-1]
    with window(model, size):
        features = model.encode(torch.cat([sample.images for sample in samples]))
        items = choose_items(rngs, samples, how.consecutive, 0, 2)
        truth = masks_of(samples, items).to(model.device)
        traces = remember_masks(model, features_of(features, [i.index for i in items]), truth)
        is_lesion = F.max_pool2d(truth, STRIDE)[:, 0] > 0
        tokens = traces.memory.permute(0, 2, 3, 1)
        contrast = tokens[is_lesion].mean(dim=0) - tokens[~is_lesion].mean(dim=0)
        banks = [
            [
                ExemplarView(
                    samples[item.scan].slices[item.piece], True, traces.memory[n], traces.pointer[n]
                )
            ]
            for n, item in enumerate(items)
        ]
        query = model.exemplar_query(features[: samples[0].images.shape[0]])

        def run() -> None:
            for bank in banks:
                model.attend_to_exemplars(query, model.exemplar_keys(bank), list(samples[0].slices))

        for number, layer in enumerate(model.exemplar_attention.layers):
            # The query of the first layer has been through its first norm already.
            for norm in (layer.norm1, layer.norm2)[number == 0 :]:
                _standardise(norm, run)
            _prefer(layer.cross_attn_image, contrast)
            _make_heard(layer.cross_attn_image.out_proj, run)
            _standardise(layer.norm3, run)


def _standardise(norm: nn.LayerNorm, run: Callable[[], None]) -> None:
    """Let a norm's output have mean 0 and deviation 1 in every channel over all places."""
    seen: list[Tensor] = []
    hook = norm.register_forward_hook(lambda _, __, out: seen.append(out.flatten(0, 1)))
    run()
    hook.remove()
    out = torch.cat(seen)
    spread = out.std(dim=0).clamp(min=1e-3)
    norm.weight.div_(spread)
    norm.bias.sub_(out.mean(dim=0)).div_(spread)


def _prefer(attention: RotaryAttention, contrast: Tensor) -> None:
    """Add to the logits of lesion tokens, by one direction that hardly turns with the place."""
    width = attention.q_proj.bias.shape[0]
    pair = torch.arange(width // 2) % (width // 4)
    slow = (pair >= _SLOW_PAIRS).repeat_interleave(2).to(contrast)
    direction = slow / slow.norm()
    strength = (_PREFERENCE * width**0.5) ** 0.5
    attention.q_proj.bias.add_(strength * direction)
    attention.k_proj.weight.add_(
        strength * direction[:, None] * contrast[None] / contrast.square().sum()
    )


def _make_heard(projection: nn.Linear, run: Callable[[], None]) -> None:
    """Scale what the attention adds to a slice, so that it differs between exemplars as much as
    the slice does from place to place; what is the same for all of them is taken out."""
    seen: list[Tensor] = []
    hook = projection.register_forward_hook(lambda _, __, out: seen.append(out.flatten(0, 1)))
    run()
    hook.remove()
    out = torch.stack(seen)
    factor = _LOUDNESS / out.std(dim=0).mean(dim=0).clamp(min=1e-4)
    projection.weight.mul_(factor[:, None])
    projection.bias.sub_(out.mean(dim=(0, 1))).mul_(factor)

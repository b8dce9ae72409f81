"""A loss on where the search looks: places that show what is sought, at the exemplars' lesions.

The exemplar attention of a network from scratch gets its gradient through the mask decoder, and
finds out only after thousands of steps that it may compare looks. Told directly, it takes
hundreds. A network that starts from SAM 2.1 needs none of this.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mois_core.network.config import STRIDE
from mois_core.network.exemplar import ExemplarKeys, MoisSam2
from mois_core.network.position import rotary_table, rotate
from mois_core.training.device import places_of
from mois_core.training.losses import LossAccumulator

_SHOWN = 0.25
"""A place shows a lesion if this part of it is lesion."""


def attention_logits(model: MoisSam2, query: Tensor, keys: ExemplarKeys) -> Tensor:
    """Return how much each place attends to each place of the exemplars, before the softmax.

    The logits are those of the first layer of the search, [crops, places, exemplar places].
    """
    layer = model.search_stack.layers[0]
    attention = layer.cross_attn_image
    table = rotary_table(query.shape[-1], *query.shape[1:3], query.device)
    q = rotate(attention.q_proj(layer.norm2(query.flatten(1, 2))), table)  # (B, T, C)
    return q @ keys.maps[0].key.transpose(1, 2) / q.shape[-1] ** 0.5  # (B, T, K)


def add_attention(
    losses: LossAccumulator, logits: Tensor, outlined: Tensor, truth: Tensor, others: Tensor
) -> None:
    """Add the cross-entropy of the attention that falls on the exemplars' lesions.

    ``outlined`` are the exemplars' masks [exemplars, rows, columns]; ``truth`` and ``others`` what
    the searched crops show of the sought appearance and of others, [crops, rows, columns]; all of
    them are on the host. Places of the sought appearance, of others and without a lesion count the
    same, however many there are.
    """
    is_lesion = _shown(outlined).flatten() >= _SHOWN  # (K,)
    if not is_lesion.any() or is_lesion.all():
        return
    device = logits.device
    on, off = (logits[..., places_of(where, device)] for where in (is_lesion, ~is_lesion))
    preference = torch.logsumexp(on, dim=-1) - torch.logsumexp(off, dim=-1)  # (B, T)
    right, wrong = _shown(truth).flatten(1), _shown(others).flatten(1)  # (B, T)
    nothing = (right == 0) & (wrong == 0)
    for name, sign, where in (
        ("right", -1.0, right >= _SHOWN),
        ("wrong", 1.0, (wrong >= _SHOWN) & (right == 0)),
        ("nothing", 1.0, nothing),
    ):
        if where.any():
            asked = preference.flatten()[places_of(where, device)]
            error = F.softplus(sign * asked).mean()
            losses.add(f"attention {name}", error[None], losses.weights.attention)


def _shown(masks: Tensor) -> Tensor:
    """The part of each place that is lesion, as [masks, rows, columns] of places."""
    return F.avg_pool2d(masks[:, None].float(), STRIDE)[:, 0]

"""The encoder keeps its stretched positions only as long as they are right."""

from __future__ import annotations

import torch

from mois_core.network.config import HIERA_TINY
from mois_core.network.image_encoder import ImageEncoder

SIZES = ((64, 64), (64, 96), (64, 64))


def fresh(encoder: ImageEncoder, image: torch.Tensor) -> torch.Tensor:
    """Return the coarse map of an encoder that has kept nothing."""
    other = ImageEncoder(HIERA_TINY, 32)
    other.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        return other(image)[2]


def test_positions_are_computed_once_for_slices_of_one_size(monkeypatch):
    encoder = ImageEncoder(HIERA_TINY, 32)
    torch.nn.init.normal_(encoder.trunk.pos_embed)
    calls = []
    stretched = encoder.trunk._stretched
    monkeypatch.setattr(
        encoder.trunk, "_stretched", lambda *size: calls.append(size) or stretched(*size)
    )
    with torch.no_grad():
        for size in ((64, 64), (64, 64), (64, 96), (64, 96)):
            encoder(torch.rand(1, 3, *size))

    assert calls == [(16, 16), (16, 24)]


def test_kept_positions_follow_the_weights_and_the_size():
    torch.manual_seed(0)
    encoder = ImageEncoder(HIERA_TINY, 32)
    image = torch.rand(1, 3, 64, 64)
    for change in (
        lambda: torch.nn.init.normal_(encoder.trunk.pos_embed),
        lambda: encoder.load_state_dict(ImageEncoder(HIERA_TINY, 32).state_dict()),
        lambda: torch.nn.init.normal_(encoder.trunk.pos_embed_window),
        lambda: encoder.double() and encoder.float(),
        lambda: None,
    ):
        change()
        with torch.no_grad():
            kept = encoder(image)[2]
        assert torch.equal(kept, fresh(encoder, image))


def test_training_learns_positions_after_slices_were_encoded():
    encoder = ImageEncoder(HIERA_TINY, 32)
    with torch.no_grad():
        encoder(torch.rand(1, 3, 64, 64))
    encoder(torch.rand(1, 3, 64, 64))[2].sum().backward()

    assert encoder.trunk.pos_embed.grad is not None

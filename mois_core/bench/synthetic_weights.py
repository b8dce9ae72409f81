"""Weights made from the keys alone, so that two implementations can be compared without any.

Every tensor is unit noise seeded by its key and scaled for its kind; the scales
keep the function lively (masks of both signs, scores of both signs) and well conditioned.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

OBJECT_SCORE_BIAS = "sam_mask_decoder.pred_obj_score_head.layers.2.bias"
DEFAULT_SCORE_BIAS = 0.5

_TOKENS = re.compile(
    r"(point_embeddings\.\d+|not_a_point_embed|no_mask_embed|iou_token|mask_tokens"
    r"|obj_score_token)\.weight$"
)
_TRANSPOSED = re.compile(r"output_upscaling\.[03]\.weight$")
_GAINS = (
    (re.compile(r"(q_proj|k_proj)\.weight$"), 1.5),
    (re.compile(r"attn\.qkv\.weight$"), 1.5),
    (re.compile(r"output_hypernetworks_mlps\.\d+\.layers\.2\.weight$"), 5.0),
    (re.compile(r"pred_obj_score_head\.layers\.2\.weight$"), 5.0),
    (re.compile(r"iou_prediction_head\.layers\.2\.weight$"), 4.0),
    (re.compile(r"obj_ptr_proj\.layers\.2\.weight$"), 2.0),
    (re.compile(r"memory_encoder\.out_proj\.weight$"), 0.7),
)
_OTHER_GAIN = 1.3


def unit_noise(key: str, shape: tuple[int, ...], salt: str = "") -> np.ndarray:
    """Return standard normal float32 values that depend on key, shape and salt only."""
    digest = hashlib.sha256((salt + key).encode()).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "little")))
    return generator.standard_normal(shape, dtype=np.float32)


def synthetic_tensor(key: str, shape: tuple[int, ...], salt: str, score_bias: float) -> np.ndarray:
    """Return one tensor of a state dict, scaled for its kind."""
    if key == OBJECT_SCORE_BIAS:
        return np.full(shape, score_bias, dtype=np.float32)
    noise = unit_noise(key, shape, salt)
    if key.endswith("positional_encoding_gaussian_matrix"):
        return noise
    if key.endswith(".gamma"):
        return np.float32(0.3) + np.float32(0.03) * noise
    if key.endswith(".weight") and len(shape) == 1:
        return np.float32(1) + np.float32(0.05) * noise
    if key.endswith(".bias"):
        return np.float32(0.05) * noise
    if _TOKENS.search(key):
        return np.float32(0.5) * noise
    if key.endswith(".weight"):
        fan_in = shape[0] if _TRANSPOSED.search(key) else int(np.prod(shape[1:]))
        gain = next((g for pattern, g in _GAINS if pattern.search(key)), _OTHER_GAIN)
        return np.float32(gain / np.sqrt(fan_in)) * noise
    return np.float32(0.1 if "pos_embed" in key else 0.2) * noise


def synthetic_state(
    shapes: Mapping[str, tuple[int, ...]], salt: str = "", score_bias: float = DEFAULT_SCORE_BIAS
) -> dict[str, Tensor]:
    """Return a whole state dict for the given keys and shapes."""
    return {
        key: torch.from_numpy(synthetic_tensor(key, tuple(shape), salt, score_bias))
        for key, shape in shapes.items()
    }


def fill_synthetic(
    model: nn.Module, salt: str = "", score_bias: float = DEFAULT_SCORE_BIAS
) -> nn.Module:
    """Fill a network with synthetic weights and return it."""
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    model.load_state_dict(synthetic_state(shapes, salt, score_bias))
    return model

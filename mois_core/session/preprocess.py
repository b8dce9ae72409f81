"""From a slice to the network's input: brightness from 0 to 1, at the network's size.

The slice is stretched to it, as in training; coordinates follow by the same two factors.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from mois_core.network.config import Size

FULL_BRIGHTNESS = 255.0


def model_input(image: np.ndarray, size: Size) -> Tensor:
    """Turn a slice [rows, columns] of brightness 0 to 255 into (1, *size), never rounded."""
    pixels = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None, None]
    scaled = F.interpolate(
        pixels / FULL_BRIGHTNESS, size, mode="bicubic", align_corners=False, antialias=True
    )
    return scaled[0].clamp(0, 1)


def published_input(image: np.ndarray, size: Size) -> Tensor:
    """Turn a slice into network input as the published app does: rounded before and after."""
    pixels = Image.fromarray(image.astype(np.uint8))
    resized = np.array(pixels.resize(size[::-1], Image.Resampling.BICUBIC))
    return torch.from_numpy(resized / np.float32(FULL_BRIGHTNESS))[None].float()

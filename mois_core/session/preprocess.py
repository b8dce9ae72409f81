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
    """Turn a slice into network input as the published app does: rounded before and after.

    It is resized along the rows, rounded, and resized along the columns: so does the Pillow that
    the published environments pin (10.4 and 11.1). From 13.0 on Pillow begins with the columns
    where that is less work, and some pixels come out several levels apart. Called for one axis at a
    time, every Pillow does the same.
    """
    rows, columns = size
    pixels = Image.fromarray(image.astype(np.uint8))
    for step in ((columns, pixels.height), (columns, rows)):
        pixels = pixels.resize(step, Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(pixels) / np.float32(FULL_BRIGHTNESS))[None].float()

"""The three torchvision classes that the ``sam2`` package imports, where there is no torchvision.

A torchvision that fits the installed torch does not exist everywhere; ``sam2`` needs it only to
turn an image into a tensor. The stand-in is visible in ``sys.modules`` only while ``sam2`` is
being imported, so that no other package mistakes it for the real thing.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

REPLACED_MODULES = ("torchvision", "torchvision.transforms")


class ToTensor:
    """Turn an image [rows, columns, channels] into a tensor, channels first, bytes as 0 to 1."""

    def __call__(self, image: np.ndarray | Image.Image) -> torch.Tensor:
        array = np.atleast_3d(np.asarray(image))
        tensor = torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))
        return tensor.float() / 255 if tensor.dtype == torch.uint8 else tensor


class Resize(nn.Module):
    """Resize a float tensor [channels, rows, columns], bilinearly with anti-aliasing."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.height, self.width = size

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        size = [self.height, self.width]
        resized = F.interpolate(
            image[None], size=size, mode="bilinear", align_corners=False, antialias=True
        )
        return resized[0]


class Normalize(nn.Module):
    """Subtract a mean and divide by a standard deviation, per channel."""

    def __init__(self, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return (image - self.mean) / self.std


def torchvision_is_usable() -> bool:
    """Return whether the real torchvision imports; one built for another torch may fail to."""
    try:
        importlib.import_module("torchvision.transforms")
    except (ImportError, RuntimeError, OSError):
        return False
    return True


@contextlib.contextmanager
def torchvision_or_stand_in() -> Iterator[None]:
    """Make ``torchvision.transforms`` importable within a block, the real one where possible."""
    if torchvision_is_usable():
        yield
        return
    package, transforms = (ModuleType(name) for name in REPLACED_MODULES)
    transforms.ToTensor, transforms.Resize, transforms.Normalize = ToTensor, Resize, Normalize
    package.transforms = transforms
    before = {name: sys.modules.get(name) for name in REPLACED_MODULES}
    sys.modules.update(zip(REPLACED_MODULES, (package, transforms), strict=True))
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module

"""How a step uses the device that the network is on, so that the two wait for each other rarely.

A GPU works off what it was given while Python is already further on. Whatever makes Python wait
for a result, or copies from memory that the GPU cannot read by itself, drains it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def use_fast_products(device: torch.device) -> None:
    """Let a GPU multiply float32 in TensorFloat-32.

    What half precision is not safe for loses ten of 23 bits by that, and takes a fraction of the
    time. It holds for the whole process; processors are left as they are. The fastest convolutions
    are not looked for: each step has another number of lesions, and would look anew.
    """
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor from the host without waiting for what the device is still doing."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def places_of(mask: Tensor, device: torch.device) -> Tensor:
    """Return where a mask on the host is true, as indices into a flat tensor on the device.

    Indexed with the mask itself, a GPU would count first and Python wait for the number.
    """
    return on_device(mask.flatten().nonzero()[:, 0], device)

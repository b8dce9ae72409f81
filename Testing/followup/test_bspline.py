"""How an image is bent onto another one."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from mois_core.followup.bspline import _Adam, bend

PASSES = ((60.0, 1, 30),)


def blob(middle: float, slices: int = 4) -> np.ndarray:
    """An image [slices, 40, 40] that is bright around one column."""
    columns = np.arange(40)
    return np.tile(np.exp(-(((columns - middle) / 5) ** 2)), (slices, 40, 1)).astype(np.float32)


@pytest.mark.parametrize("slices", [1, 2, 4, 12])
def test_an_image_is_bent_onto_another_one(slices):
    """With few slices, too: less than the window in which images are compared."""
    fixed, moving = blob(20, slices), blob(22, slices)
    where = np.ones_like(fixed)
    displacement = bend(fixed, moving, where, (4.0, 4.0, 4.0), PASSES, lambda: None)
    assert displacement[2, :, 10:30, 20] == pytest.approx(8.0, abs=2.5)


def test_its_steps_are_those_of_torchs_adam():
    ours, theirs = (torch.linspace(-2, 3, 20, requires_grad=True) for _ in range(2))
    own, other = _Adam(ours), torch.optim.Adam([theirs], lr=1.0)
    for n in range(30):
        rate = 0.5 - 0.01 * n
        for values in (ours, theirs):
            values.grad = None
            ((values**4).sum() + values.sin().sum()).backward()
        own.step(rate)
        other.param_groups[0]["lr"] = rate
        other.step()
    assert ours.detach().numpy() == pytest.approx(theirs.detach().numpy(), abs=1e-6)


def test_it_does_not_import_torchs_compiler():
    """That would hold up all threads of the program for a second or more."""
    code = (
        "import sys, numpy as np\n"
        "from mois_core.followup.bspline import bend\n"
        "image = np.ones((4, 8, 8), dtype=np.float32)\n"
        "bend(image, image, image, (4.0, 4.0, 4.0), ((60.0, 1, 1),), lambda: None)\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""Programs of others run in Python environments of their own, which must not see ours."""

from __future__ import annotations

import os

_OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
"""What tells a Python where its packages are."""


def environment_without_ours() -> dict[str, str]:
    """Return the environment's variables without those that point to our own packages."""
    return {name: value for name, value in os.environ.items() if name not in _OURS}

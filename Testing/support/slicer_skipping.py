"""How tests are skipped, with the reason told, where Slicer's libraries or Qt are not there."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from pathlib import Path

import pytest


class SkippedModule(pytest.Module):
    """A test module that is not imported, because it could not be."""

    reason = ""

    def collect(self):
        pytest.skip(self.reason, allow_module_level=True)


def skipped_module(path: Path, parent: pytest.Collector, reason: str) -> SkippedModule:
    module = SkippedModule.from_parent(parent, path=path)
    module.reason = reason
    return module


def missing(names: Iterable[str]) -> str:
    """What to say when some packages are not installed; nothing if they are."""
    absent = []
    for name in names:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            absent.append(name)
    if not absent:
        return ""
    return f"needs {' and '.join(absent)} (pip install {' '.join(absent)})"

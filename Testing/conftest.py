"""Fixtures for tests of every part of the project."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import ReadWriteLock

TESTING = Path(__file__).parent
sys.path[:0] = [str(TESTING / "support"), str(TESTING.parent)]


def pytest_configure(config):
    """Give each of the processes that share the tests its part of the cores."""
    sharing = _sharing(config)
    if sharing:
        threads = max(1, torch.get_num_threads() // sharing["workercount"])
        os.environ["OMP_NUM_THREADS"] = str(threads)
        torch.set_num_threads(threads)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    """Let a test that measures time wait for the other processes, and them for it."""
    alone = item.get_closest_marker("alone") is not None
    with _lock(item.config, alone), _without_old_garbage() if alone else nullcontext():
        return (yield)


def _lock(config, alone: bool) -> AbstractContextManager:
    """Return what keeps a test that measures time apart from those of other processes."""
    if not _sharing(config):
        return nullcontext()
    lock = ReadWriteLock(config.cache.mkdir("sharing") / "lock")
    return lock.write_lock() if alone else lock.read_lock()


@contextmanager
def _without_old_garbage() -> Iterator[None]:
    """Keep what earlier tests left in the process out of what a test measures.

    Going through all of it for garbage takes 150 ms, and at times falls into a step of 10.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def _sharing(config) -> dict[str, Any]:
    """Return what pytest-xdist tells a process that shares the tests with others, or nothing."""
    return getattr(config, "workerinput", {})


@pytest.fixture
def one_thread():
    """Use one thread, for arithmetic so small that starting others takes longer than the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def the_scene(tmp_path_factory):
    """Slicer's scene without Slicer, for the tests of the extension.

    It is made once, since that takes a second and Slicer has one scene too.
    """
    from scene_setup import make_scene

    scene, keep = make_scene(str(tmp_path_factory.mktemp("slicer")))
    yield scene
    scene.Clear(1)
    del keep


@pytest.fixture
def a_scene(the_scene):
    """A scene that is empty, and emptied again afterwards."""
    the_scene.Clear(0)
    yield the_scene
    the_scene.Clear(0)
    gc.collect()


@pytest.fixture
def errors(monkeypatch):
    """Make exceptions in slots and observers count, which are only printed otherwise."""
    seen = []
    monkeypatch.setattr("sys.excepthook", lambda *error: seen.append(error))
    yield seen
    assert seen == []

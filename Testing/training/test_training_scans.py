"""Scans of a run: phantoms are made by several processes, and are those that one would make."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from work_for_processes import THREADS, die, refuse, squared, threads_of

from mois_core.errors import BadInput
from mois_core.phantom import HELD_OUT_FROM
from mois_core.training import scans as module
from mois_core.training.config import DataConfig, PhantomRange
from mois_core.training.parallel import cores, in_processes
from mois_core.training.resized_case import ResizedCase
from mois_core.training.scans import load_scans

SIZE = (128, 64)
SEEDS = (1026, 1027)
"""The second has few slices and lesions, and is made soon."""

needs_signals = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


# ---- processes ---------------------------------------------------------------------------------


def test_work_is_shared_among_processes_and_comes_in_order():
    results = list(in_processes(squared, range(20), processes=2))

    assert [square for square, _ in results] == [n**2 for n in range(20)]
    assert os.getpid() not in {process for _, process in results}


@pytest.mark.parametrize(("things", "processes"), [(range(5), 1), (range(1), 8), (range(0), 8)])
def test_no_process_is_started_for_nothing(things, processes):
    results = list(in_processes(squared, things, processes))

    assert results == [(n**2, os.getpid()) for n in things]


def test_each_process_computes_with_one_thread(monkeypatch):
    monkeypatch.setenv(THREADS, "7")

    assert set(in_processes(threads_of, range(4), processes=2)) == {(1, "1")}
    assert os.environ[THREADS] == "7"


def test_an_error_of_one_process_comes_through():
    results = in_processes(partial(refuse, 3), range(6), processes=2)

    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(BadInput, match="number 3 is no good"):
        next(results)


@needs_signals
def test_a_process_that_is_killed_says_so_instead_of_hanging():
    with pytest.raises(BadInput, match="memory ran out"):
        list(in_processes(die, range(4), processes=2))


def two_busy_processes(work: str) -> tuple[subprocess.Popen, list[int]]:
    """Start a program whose two processes never end; return it, and their numbers."""
    work = (
        "from mois_core.training.parallel import in_processes\n"
        "from work_for_processes import NeverThere, compute_for_ever, squared\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        f"        list(in_processes({work}, 2))\n"
        "    except KeyboardInterrupt:\n"
        "        print('cancelled')\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", work],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    return starter, [int(starter.stdout.readline()) for _ in range(2)]


@needs_signals
def test_processes_end_when_the_one_that_started_them_is_killed():
    starter, busy = two_busy_processes("compute_for_ever, range(2)")
    starter.kill()
    try:
        # The end of the file comes when the last process that could write to it is gone.
        starter.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        for process in busy:
            os.kill(process, signal.SIGKILL)
        pytest.fail("they go on without it")


@needs_signals
@pytest.mark.parametrize("work", ["compute_for_ever, range(2)", "squared, [NeverThere()] * 2"])
def test_ctrl_c_ends_all_processes_and_only_the_first_one_says_so(work):
    starter, _ = two_busy_processes(work)
    os.killpg(starter.pid, signal.SIGINT)
    try:
        assert starter.communicate(timeout=20) == ("cancelled\n", "")
    except subprocess.TimeoutExpired:
        os.killpg(starter.pid, signal.SIGKILL)
        raise


def test_processes_of_one_run_share_the_cores(monkeypatch):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    alone = cores()
    assert alone >= 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(2 * alone))
    assert cores() == 1


# ---- phantoms ----------------------------------------------------------------------------------


def a_small_scan() -> ResizedCase:
    """A scan that looks the same everywhere, and is a single lesion."""
    everywhere = np.ones((2, *SIZE), np.uint8)
    return ResizedCase("small", everywhere, everywhere.copy(), np.zeros(2, np.uint8))


def test_phantoms_of_several_processes_are_those_of_one_and_are_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "cores", lambda: 2)
    folder = tmp_path / "128x64"
    kept = [folder / f"phantom-{seed}.safetensors" for seed in SEEDS]
    small = a_small_scan()
    folder.mkdir()
    small.save(kept[0])
    how = PhantomRange(first=SEEDS[0], count=2, cache=str(tmp_path))

    made = load_scans(DataConfig(phantoms=how), SIZE)

    assert "phantoms 2/2" in capsys.readouterr().out
    assert sorted(folder.iterdir()) == kept
    alone = module._phantom(SEEDS[1], SIZE)
    for scan, path, expected in zip(made, kept, (small, alone), strict=True):
        assert scan.name == path.stem and scan.images.shape[1:] == SIZE
        for name in ("images", "labels", "appearances"):
            np.testing.assert_array_equal(getattr(scan, name), getattr(expected, name))


def test_every_process_of_a_run_makes_a_part_of_the_phantoms_and_opens_all(tmp_path, monkeypatch):
    small = a_small_scan()
    made = []
    monkeypatch.setattr(module, "cores", lambda: 1)
    monkeypatch.setattr(module, "_phantom", lambda seed, size: made.append(seed) or small)
    monkeypatch.setattr(module.distributed, "processes", lambda: 2)
    how = PhantomRange(first=1000, count=5, cache=str(tmp_path))
    monkeypatch.setattr(module.distributed, "rank", lambda: 1)

    def the_other_makes_its_part():
        for seed in (1000, 1002, 1004):
            module._keep_phantom(seed, SIZE, tmp_path / "128x64")

    monkeypatch.setattr(module.distributed, "wait_for_all", the_other_makes_its_part)

    scans = load_scans(DataConfig(phantoms=how), SIZE)

    assert made == [1001, 1003, 1000, 1002, 1004]
    assert [scan.name for scan in scans] == [f"phantom-{seed}" for seed in range(1000, 1005)]


def test_a_phantom_is_kept_whole_or_not_at_all(tmp_path, monkeypatch):
    small = a_small_scan()
    monkeypatch.setattr(module, "_phantom", lambda seed, size: small)

    def full(tensors, path):
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mois_core.training.resized_case.save_file", full)
    with pytest.raises((OSError, BadInput), match="No space left"):
        module._keep_phantom(1000, SIZE, tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_damaged_phantom_is_said(tmp_path):
    path = tmp_path / "128x64" / "phantom-1000.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"half of it")
    how = PhantomRange(count=1, cache=str(tmp_path))
    with pytest.raises(BadInput, match="phantom-1000.safetensors is damaged"):
        load_scans(DataConfig(phantoms=how), SIZE)


@pytest.mark.parametrize("processes", [1, 2])
def test_held_out_phantoms_are_refused_by_every_process(monkeypatch, processes):
    monkeypatch.setattr(module, "cores", lambda: processes)
    data = DataConfig(phantoms=PhantomRange(first=HELD_OUT_FROM, count=2))
    with pytest.raises(BadInput, match="held out"):
        load_scans(data, SIZE)

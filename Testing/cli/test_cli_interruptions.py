"""Ctrl+C, SIGTERM and closed pipes end a command at any moment: one line, its code, no files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from command_line import mois, use_stub, write_clicks, write_scene, write_weights
from engine_fixtures import FIRST, scan_of, volume_of
from paths import ROOT

from mois_core.geometry import Volume
from mois_core.io import atomic, read_scan
from mois_core.session import Session

pytestmark = pytest.mark.usefixtures("one_thread")

ENDINGS = [(signal.SIGINT, 130, "cancelled"), (signal.SIGTERM, 143, "terminated")]

WAITING = """
import sys, time
from mois_core import cli, weights
def wait(*how):
    print("ready", flush=True)
    time.sleep(100)
weights.open_checkpoint = wait
sys.exit(cli.main())
"""
"""The program, which waits for good where it would load weights."""

AT_THE_BEGINNING = """
import importlib.abc, os, sys
class Interrupting(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "{module}":
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Interrupting())
"""
"""What Python runs before any program, here to end it as soon as a module is imported."""

needs_posix = pytest.mark.skipif(os.name != "posix", reason="signals and pipes of POSIX")


@pytest.fixture
def a_case(tmp_path):
    scan = write_scene(tmp_path / "case")
    folder = scan.parent
    write_clicks(folder / "clicks.mrk.json", read_scan(scan), [(1, True, FIRST.middle)])
    return folder


def words(case, model="stub") -> list[str]:
    given = ("segment", case / "scan.nii.gz", "--points", case / "clicks.mrk.json")
    results = ("--out", case / "out.seg.nrrd", "--report", case / "table.csv")
    return [str(word) for word in (*given, "--model", model, *results)]


def with_default_signals() -> None:
    """A process that was begun in the background may be one that ignores Ctrl+C."""
    for number, _, _ in ENDINGS:
        signal.signal(number, signal.SIG_DFL)


def program(*words, script=("-m", "mois_core"), prepare=with_default_signals, **how):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": ""}
    return subprocess.Popen(
        [sys.executable, *script, *words],
        cwd=ROOT,
        env=environment,
        preexec_fn=prepare if os.name == "posix" else None,
        **how,
    )


# ---- signals --------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code", "word"), ENDINGS)
def test_a_signal_while_weights_load_is_no_damaged_file(
    a_case, tmp_path, monkeypatch, capsys, number, code, word
):
    def load(*_, **__):
        """Make of a signal what PyTorch makes of one where it looks for a tensor's shape."""
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise ValueError("could not determine the shape of object type") from None

    weights = write_weights(tmp_path / "tiny.pt", "mois-tiny")
    monkeypatch.setattr(torch, "load", load)
    before = sorted(a_case.iterdir())

    assert mois(*words(a_case, weights)) == code

    assert capsys.readouterr().err == f"mois segment: {word}\n"
    assert sorted(a_case.iterdir()) == before


@pytest.mark.parametrize(("number", "code", "word"), ENDINGS)
def test_a_signal_that_a_library_swallows_still_counts(
    a_case, monkeypatch, capsys, number, code, word
):
    def prepare(*_):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)

    use_stub(monkeypatch)
    monkeypatch.setattr(Session, "prepare", prepare)
    before = sorted(a_case.iterdir())

    assert mois(*words(a_case)) == code

    assert capsys.readouterr().err == f"mois segment: {word}\n"
    assert sorted(a_case.iterdir()) == before


def test_a_signal_where_python_cannot_raise_still_counts_and_is_not_complained_of(
    a_case, monkeypatch, capsys
):
    class Last:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    use_stub(monkeypatch)
    monkeypatch.setattr(Session, "prepare", lambda *_: Last() and None)

    assert mois(*words(a_case)) == 143

    assert capsys.readouterr().err == "mois segment: terminated\n"


def test_handlers_are_put_back(a_case, monkeypatch):
    use_stub(monkeypatch)
    before = [signal.getsignal(number) for number, _, _ in ENDINGS]
    assert mois(*words(a_case)) == 0
    assert [signal.getsignal(number) for number, _, _ in ENDINGS] == before


def test_a_signal_between_two_files_leaves_both_of_them(a_case, monkeypatch, capsys):
    use_stub(monkeypatch)
    replace = os.replace

    def interrupted(source, target):
        replace(source, target)
        if Path(target).name == "table.csv":
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(atomic.os, "replace", interrupted)

    assert mois(*words(a_case)) == 0

    assert (a_case / "table.csv").exists() and (a_case / "out.seg.nrrd").exists()
    assert capsys.readouterr().err == ""


@needs_posix
@pytest.mark.parametrize(("number", "code", "word"), ENDINGS)
def test_a_program_that_gets_a_signal(a_case, number, code, word):
    before = sorted(a_case.iterdir())
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with program(*words(a_case), script=("-c", WAITING), **pipes) as running:
        assert running.stdout.readline() == b"ready\n"
        running.send_signal(number)
        running.send_signal(number)  # impatience changes nothing
        said = running.communicate()[1].decode()
    assert (running.returncode, said) == (code, f"mois segment: {word}\n")
    assert sorted(a_case.iterdir()) == before


def entry_point() -> str:
    """What the program's file imports and calls, as packaging tools write it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    module, _, name = project["project"]["scripts"]["mois"].partition(":")
    return f"import sys\nfrom {module} import {name}\nsys.exit({name}())"


@needs_posix
@pytest.mark.parametrize("module", ["mois_core.cli", "argparse", "signal", "mois_core.cli.demo"])
@pytest.mark.parametrize("script", [("-m", "mois_core"), ("-c", entry_point())], ids=["-m", "mois"])
@pytest.mark.parametrize(("number", "code", "word"), ENDINGS)
def test_a_signal_before_there_is_a_command(
    tmp_path, monkeypatch, number, code, word, script, module
):
    hook = AT_THE_BEGINNING.format(module=module, number=int(number))
    (tmp_path / "sitecustomize.py").write_text(hook, encoding="utf-8")
    before = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), str(ROOT), before)))
    with program("weights", "list", script=script, stderr=subprocess.PIPE) as running:
        said = running.stderr.read().decode()
    assert (running.returncode, said) == (code, f"mois: {word}\n")


@needs_posix
def test_a_signal_that_is_ignored_stays_so_from_the_beginning(tmp_path, monkeypatch):
    hook = AT_THE_BEGINNING.format(module="mois_core.cli", number=int(signal.SIGINT))
    (tmp_path / "sitecustomize.py").write_text(hook, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), str(ROOT))))

    def ignoring():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    with program("--version", prepare=ignoring, stdout=subprocess.PIPE) as running:
        assert running.stdout.read().startswith(b"mois ")
    assert running.returncode == 0


@needs_posix
@pytest.mark.parametrize(("number", "code", "word"), ENDINGS)
def test_a_signal_in_code_that_is_run_from_text_has_no_other_code(number, code, word):
    """As named tuples and data classes are made, which imports do by the hundred."""
    script = "import signal, sys; from mois_core import cli, weights\n"
    script += f"weights.list_entries = lambda: eval('signal.raise_signal({int(number)})')\n"
    script += "sys.exit(cli.main())"
    listing = ("weights", "list")
    with program(*listing, script=("-c", script), stderr=subprocess.PIPE) as running:
        said = running.stderr.read().decode()
    assert (running.returncode, said) == (code, f"mois weights: {word}\n")


@needs_posix
def test_a_signal_that_the_program_was_started_to_ignore_stays_ignored(a_case, tmp_path):
    def ignoring():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    script = "import signal, sys; from mois_core import cli, weights\n"
    script += "weights.list_entries = lambda: signal.raise_signal(signal.SIGINT) or []\n"
    script += "sys.exit(cli.main())"
    with program("weights", "list", script=("-c", script), prepare=ignoring) as running:
        assert running.wait() == 0


# ---- closed pipes -------------------------------------------------------------------------------


@pytest.fixture
def a_closed_pipe():
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@needs_posix
@pytest.mark.parametrize("command", [("weights", "list"), ("--help",), ("segment", "--help")])
def test_a_reader_that_went_away_is_nothing_to_speak_of(a_closed_pipe, command):
    with program(*command, stdout=a_closed_pipe, stderr=subprocess.PIPE) as running:
        assert running.stderr.read() == b""
    assert running.returncode == 141


@needs_posix
def test_without_a_reader_of_messages_nothing_is_written(a_case, a_closed_pipe, tmp_path):
    across = volume_of(scan_of()).ijk_to_ras.copy()
    across[:3, 0] *= 14
    across[:3, 2] /= 14
    write_scene(a_case, volume=Volume(scan_of(FIRST), across))
    write_clicks(
        a_case / "clicks.mrk.json", read_scan(a_case / "scan.nii.gz"), [(1, True, FIRST.middle)]
    )
    before = sorted(a_case.iterdir())
    weights = write_weights(tmp_path / "tiny.pt", "mois-tiny")
    with program(*words(a_case, weights), stdout=subprocess.PIPE, stderr=a_closed_pipe) as running:
        assert running.stdout.read() == b""
    assert running.returncode == 141
    assert sorted(a_case.iterdir()) == before


@needs_posix
def test_a_program_without_standard_streams_works(a_case, tmp_path):
    def without_streams():
        for number in (0, 1, 2):
            os.close(number)

    weights = write_weights(tmp_path / "tiny.pt", "mois-tiny")
    given = (*words(a_case, weights), "--no-search")
    with program(*given, prepare=without_streams) as running:
        assert running.wait() == 0
    table = (a_case / "table.csv").read_text(encoding="utf-8")
    assert table.startswith("lesion,") and len(table.splitlines()) == 2


@needs_posix
def test_a_full_disk_under_the_output_is_said():
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    with (
        open("/dev/full", "wb") as full,
        program("weights", "list", stdout=full, stderr=subprocess.PIPE) as running,
    ):
        said = running.stderr.read().decode()
    assert running.returncode == 2
    assert said == "mois: what was to be printed is lost (No space left on device)\n"

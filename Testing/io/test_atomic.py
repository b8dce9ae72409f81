"""What killed programs leave in a folder is removed by the next one, and nothing else is."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from paths import ROOT

from mois_core.errors import BadInput
from mois_core.io import atomic
from mois_core.io.atomic import atomic_folder, atomic_write, temporary_folder

KILLED_WHILE_WRITING = """
import os, signal, sys
from mois_core.io.atomic import atomic_write
with atomic_write(sys.argv[1]) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
KILLED_WHILE_FILLING = """
import os, signal, sys
from mois_core.io.atomic import atomic_folder
with atomic_folder(sys.argv[1]) as temporary:
    (temporary / "a.dcm").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
WRITING = """
import sys
from mois_core.io.atomic import atomic_write
with atomic_write(sys.argv[1]) as temporary:
    temporary.write_text("half")
    print("written", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def a_program_that_has_just_begun(monkeypatch):
    monkeypatch.setattr(atomic, "_tidied", set())


def write(path) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text("whole", "utf-8")


def started(script, path, **how) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", script, str(path)], cwd=ROOT, **how)


def test_where_nothing_can_be_written_or_removed_that_is_what_is_said(tmp_path, monkeypatch):
    """On a file system that is read-only, removing a file that is not there is an error, too."""

    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(atomic, "_to_disk", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(BadInput, match="cannot be written .Read-only file system"):
        write(tmp_path / "table.csv")


@pytest.mark.parametrize("fails", [True, False])
def test_a_temporary_folder_is_gone_afterwards(tmp_path, fails):
    with suppress(BadInput), temporary_folder(tmp_path) as folder:
        (folder / "a").write_text("whole", "utf-8")
        (folder / "a").rename(tmp_path / "a")
        (folder / "b").write_text("left", "utf-8")
        if fails:
            raise BadInput("no")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
def test_what_a_killed_program_left_is_removed_by_the_next(tmp_path):
    (tmp_path / "table.csv").write_text("old", "utf-8")
    assert started(KILLED_WHILE_WRITING, tmp_path / "table.csv").wait() == -9
    (left,) = {path.name for path in tmp_path.iterdir()} - {"table.csv"}
    assert re.fullmatch(r"\.mois-[0-9a-f]{6}-\d+-[0-9a-f]{8}\.csv", left)

    write(tmp_path / "other.csv")

    assert {path.name for path in tmp_path.iterdir()} == {"table.csv", "other.csv"}
    assert (tmp_path / "table.csv").read_text("utf-8") == "old"


def test_what_another_program_is_writing_is_left_alone(tmp_path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with started(WRITING, tmp_path / "table.csv", **pipes) as other:
        assert other.stdout.readline().strip() == b"written"
        write(tmp_path / "other.csv")
        other.communicate(b"\n")
        assert other.returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"table.csv", "other.csv"}


def test_files_of_others_are_left_alone(tmp_path):
    ended = started("", tmp_path)
    ended.wait()
    here = f".mois-{atomic._place()}-"
    names = {
        f".mois-000000-{ended.pid}-0123abcd.csv",  # of another computer
        f"{here}{ended.pid}-0123abcd.csv.bak",  # this one is ours, and the only one
        f"{here}{os.getpid()}-0123abcd.csv",
        f"{here}99999999999999999999-0123abcd.csv",
        f"{here}0-0123abcd.csv",
        f"{here}{ended.pid}-notes.csv",
        f"x{here}{ended.pid}-0123abcd.csv",
        ".mois-0123abcd.csv",
        "notes.csv",
    }
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / f"{here}{ended.pid}-0123abcd").mkdir()

    write(tmp_path / "table.csv")

    left = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert left == names - {f"{here}{ended.pid}-0123abcd.csv.bak"} | {"table.csv"}
    assert len(list(tmp_path.iterdir())) == len(left) + 1


def test_a_folder_is_looked_through_once(tmp_path):
    write(tmp_path / "table.csv")
    ended = started("", tmp_path)
    ended.wait()
    name = f".mois-{atomic._place()}-{ended.pid}-0123abcd.csv"
    (tmp_path / name).touch()
    write(tmp_path / "table.csv")
    assert (tmp_path / name).exists()


# ---- folders ----------------------------------------------------------------------------------


def fill(path) -> None:
    with atomic_folder(path) as temporary:
        (temporary / "below").mkdir()
        (temporary / "below" / "a.dcm").write_text("whole", "utf-8")


@pytest.mark.parametrize("is_there", [False, True])
def test_a_folder_takes_its_place_when_it_is_full(tmp_path, is_there):
    if is_there:
        (tmp_path / "out").mkdir()
    fill(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "below" / "a.dcm").read_text("utf-8") == "whole"


def test_a_folder_that_holds_something_is_left_as_it_is(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine", "utf-8")
    with pytest.raises(BadInput, match="holds something already"):
        fill(tmp_path / "out")
    (tmp_path / "file").write_text("mine", "utf-8")
    with pytest.raises(BadInput, match="holds something already"):
        fill(tmp_path / "file")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_what_comes_into_the_folder_meanwhile_is_left_as_it_is(tmp_path):
    (tmp_path / "out").mkdir()
    with (
        pytest.raises(BadInput, match="still empty"),
        atomic_folder(tmp_path / "out") as temporary,
    ):
        (temporary / "a.dcm").write_text("whole", "utf-8")
        (tmp_path / "out" / "mine").write_text("mine", "utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_of_a_folder_that_failed_or_stayed_empty_nothing_is_left(tmp_path):
    with pytest.raises(ValueError), atomic_folder(tmp_path / "out") as temporary:
        (temporary / "a.dcm").write_text("half", "utf-8")
        raise ValueError
    with atomic_folder(tmp_path / "out"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
def test_a_folder_that_a_killed_program_left_is_removed_by_the_next(tmp_path):
    assert started(KILLED_WHILE_FILLING, tmp_path / "out").wait() == -9
    assert len(list(tmp_path.iterdir())) == 1
    write(tmp_path / "table.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]

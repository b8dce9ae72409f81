"""``mois weights`` as a user meets it: exit codes, one line on stderr, and being killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from weights_server import Server, checkpoint_bytes, zip_bytes

from mois_core import cli, weights
from mois_core.weights import store

CHECKPOINT = checkpoint_bytes()
OLD = checkpoint_bytes(seed=1, floats=10)

COMMAND = """
import dataclasses, signal, sys
# A shell starts what it runs in the background with Ctrl+C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
from mois_core import cli
from mois_core.weights import registry
registry.ENTRIES = tuple(dataclasses.replace(e, sha256=None) for e in registry.ENTRIES)
cli.COMMANDS = ("weights",)
sys.exit(cli.main(["weights", *sys.argv[1:]]))
"""
"""Our small stand-in has another checksum than the published file."""


@pytest.fixture
def an_environment(monkeypatch, tmp_path):
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)
    monkeypatch.setenv("MOIS_WEIGHTS_DIR", str(tmp_path / "store"))
    monkeypatch.setattr(cli, "COMMANDS", ("weights",))
    return tmp_path


@pytest.fixture
def a_server(an_environment, monkeypatch):
    with Server() as server:
        server.behaviour.hub_file = CHECKPOINT
        server.behaviour.zenodo_file = zip_bytes({"checkpoint.pt": CHECKPOINT})
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("MOIS_ZENODO_ENDPOINT", server.url)
        yield server


def start(*args, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *args],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def wait_until_half_way(name):
    deadline = time.monotonic() + 20
    while store.partial_bytes(name) < len(CHECKPOINT) // 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_download_path_list_and_remove(a_server, capsys):
    assert cli.main(["weights", "download", "mois-sam2-b+"]) == 0
    assert cli.main(["weights", "path", "mois-sam2-b+"]) == 0
    path = store.store_dir() / "mois-sam2-b+.pt"
    said = capsys.readouterr()
    assert said.out.splitlines() == [f"mois-sam2-b+ is in {path}", str(path)]
    assert said.err == ""

    assert cli.main(["weights", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    ours = next(line for line in lines if line.startswith("mois-sam2-b+"))
    assert "cc-by-4.0" in ours and " yes " in ours and "2.0 MB" in ours
    large = next(line for line in lines if line.startswith("sam2.1-l"))
    assert "898 MB" in large and "Apache-2.0" in large and " no " in large

    assert cli.main(["weights", "remove", "mois-sam2-b+"]) == 0
    assert not path.exists()


def test_import_and_its_two_refusals(an_environment, capsys):
    ours = an_environment / "ours.pt"
    ours.write_bytes(OLD)
    assert cli.main(["weights", "import", str(ours)]) == 0
    assert f"is now 'ours' in {store.store_dir()}" in capsys.readouterr().out
    assert cli.main(["weights", "import", str(ours), "--name", "sam2.1-t"]) == 2
    assert cli.main(["weights", "import", str(an_environment / "gone.pt")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize(
    ("args", "trouble"),
    [
        (("download", "no-such"), {}),
        (("download", "mois-sam2-b+"), {"status": 404}),
        (("download", "mois-sam2-b+"), {"status": 503}),
        (("download", "mois-sam2-b+"), {"cut_after": 1000}),
        (("download", "mois-sam2-b+"), {"corrupt": True}),
        (("download", "sam2.1-t"), {}),
        (("path", "sam2.1-t"), {}),
        (("remove", "sam2.1-t"), {}),
    ],
)
def test_what_goes_wrong_is_one_line_and_code_2(a_server, capsys, args, trouble):
    for name, value in trouble.items():
        setattr(a_server.behaviour, name, value)
    assert cli.main(["weights", *args]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mois weights: ")


def test_offline_is_code_2_and_tells_of_the_import(a_server, monkeypatch, capsys):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert cli.main(["weights", "download", "sam2.1-t"]) == 2
    assert "mois weights import sam2.1_hiera_tiny.pt --name sam2.1-t" in capsys.readouterr().err
    assert a_server.asked == []


def test_a_killed_download_leaves_the_old_file_whole_and_the_next_one_goes_on(a_server):
    old = an_old_file()
    a_server.behaviour.seconds_per_write = 0.03
    killed = start("download", "mois-sam2-b+", "--force")
    wait_until_half_way("mois-sam2-b+")
    killed.kill()
    killed.communicate()
    assert old.read_bytes() == OLD
    assert weights.checksum("mois-sam2-b+") == store.note(old).sha256

    a_server.behaviour.seconds_per_write = 0.0
    assert weights.download("mois-sam2-b+", force=True).read_bytes() == CHECKPOINT
    assert a_server.ranges()[-1] is not None


def an_old_file():
    source = store.store_dir().parent / "old.pt"
    source.write_bytes(OLD)
    return weights.import_file(source, "mois-sam2-b+")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_is_code_130_and_one_line(a_server):
    a_server.behaviour.wait_at = len(CHECKPOINT) * 3 // 4
    process = start("download", "mois-sam2-b+")
    wait_until_half_way("mois-sam2-b+")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    a_server.behaviour.go_on.set()
    assert process.returncode == 130
    assert err.splitlines() == ["mois weights: cancelled"]
    assert store.partial_bytes("mois-sam2-b+") >= len(CHECKPOINT) // 2


def test_two_programs_at_once_end_with_one_whole_file(a_server):
    a_server.behaviour.seconds_per_write = 0.03
    both = [start("download", "mois-sam2-b+") for _ in range(2)]
    said = [process.communicate() for process in both]
    codes = sorted(process.returncode for process in both)
    # The second comes while the first is at it, or after it and finds the file there.
    assert codes in ([0, 0], [0, 2])
    assert all(len(err.splitlines()) <= 1 for _, err in said)
    assert weights.resolve("mois-sam2-b+").read_bytes() == CHECKPOINT
    assert a_server.ranges() == [None]


@pytest.mark.parametrize("name", ["sam2.1-t", "mois-sam2-b+"])
def test_a_proxy_of_the_environment_is_used_for_both_servers(a_server, name):
    process = start(
        "download",
        name,
        HTTP_PROXY=a_server.url,
        http_proxy=a_server.url,
        NO_PROXY="",
        no_proxy="",
        HF_ENDPOINT="http://hub.invalid",
        MOIS_ZENODO_ENDPOINT="http://zenodo.invalid",
    )
    _, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert {asked.host.split(".")[-1] for asked in a_server.asked} == {"invalid"}
    assert weights.resolve(name).read_bytes() == CHECKPOINT


def test_help_teaches(an_environment, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["weights", "--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    for word in ("MOIS_WEIGHTS_DIR", "HF_HUB_OFFLINE", "examples:", "import model.zip"):
        assert word in said

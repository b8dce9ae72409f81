"""``mois segment --memory``: how much main memory the work may take."""

from __future__ import annotations

import numpy as np
import pytest
from command_line import mois, use_stub, write_clicks, write_scene
from engine_fixtures import FIRST

from mois_core.io import read_labels, read_scan
from mois_core.session import Session, machine_memory

pytestmark = pytest.mark.usefixtures("one_thread")

KEPT = ("--save-session", "work.mois")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the command; return its exit code, the labels, and the session that it worked with."""
    use_stub(monkeypatch)
    monkeypatch.chdir(tmp_path)
    scan = write_scene(tmp_path / "case")
    volume = read_scan(scan)
    write_clicks(tmp_path / "clicks.mrk.json", volume, [(1, True, FIRST.middle)])
    sessions, labels = [], Session.labels
    monkeypatch.setattr(Session, "labels", lambda self: sessions.append(self) or labels(self))

    def segment(*more):
        words = ("--points", "clicks.mrk.json", "--model", "stub", "--out", "lesions.nii.gz")
        code = mois("segment", scan, *words, *more)
        if code:
            return code, None, None
        return code, read_labels("lesions.nii.gz"), sessions[-1]

    return segment


def test_memory_is_half_of_what_is_free_or_what_is_given(run, monkeypatch):
    monkeypatch.setattr(machine_memory, "free_host_memory", lambda: 6 * 2**30)
    _, labels, session = run()
    assert session.embeddings.host_budget == 3 * 2**30
    assert session.embeddings.encoded == 12

    code, again, small = run("--memory", "0.0005")
    assert code == 0
    assert small.embeddings.host_budget == round(0.0005 * 2**30)
    assert small.embeddings.ready < 12 <= small.embeddings.encoded
    assert np.array_equal(again.array, labels.array)


def test_a_session_that_is_gone_on_with_takes_what_is_given_here(run, monkeypatch):
    run("--memory", "1", *KEPT)
    monkeypatch.setattr(machine_memory, "free_host_memory", lambda: 6 * 2**30)
    _, _, session = run("--session", "work.mois")
    assert session.embeddings.host_budget == 3 * 2**30
    _, _, session = run("--session", "work.mois", "--memory", "2")
    assert session.embeddings.host_budget == 2 * 2**30


@pytest.mark.parametrize("amount", ["0", "-1", "nan", "inf", "1e9", "lots", "4GB", ""])
def test_amounts_that_make_no_sense_are_refused(run, capfd, amount):
    code, _, _ = run(f"--memory={amount}")

    assert code == 2
    said = capfd.readouterr().err
    assert "--memory" in said
    assert "in GB" in said
    assert "Traceback" not in said

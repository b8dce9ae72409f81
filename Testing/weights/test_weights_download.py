"""Downloads from a real server on this machine: resumed, verified, cancelled, and cut short."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import shutil
import threading
import time

import pytest
from weights_server import Server, checkpoint_bytes, zenodo_record, zip_bytes

from mois_core import weights
from mois_core.errors import BadInput, Cancelled
from mois_core.progress import CancelToken
from mois_core.weights import registry, store

SAM2 = "sam2.1-t"
MOIS = "mois-sam2-b+"
CUT = 700_000
CHECKPOINT = checkpoint_bytes()


@pytest.fixture
def a_server(monkeypatch, tmp_path):
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", *("HF_HUB_OFFLINE", "HF_TOKEN")):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)
    monkeypatch.setenv("MOIS_WEIGHTS_DIR", str(tmp_path / "Gewichte für Müller"))
    with Server() as server:
        server.behaviour.hub_file = CHECKPOINT
        server.behaviour.zenodo_file = zip_bytes(
            {"MOIS_SAM2/checkpoint.pt": CHECKPOINT, "MOIS_SAM2/model.yaml": b"a: 1"}
        )
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("MOIS_ZENODO_ENDPOINT", server.url + "/")
        publish(monkeypatch, sha256=None)
        yield server


def publish(monkeypatch, sha256):
    """Have the registry know this checksum, or none, of our small stand-in."""
    changed = tuple(
        dataclasses.replace(entry, sha256=sha256) if entry.name == SAM2 else entry
        for entry in registry.ENTRIES
    )
    monkeypatch.setattr(registry, "ENTRIES", changed)


def unfinished(name=SAM2):
    return store.partials(name)


def test_a_file_of_the_hub_arrives_whole_with_its_note(a_server):
    path = weights.download(SAM2)
    assert path.read_bytes() == CHECKPOINT
    assert path == store.store_dir() / "sam2.1-t.pt" == weights.resolve(SAM2)
    note = store.note(path)
    assert note.sha256 == hashlib.sha256(CHECKPOINT).hexdigest() == weights.checksum(SAM2)
    assert note.licence == "Apache-2.0"
    assert note.source.startswith(a_server.url)
    assert unfinished() == []


def test_a_zip_of_zenodo_arrives_as_the_checkpoint_inside_with_the_licence_of_its_record(a_server):
    path = weights.download(MOIS)
    assert path.read_bytes() == CHECKPOINT
    assert path.name == "mois-sam2-b+.pt"
    assert store.note(path).licence == "cc-by-4.0"
    assert next(e.licence for e in weights.list_entries() if e.name == MOIS) == "cc-by-4.0"
    assert unfinished(MOIS) == []


def test_progress_rises_to_the_size_of_the_file(a_server):
    seen = []
    weights.download(SAM2, lambda done, total, what: seen.append((done, total, what)))
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert seen[-1] == (len(CHECKPOINT), len(CHECKPOINT), "downloading sam2.1-t")


def test_what_is_there_is_not_asked_for_again_unless_forced(a_server):
    weights.download(SAM2)
    a_server.asked.clear()
    weights.download(SAM2)
    assert a_server.asked == []
    weights.download(SAM2, force=True)
    assert a_server.ranges() == [None]


def test_a_damaged_file_is_downloaded_again(a_server, monkeypatch):
    publish(monkeypatch, hashlib.sha256(CHECKPOINT).hexdigest())
    path = weights.download(SAM2)
    path.write_bytes(CHECKPOINT[:1000])
    assert weights.download(SAM2).read_bytes() == CHECKPOINT


@pytest.mark.parametrize("name", [SAM2, MOIS])
def test_a_cut_connection_keeps_what_came_and_the_next_call_goes_on_there(a_server, name):
    a_server.behaviour.cut_after = CUT
    with pytest.raises(BadInput, match=r"stopped at 0\.7 MB of 2\.0 MB .* again to go on"):
        weights.download(name)
    assert store.partial_bytes(name) == CUT
    assert store.find(name) is None
    assert next(e.partial for e in weights.list_entries() if e.name == name) == CUT

    a_server.behaviour.cut_after = None
    assert weights.download(name).read_bytes() == CHECKPOINT
    assert a_server.ranges() == [None, f"bytes={CUT}-"]


def test_a_server_that_goes_quiet_counts_as_a_cut(a_server, monkeypatch):
    monkeypatch.setattr("mois_core.weights.server.TIMEOUT", 0.3)
    a_server.behaviour.seconds_per_write = 1.0
    with pytest.raises(BadInput, match=r"stopped at 0\.1 MB .*timed out"):
        weights.download(SAM2)
    a_server.behaviour.seconds_per_write = 0.0
    assert weights.download(SAM2).read_bytes() == CHECKPOINT


@pytest.mark.parametrize("manner", ["ignore_range", "refuse_range"])
def test_a_server_that_cannot_resume_sends_the_file_from_the_start(a_server, manner):
    a_server.behaviour.cut_after = CUT
    with pytest.raises(BadInput):
        weights.download(SAM2)
    a_server.behaviour.cut_after = None
    setattr(a_server.behaviour, manner, True)
    assert weights.download(SAM2).read_bytes() == CHECKPOINT


@pytest.mark.parametrize("name", [SAM2, MOIS])
def test_wrong_bytes_are_deleted_and_the_next_call_starts_afresh(a_server, name):
    a_server.behaviour.corrupt = True
    with pytest.raises(BadInput, match="is not what 127.0.0.1 promised .* deleted"):
        weights.download(name)
    assert unfinished(name) == []
    assert store.find(name) is None
    a_server.behaviour.corrupt = False
    assert weights.download(name).read_bytes() == CHECKPOINT


def test_a_file_that_changed_on_the_server_is_not_mixed_with_the_old_one(a_server):
    a_server.behaviour.cut_after = CUT
    with pytest.raises(BadInput):
        weights.download(SAM2)
    changed = checkpoint_bytes(seed=1)
    a_server.behaviour.hub_file, a_server.behaviour.cut_after = changed, None
    assert weights.download(SAM2).read_bytes() == changed
    assert a_server.ranges() == [None, None]
    assert unfinished() == []


def test_another_file_than_the_published_one_is_refused_before_a_byte_is_taken(
    a_server, monkeypatch
):
    publish(monkeypatch, "ab" * 32)
    with pytest.raises(BadInput, match="offers another sam2.1_hiera_tiny.pt"):
        weights.download(SAM2)
    assert a_server.ranges() == []


def test_a_checksum_in_the_registry_is_enough_where_the_server_tells_none(a_server, monkeypatch):
    a_server.behaviour.hub_etag = "only-a-label"
    with pytest.raises(BadInput, match="could not be verified"):
        weights.download(SAM2)
    publish(monkeypatch, hashlib.sha256(CHECKPOINT).hexdigest())
    assert weights.download(SAM2).read_bytes() == CHECKPOINT


@pytest.mark.parametrize("name", [SAM2, MOIS])
@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "refuses .*'mois weights import"),
        (404, "any more \\(404\\)"),
        (429, "just now \\(429\\); try again later"),
        (503, "just now \\(503\\); try again later"),
    ],
)
def test_each_refusal_of_a_server_has_its_message(a_server, name, status, message):
    a_server.behaviour.status = status
    with pytest.raises(BadInput, match=message):
        weights.download(name)


@pytest.mark.parametrize("name", [SAM2, MOIS])
def test_no_network_says_how_to_do_without(a_server, monkeypatch, name):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("MOIS_ZENODO_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(BadInput, match=r"cannot reach 127.0.0.1 .*'mois weights import"):
        weights.download(name)


@pytest.mark.parametrize("name", [SAM2, MOIS])
@pytest.mark.parametrize("value", ["1", "true"])
def test_offline_asks_no_server_and_says_how_to_import(a_server, monkeypatch, name, value):
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    with pytest.raises(BadInput, match="HF_HUB_OFFLINE is set.*'mois weights import"):
        weights.download(name)
    assert a_server.asked == []


def test_a_login_page_in_place_of_the_file_is_recognised(a_server):
    a_server.behaviour.login_page = True
    with pytest.raises(BadInput, match="login page"):
        weights.download(SAM2)
    assert store.partial_bytes(SAM2) == 0


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"message": "gone"}, "description of a record"),
        ({"files": [{"key": "other.zip"}]}, "no file model.zip any more; it has: other.zip"),
        (zenodo_record(b"x", checksum="crc32:1234"), "could not be verified"),
    ],
)
def test_a_record_that_is_not_as_expected_is_said_to_be_so(a_server, record, message):
    a_server.behaviour.record = record
    with pytest.raises(BadInput, match=message):
        weights.download(MOIS)


def test_a_zip_with_several_checkpoints_is_kept_to_choose_from(a_server):
    other = checkpoint_bytes(seed=1, floats=10)
    a_server.behaviour.zenodo_file = zip_bytes({"a/fold_1.pt": CHECKPOINT, "a/fold_2.pt": other})
    with pytest.raises(BadInput, match=r"several checkpoints: a/fold_1.pt, a/fold_2.pt"):
        weights.download(MOIS)
    (archive,) = unfinished(MOIS)
    path = weights.import_file(archive, MOIS, member="a/fold_2.pt")
    assert path.read_bytes() == other


def test_a_cancelled_download_keeps_what_came(a_server):
    token = CancelToken()
    with pytest.raises(Cancelled):
        weights.download(SAM2, lambda done, *_: token.cancel() if done > CUT else None, token)
    assert CUT < store.partial_bytes(SAM2) < len(CHECKPOINT)
    weights.download(SAM2)
    assert a_server.ranges()[1] is not None


def test_a_second_download_of_the_same_file_is_refused_and_harms_nothing(a_server):
    a_server.behaviour.seconds_per_write = 0.03
    first = threading.Thread(target=weights.download, args=(SAM2,))
    first.start()
    while not store.partial_bytes(SAM2):
        time.sleep(0.01)
    with pytest.raises(BadInput, match="being written by another program"):
        weights.download(SAM2)
    with pytest.raises(BadInput, match="being written by another program"):
        weights.remove(SAM2)
    first.join()
    assert weights.resolve(SAM2).read_bytes() == CHECKPOINT
    assert a_server.ranges() == [None]


def test_too_little_space_is_said_before_the_download(a_server, monkeypatch):
    full = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(BadInput, match="not enough space .* 2.0 MB needed.*MOIS_WEIGHTS_DIR"):
        weights.download(SAM2)


def test_a_disk_that_fills_up_midway_keeps_what_came(a_server, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(BadInput, match="no space left .* stopped"):
        patch.setattr(store, "sync", full)
        weights.download(SAM2)
    assert store.find(SAM2) is None
    assert weights.download(SAM2).read_bytes() == CHECKPOINT
    assert a_server.ranges() == [None]


def test_no_proxy_is_honoured(a_server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with pytest.raises(BadInput, match="cannot reach"):
        weights.download(MOIS)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    assert weights.download(MOIS).read_bytes() == CHECKPOINT

"""A session in a file: work goes on bit for bit, and a bad file is refused in one line."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import textwrap
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_fixtures import FIRST, OTHER_KIND, SCENE, SECOND, THIRD, Block, scan_of, volume_of
from hypothesis import given, settings
from hypothesis import strategies as st
from orientations import STORAGE_ORDERS, stored_as
from paths import SUPPORT
from session_days import a_day_of_work, the_next_day
from session_files import document_of, rewritten, with_document
from small_networks import (
    CONVOLVED,
    MOIS,
    SAM,
    SLM,
    TALL,
    TALL_SLM,
    WIDE,
    WIDE_MOIS,
    lively,
)
from stub_network import STUB, StubNetwork
from stub_sessions import click_on, digest, is_exactly, stub_session

from mois_core.errors import BadInput
from mois_core.geometry import Volume
from mois_core.network.model_info import ModelInfo
from mois_core.session import Session
from mois_core.session.session_file import FORMAT, describe, restore, save, saved_lesions, to_bytes
from mois_core.session.state import Settings

pytestmark = pytest.mark.usefixtures("one_thread")


def again(session, **how):
    return restore(to_bytes(session), session.model, session.volume, session.model_info, **how)


@pytest.fixture
def session(session):
    return a_day_of_work(session)


# ---- there and back ----------------------------------------------------------------------------


def test_a_restored_session_is_the_same_to_the_last_bit(session):
    restored = again(session)

    assert digest(restored.state) == digest(session.state)
    assert restored.settings == session.settings
    assert restored.model_info == session.model_info
    assert restored.reference == session.reference
    assert np.array_equal(restored.labels(), session.labels())
    assert to_bytes(restored) == to_bytes(session)


def test_a_fresh_session_can_be_kept_too():
    session = stub_session(propagation_slices=1, reference=True, smallest_cm3=0.5)
    restored = again(session)

    assert restored.settings.propagation_slices == 1
    assert restored.reference
    assert digest(restored.state) == digest(session.state)


def test_the_same_session_is_the_same_bytes_whenever_it_is_written(session, tmp_path):
    save(session, tmp_path / "one.mois")
    save(session, tmp_path / "two.mois")

    assert (tmp_path / "one.mois").read_bytes() == (tmp_path / "two.mois").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.mois") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_work_goes_on_after_a_restore_as_without_it(session):
    restored = again(session)

    assert to_bytes(the_next_day(restored)) == to_bytes(the_next_day(session))


REAL_NETWORKS = {
    "MOIS-SAM2": MOIS,
    "SAM 2.1": SAM,
    "SLM-SAM 2": SLM,
    "wide MOIS-SAM2": WIDE_MOIS,
    "tall MOIS-SAM2 of convolutions": replace(CONVOLVED, image_size=TALL),
    "wide SAM 2.1": replace(SAM, image_size=WIDE),
    "tall SLM-SAM 2": TALL_SLM,
}


@pytest.mark.parametrize("config", REAL_NETWORKS.values(), ids=REAL_NETWORKS)
@pytest.mark.parametrize("reference", [False, True], ids=["ours", "reference"])
def test_work_with_a_real_network_goes_on_bit_for_bit(config, reference):
    volume = volume_of(scan_of(FIRST, SECOND, THIRD, OTHER_KIND))
    session = a_day_of_work(Session(lively(config), volume, reference=reference))
    restored = again(session)

    assert to_bytes(the_next_day(restored)) == to_bytes(the_next_day(session))


@pytest.mark.parametrize("size", [TALL, WIDE], ids=["tall", "wide"])
def test_a_session_is_refused_with_a_network_whose_input_lies_the_other_way(size):
    volume = volume_of(scan_of(FIRST, SECOND, THIRD, OTHER_KIND))
    session = a_day_of_work(Session(lively(replace(MOIS, image_size=size)), volume))

    with pytest.raises(BadInput, match="another network"):
        restore(to_bytes(session), lively(replace(MOIS, image_size=size[::-1])), volume)
    assert restore(to_bytes(session), session.model, volume).lesions


def test_the_file_holds_neither_the_scan_nor_anything_that_runs(session):
    with zipfile.ZipFile(io.BytesIO(to_bytes(session))) as archive:
        names = archive.namelist()
        document = json.loads(archive.read("session.json"))
        arrays = {n: np.load(io.BytesIO(archive.read(n))) for n in names if n.endswith(".npy")}

    assert len(arrays) == len(names) - 1
    assert all(array.dtype != object for array in arrays.values())
    assert max(array.size for array in arrays.values()) < session.volume.array.size
    assert document["model"]["preset"] == "stub"
    assert [lesion["name"] for lesion in document["lesions"]][1] == "Nöt só „klein“"


def test_a_file_can_have_any_name(session, tmp_path):
    path = tmp_path / "Sitzung 1 – Müller's.mois"
    save(session, path)

    restored = restore(path, session.model, session.volume, session.model_info)

    assert digest(restored.state) == digest(session.state)
    assert restore(str(path), session.model, session.volume).lesions


# ---- the wrong scan, the wrong network ---------------------------------------------------------


def test_a_session_is_refused_on_another_scan(session):
    array, affine = session.volume.array, session.volume.ijk_to_ras
    other = array.copy()
    other[5, 5, 5] += 1
    moved = affine.copy()
    moved[0, 3] += 1
    others = [Volume(other, affine), Volume(array, moved), Volume(array[:, :, ::-1], affine)]
    for volume in [*others, Volume(array.transpose(0, 2, 1), affine)]:
        with pytest.raises(BadInput, match="another scan"):
            restore(to_bytes(session), session.model, volume)


@pytest.mark.parametrize(
    "scan",
    ["abc", None, {}, {"shape": [1]}, {"to_ras": "x"}, {"to_ras": [[1, 0], [0]]}, {"to_ras": 1}],
)
def test_what_says_nothing_of_a_scan_is_damaged(session, scan):
    content = to_bytes(session)
    document = document_of(content)
    parts = isinstance(scan, dict) and scan
    content = with_document(
        content, {**document, "scan": {**document["scan"], **scan} if parts else scan}
    )

    for open_it in (
        lambda: restore(content, session.model, session.volume),
        lambda: describe(content).check_scan(session.volume),
        lambda: saved_lesions(content, session.volume),
    ):
        with pytest.raises(BadInput, match=r"damaged|another scan"):
            open_it()


@given(turn=st.floats(-40, 40), place=st.floats(-900, 900), size=st.floats(0.3, 3))
@settings(max_examples=40, deadline=None)
def test_a_position_in_single_precision_makes_no_other_scan(turn, place, size):
    angle = np.radians(turn)
    affine = np.diag([size, 3.0, size, 1.0])
    affine[:2, :2] @= [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine[:3, 3] = place, -place / 3, place / 7
    session = Session(StubNetwork(), Volume(scan_of(*SCENE), affine))
    # As NIfTI keeps it.
    rounded = Volume(session.volume.array, affine.astype(np.float32))

    restore(to_bytes(session), session.model, rounded)


@pytest.mark.parametrize(("order", "flips"), STORAGE_ORDERS[::5])
def test_a_scan_may_be_stored_in_another_order_and_number_format(session, order, flips):
    volume = Volume(session.volume.array.astype(np.float32), session.volume.ijk_to_ras)

    restored = restore(to_bytes(session), session.model, stored_as(volume, order, flips))

    assert digest(restored.state) == digest(session.state)
    assert np.array_equal(
        restored.stack.from_volume(restored.labels()), session.stack.from_volume(session.labels())
    )


@pytest.mark.parametrize(
    "info",
    [ModelInfo("stub", "stub.pt", "1" * 64), ModelInfo("stub", "stub.pt"), ModelInfo()],
)
def test_a_session_is_refused_with_a_network_of_another_checksum(session, info):
    with pytest.raises(BadInput, match=r"another network \(stub, checksum 000000000000\)"):
        restore(to_bytes(session), session.model, session.volume, info)


def test_networks_without_a_file_are_told_apart_by_name(session):
    session.model_info = ModelInfo("stub")

    assert restore(to_bytes(session), session.model, session.volume, ModelInfo("stub")).lesions
    with pytest.raises(BadInput, match="another network"):
        restore(to_bytes(session), session.model, session.volume, ModelInfo("mois-tiny"))


@pytest.mark.parametrize(
    "change",
    [{"width": 128}, {"image_size": (256, 256)}, {"memory_width": 32}, {"memory_width": 8}],
)
def test_a_network_of_another_shape_is_refused_even_if_nobody_says_which_it_is(session, change):
    model = lively(replace(MOIS, **change))
    with pytest.raises(BadInput, match="another network"):
        restore(to_bytes(session), model, session.volume)
    assert restore(to_bytes(session), StubNetwork(STUB), session.volume).lesions


# ---- damage ------------------------------------------------------------------------------------


def refused(content, session):
    with pytest.raises(BadInput) as refusal:
        restore(content, session.model, session.volume)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


class Trap:
    """Pickled, it would run code where it is read."""

    sprung = False

    def __reduce__(self):
        return setattr, (Trap, "sprung", True)


def test_what_is_no_session_file_is_refused(session):
    empty_zip = io.BytesIO()
    zipfile.ZipFile(empty_zip, "w").close()
    for content in (b"", b"hello", pickle.dumps(Trap()), empty_zip.getvalue(), b"\x00" * 1000):
        assert "no session file" in refused(content, session)
    assert not Trap.sprung


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(session, part):
    content = to_bytes(session)

    assert "damaged" in refused(content[: int(len(content) * part)], session)


def test_a_pickle_inside_is_refused_and_not_read(session):
    content = to_bytes(session)
    objects = io.BytesIO()
    np.save(objects, np.array([Trap()], dtype=object), allow_pickle=True)
    name = zipfile.ZipFile(io.BytesIO(content)).namelist()[1].split(".")[0]

    assert "damaged" in refused(rewritten(content, **{name: pickle.dumps(Trap())}), session)
    assert "damaged" in refused(rewritten(content, **{name: objects.getvalue()}), session)
    assert not Trap.sprung


def test_a_file_with_a_part_missing_is_refused(session):
    content = to_bytes(session)
    for name in zipfile.ZipFile(io.BytesIO(content)).namelist():
        assert "damaged" in refused(rewritten(content, **{name.split(".")[0]: None}), session)


@pytest.mark.parametrize(
    "document", [b"", b"{}", b"[]", b"null", b'"session"', b"{", b"\xff\xfe", b'{"format": 1}']
)
def test_a_document_that_says_something_else_is_refused(session, document):
    refused(rewritten(to_bytes(session), session=document), session)


def test_a_file_of_a_later_format_says_so(session):
    document = document_of(to_bytes(session))
    document["format"] = FORMAT + 1

    message = refused(rewritten(to_bytes(session), session=json.dumps(document)), session)

    assert "another version" in message


SMALL = stub_session(Block((1, 2), (8, 16), (8, 16)), slices=3)
click_on(SMALL, Block((1, 2), (8, 16), (8, 16)))
SMALL_FILE = to_bytes(SMALL)


@given(st.integers(0, len(SMALL_FILE) - 1), st.integers(1, 255))
@settings(max_examples=400, deadline=None)
def test_no_flipped_byte_is_taken_for_something_else_or_ends_in_a_traceback(place, flip):
    content = bytearray(SMALL_FILE)
    content[place] ^= flip
    try:
        restored = restore(bytes(content), SMALL.model, SMALL.volume)
    except BadInput:
        return
    assert digest(restored.state) == digest(SMALL.state)


def test_a_file_that_cannot_be_read_says_why(session, tmp_path):
    for path in (tmp_path / "missing.mois", tmp_path):
        with pytest.raises(BadInput, match="cannot be read"):
            restore(path, session.model, session.volume)


# ---- writing whole or not at all ---------------------------------------------------------------

SLOW_WRITER = """
import sys, time
from pathlib import Path
sys.path.insert(0, {testing!r})
from engine_fixtures import FIRST, SECOND
from stub_sessions import click_on, stub_session
from mois_core.session.session_file import save

def slowly(self, content):
    with open(self, "wb") as file:
        file.write(content[: len(content) // 2])
        file.flush()
        print("half", flush=True)
        time.sleep(60)

session = stub_session(slices=12)
click_on(session, FIRST)
save(session, sys.argv[1])
click_on(session, SECOND)
Path.write_bytes = slowly
save(session, sys.argv[1])
"""


def test_a_process_killed_while_writing_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "session.mois"
    script = textwrap.dedent(SLOW_WRITER).format(testing=str(SUPPORT))
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, encoding="utf-8"
    ) as writer:
        assert writer.stdout.readline() == "half\n"
        writer.kill()

    restored = restore(path, StubNetwork(), stub_session().volume)
    assert is_exactly(restored, 1, FIRST)
    assert len(restored.lesions) == 1


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(session, tmp_path, monkeypatch):
    path = tmp_path / "session.mois"
    save(session, path)
    before = path.read_bytes()

    def full(self, content):
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(BadInput, match="No space left"):
        save(session, path)

    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_settings_travel_with_the_session():
    chosen = Settings(
        propagation_slices=5,
        exemplars=4,
        smallest_cm3=0.3,
        min_confidence=0.4,
        fill_holes=False,
        gate=False,
    )
    session = Session(StubNetwork(), volume_of(scan_of(FIRST)), chosen)

    assert again(session).settings == session.settings == replace(chosen, axis="coronal")


def test_a_window_of_grey_values_travels_with_the_session():
    chosen = Settings(axis="axial", grey_window=(-160, 240))
    session = Session(StubNetwork(), volume_of(scan_of(FIRST)), chosen)

    assert again(session).settings == session.settings
    assert again(session).settings.grey_window == (-160, 240)


def test_brain_floats_are_kept_as_they_are(session):
    lesion = session.lesion(1)
    slice_index, before = next(iter(lesion.prompted.items()))
    memory = torch.randn(before.memory.shape).bfloat16()
    memory.view(-1)[:3] = torch.tensor([float("inf"), -0.0, 1e-40])
    prompted = {**lesion.prompted, slice_index: replace(before, memory=memory)}
    session.history.present = session.state.with_lesions(replace(lesion, prompted=prompted))

    restored = again(session).lesion(1).prompted[slice_index].memory

    assert torch.equal(restored.view(torch.uint16), memory.view(torch.uint16))

"""The folder of checkpoints: where it is, what enters it, and what is known of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from weights_server import checkpoint_bytes, zip_bytes

from mois_core import models, weights
from mois_core.errors import BadInput, Cancelled
from mois_core.network.config import preset
from mois_core.progress import CancelToken
from mois_core.weights import registry, store

CHECKPOINT = checkpoint_bytes(floats=100)
OTHER = checkpoint_bytes(seed=1, floats=100)


@pytest.fixture
def a_folder(monkeypatch, tmp_path):
    folder = tmp_path / "my weights ä"
    monkeypatch.setenv("MOIS_WEIGHTS_DIR", str(folder))
    return folder


@pytest.fixture
def a_checkpoint(tmp_path):
    path = tmp_path / "ours.pt"
    path.write_bytes(CHECKPOINT)
    return path


def a_zip(tmp_path, members):
    path = tmp_path / "model.zip"
    path.write_bytes(zip_bytes(members))
    return path


def test_every_published_checkpoint_is_one_of_a_preset_and_says_where_it_is_from():
    for entry in registry.ENTRIES:
        preset(entry.preset)
        assert entry.source.page.startswith("https://")
        assert entry.sha256 is None or re.fullmatch("[0-9a-f]{64}", entry.sha256)
        assert store.check_name(entry.name) == entry.name


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_DATA_HOME": "/data"}, "/data/MOISSAM2/weights"),
        ("linux", {"XDG_DATA_HOME": "relative"}, "/home/me/.local/share/MOISSAM2/weights"),
        ("darwin", {}, "/home/me/Library/Application Support/MOISSAM2/weights"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/MOISSAM2/weights"),
        ("win32", {"LOCALAPPDATA": ""}, "/home/me/AppData/Local/MOISSAM2/weights"),
        ("win32", {"MOIS_WEIGHTS_DIR": "/elsewhere"}, "/elsewhere"),
    ],
)
def test_the_folder_is_the_users_own_on_each_system(monkeypatch, platform, variables, expected):
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    monkeypatch.delenv("MOIS_WEIGHTS_DIR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert store.store_dir() == Path(expected)


def test_a_folder_that_cannot_be_written_is_named_with_the_variable(a_folder, a_checkpoint):
    a_folder.write_text("in the way", "utf-8")
    with pytest.raises(BadInput, match="cannot write to .*my weights.* Set MOIS_WEIGHTS_DIR"):
        weights.import_file(a_checkpoint)


def test_a_path_too_long_for_windows_is_said_to_be_so():
    with pytest.raises(BadInput, match="longer than Windows allows .* MOIS_WEIGHTS_DIR"):
        store.check_length(Path("x" * 300), windows=True)
    store.check_length(Path("x" * 300), windows=False)


@pytest.mark.parametrize("name", ["-", "../up", "a/b", "a\\b", "nul", "COM1.x", "dot.", "x" * 65])
def test_a_name_that_some_system_cannot_store_is_refused(a_folder, a_checkpoint, name):
    with pytest.raises(BadInput, match="cannot be the name"):
        weights.import_file(a_checkpoint, name)
    assert store.find(name) is None


def test_the_shipped_preset_is_nothing_to_import_and_found_where_it_ships(
    a_folder, a_checkpoint, monkeypatch
):
    with pytest.raises(BadInput, match="comes with the program"):
        weights.import_file(a_checkpoint, models.SHIPPED)
    assert weights.resolve(models.SHIPPED) == models.shipped_weights()
    monkeypatch.setattr(models, "shipped_weights", lambda: None)
    with pytest.raises(BadInput, match="comes without the weights"):
        weights.resolve(models.SHIPPED)


def test_an_imported_file_is_a_copy_that_its_name_finds(a_folder, a_checkpoint):
    path = weights.import_file(a_checkpoint)
    assert path == a_folder / "ours.pt" == weights.resolve("ours")
    assert path.read_bytes() == CHECKPOINT == a_checkpoint.read_bytes()
    assert store.note(path).source == "imported from ours.pt"
    listed = {entry.name: entry for entry in weights.list_entries()}
    assert listed["ours"].path == path
    assert listed["sam2.1-l"].path is None


def test_a_pth_and_a_safetensors_file_are_taken_too(a_folder, a_checkpoint, tmp_path):
    old_style = a_checkpoint.rename(tmp_path / "theirs.PTH")
    assert weights.import_file(old_style).name == "theirs.pt"
    tensors = tmp_path / "new.safetensors"
    safetensors.torch.save_file({"weight": torch.ones(3)}, tensors)
    assert weights.import_file(tensors).name == "new.safetensors"


def test_a_new_format_takes_the_place_of_the_old_file(a_folder, a_checkpoint, tmp_path):
    weights.import_file(a_checkpoint, "mine")
    tensors = tmp_path / "new.safetensors"
    safetensors.torch.save_file({"weight": torch.ones(3)}, tensors)
    weights.import_file(tensors, "mine")
    assert weights.resolve("mine").name == "mine.safetensors"
    assert sorted(path.name for path in a_folder.iterdir() if path.is_file()) == [
        "mine.safetensors",
        "mine.safetensors.json",
    ]


def test_only_a_given_name_replaces_what_is_there(a_folder, a_checkpoint):
    weights.import_file(a_checkpoint)
    a_checkpoint.write_bytes(OTHER)
    with pytest.raises(BadInput, match="'ours' is already there"):
        weights.import_file(a_checkpoint)
    assert weights.resolve("ours").read_bytes() == CHECKPOINT
    weights.import_file(a_checkpoint, "ours")
    assert weights.resolve("ours").read_bytes() == OTHER
    assert weights.checksum("ours") == hashlib.sha256(OTHER).hexdigest()


def test_a_file_called_as_published_gets_the_published_name(a_folder, a_checkpoint, monkeypatch):
    sha256 = hashlib.sha256(CHECKPOINT).hexdigest()
    entries = tuple(dataclasses.replace(entry, sha256=sha256) for entry in registry.ENTRIES)
    monkeypatch.setattr(registry, "ENTRIES", entries)
    brought = a_checkpoint.rename(a_checkpoint.with_name("sam2.1_hiera_tiny.pt"))
    assert weights.import_file(brought) == weights.resolve("sam2.1-t")
    assert store.note(weights.resolve("sam2.1-t")).licence == "Apache-2.0"


def test_another_file_under_a_published_name_is_refused(a_folder, a_checkpoint):
    with pytest.raises(BadInput, match="not the published 'sam2.1-t': .* another name with --name"):
        weights.import_file(a_checkpoint, "sam2.1-t")
    assert store.find("sam2.1-t") is None
    assert store.partials("sam2.1-t") == []


class Evil:
    def __reduce__(self):
        return os.mkdir, ("touched-by-a-pickle",)


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".pt", CHECKPOINT[: len(CHECKPOINT) // 2]),
        (".pt", b"PK not really"),
        (".pt", b""),
        (".safetensors", b"\xff" * 100),
        (".pt", zip_bytes({"notes.txt": b"hello"})),
    ],
)
def test_what_is_no_whole_checkpoint_does_not_enter(a_folder, tmp_path, suffix, content):
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="imported from broken") as caught:
        weights.import_file(path)
    assert "\n" not in str(caught.value)
    assert str(a_folder) not in str(caught.value)
    assert weights.store.stored_names() == store.partials("broken") == []


def test_a_pickle_that_would_run_code_is_refused_unrun(a_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(BadInput):
        weights.import_file(tmp_path / "evil.pt")
    assert not (tmp_path / "touched-by-a-pickle").exists()


def test_a_missing_file_and_a_strange_suffix_have_their_messages(a_folder, tmp_path):
    with pytest.raises(BadInput, match="there is no file"):
        weights.import_file(tmp_path / "gone.pt")
    picture = tmp_path / "a.png"
    picture.write_bytes(b"png")
    with pytest.raises(BadInput, match=r"a.png is not a checkpoint: that is \.pt"):
        weights.import_file(picture)
    ours = tmp_path / "ours.pt"
    ours.write_bytes(CHECKPOINT)
    with pytest.raises(BadInput, match="ours.pt is not a zip"):
        weights.import_file(ours, member="a.pt")


def test_a_cancelled_import_leaves_no_trace(a_folder, a_checkpoint):
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        weights.import_file(a_checkpoint, cancel=token)
    assert store.stored_names() == store.partials("ours") == []


def test_the_only_checkpoint_of_a_zip_is_found_among_other_files(a_folder, tmp_path):
    archive = a_zip(
        tmp_path,
        {"m/weights.pt": CHECKPOINT, "m/model.yaml": b"a: 1", "__MACOSX/m/._weights.pt": b"x"},
    )
    path = weights.import_file(archive, "mois-sam2-b+")
    assert path == a_folder / "mois-sam2-b+.pt"
    assert path.read_bytes() == CHECKPOINT


def test_a_zip_of_several_lists_them_and_takes_the_one_asked_for(a_folder, tmp_path):
    archive = a_zip(tmp_path, {"fold_1/best.pt": CHECKPOINT, "fold_2/best.pt": OTHER})
    with pytest.raises(BadInput, match="several checkpoints: fold_1/best.pt, fold_2/best.pt"):
        weights.import_file(archive, "mine")
    with pytest.raises(BadInput, match="no checkpoint 'fold_3/best.pt'; it has: fold_1"):
        weights.import_file(archive, "mine", member="fold_3/best.pt")
    assert weights.import_file(archive, "mine", member="fold_2/best.pt").read_bytes() == OTHER


def test_the_published_file_name_decides_among_several_of_a_zip(a_folder, tmp_path):
    archive = a_zip(tmp_path, {"a/checkpoint.pt": CHECKPOINT, "a/last.pt": OTHER})
    assert weights.import_file(archive, "mois-sam2-b+").read_bytes() == CHECKPOINT


@pytest.mark.parametrize("path", ["../../evil.pt", "/evil.pt", "C:\\evil.pt", "..\\evil.pt"])
def test_a_path_inside_a_zip_leads_nowhere(a_folder, tmp_path, path):
    archive = a_zip(tmp_path, {path: CHECKPOINT})
    before = {p for p in tmp_path.rglob("*") if a_folder not in p.parents}
    stored = weights.import_file(archive, "mine")
    assert stored == a_folder / "mine.pt"
    assert {p for p in tmp_path.rglob("*") if a_folder not in p.parents} - before == {a_folder}
    assert not Path("/evil.pt").exists()


def test_a_zip_without_a_checkpoint_or_cut_short_is_said_to_be_so(a_folder, tmp_path):
    with pytest.raises(BadInput, match=r"model.zip holds no checkpoint"):
        weights.import_file(a_zip(tmp_path, {"readme.txt": b"hello"}), "mine")
    whole = a_zip(tmp_path, {"m.pt": CHECKPOINT})
    content = whole.read_bytes()
    whole.write_bytes(content[: len(content) // 2])
    with pytest.raises(BadInput, match="not a whole zip"):
        weights.import_file(whole, "mine")


def test_a_zip_with_a_flipped_bit_is_noticed(a_folder, tmp_path):
    archive = a_zip(tmp_path, {"m.pt": CHECKPOINT})
    content = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as zipped:
        content[zipped.infolist()[0].header_offset + 200] ^= 1
    archive.write_bytes(content)
    with pytest.raises(BadInput, match="not a whole zip"):
        weights.import_file(archive, "mine")
    assert store.stored_names() == []


def test_a_checksum_is_computed_once_and_again_when_the_file_changed(a_folder, a_checkpoint):
    path = weights.import_file(a_checkpoint)
    note_path = path.with_name("ours.pt.json")
    note = json.loads(note_path.read_text("utf-8"))
    note["sha256"] = "from the note"
    note_path.write_text(json.dumps(note), "utf-8")
    assert weights.checksum("ours") == "from the note"

    path.write_bytes(OTHER)
    os.utime(path, ns=(1, 1))
    assert weights.checksum("ours") == hashlib.sha256(OTHER).hexdigest()
    assert store.note(path).source == ""


def test_a_folder_copied_from_another_computer_keeps_what_its_notes_say(a_folder, a_checkpoint):
    path = weights.import_file(a_checkpoint)
    os.utime(path, ns=(1, 1))
    assert store.note(path) is None
    assert weights.checksum("ours") == hashlib.sha256(CHECKPOINT).hexdigest()
    assert store.note(path).source == "imported from ours.pt"


def test_a_file_outside_the_folder_has_a_checksum_but_no_note(a_folder, a_checkpoint):
    assert weights.checksum(a_checkpoint) == hashlib.sha256(CHECKPOINT).hexdigest()
    assert sorted(path.name for path in a_checkpoint.parent.iterdir()) == ["ours.pt"]


def test_resolving_finds_files_and_explains_what_it_cannot_find(a_folder, a_checkpoint, tmp_path):
    assert weights.resolve(a_checkpoint) == a_checkpoint
    with pytest.raises(BadInput, match=r"Run 'mois weights download sam2.1-s' \(184 MB\)"):
        weights.resolve("sam2.1-s")
    with pytest.raises(BadInput, match="Run 'mois weights download mois-sam2-b\\+'; without"):
        weights.resolve("mois-sam2-b+")
    with pytest.raises(BadInput, match="is a folder"):
        weights.resolve(tmp_path)
    with pytest.raises(BadInput, match="neither a file nor the name .*mois-sam2-b"):
        weights.resolve("no-such-thing")


def test_removing_takes_the_file_its_note_and_unfinished_downloads(a_folder, a_checkpoint):
    weights.import_file(a_checkpoint)
    (a_folder / "partial" / "ours.0123456789ab.part").write_bytes(b"half")
    (a_folder / "partial" / "ours-too.0123456789ab.part").write_bytes(b"another's")
    assert len(weights.remove("ours")) == 2
    assert store.stored_names() == store.partials("ours") == []
    assert store.partial_bytes("ours-too") == len("another's")
    with pytest.raises(BadInput, match="no checkpoint called 'ours'"):
        weights.remove("ours")

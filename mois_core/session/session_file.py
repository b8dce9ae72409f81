"""A session's state in one file, such that work goes on bit for bit where it stopped.

The file is a zip of one JSON document and plain arrays. Nothing in it can run code, nothing in
it depends on when it was written, and of the scan it has only what that is recognised by.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mois_core import __version__
from mois_core.errors import BadInput
from mois_core.geometry import SliceStack, Volume
from mois_core.io.atomic import atomic_write
from mois_core.network.config import NetworkConfig
from mois_core.network.exemplar import ExemplarView
from mois_core.network.model import Sam2
from mois_core.network.model_info import ModelInfo
from mois_core.session import Session
from mois_core.session.exemplars import Exemplar
from mois_core.session.lesion import (
    Absorbed,
    BoxPrompt,
    Click,
    Lesion,
    Origin,
    Painting,
    SliceMemory,
    Status,
)
from mois_core.session.masks import Mask, Plane
from mois_core.session.state import MACHINE_SETTINGS, Settings, State

FORMAT = 6
DOCUMENT = "session.json"
UNDATED = (1980, 1, 1, 0, 0, 0)


def to_bytes(session: Session, notes: Mapping[str, Any] | None = None) -> bytes:
    """Return a session as the content of a file.

    ``notes`` are plain values that whoever saves wants back when the file is opened.
    """
    arrays: dict[str, np.ndarray] = {}

    def put(value: Tensor | np.ndarray | None) -> str | None:
        if value is None:
            return None
        name = f"{len(arrays)}"
        arrays[name] = _to_numpy(value) if isinstance(value, Tensor) else value
        return f"{name}:bfloat16" if _is_bfloat16(value) else name

    state = session.state
    document = {
        "format": FORMAT,
        "version": __version__,
        "scan": _scan_to_json(session.stack),
        "model": asdict(session.model_info),
        "settings": _of_the_work(asdict(session.settings)),
        "reference": session.reference,
        "notes": dict(notes or {}),
        "last_id": state.last_id,
        "next_click": state.next_click,
        "clock": state.clock,
        "lesions": [_lesion_to_json(lesion, put) for lesion in state.lesions.values()],
        "imported": [_exemplar_to_json(exemplar, put) for exemplar in state.imported],
    }
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        _add(archive, DOCUMENT, json.dumps(document).encode())
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            _add(archive, f"{name}.npy", buffer.getvalue())
    return content.getvalue()


def save(session: Session, path: str | Path, notes: Mapping[str, Any] | None = None) -> None:
    """Write a session to a file, whole or not at all."""
    content = to_bytes(session, notes)
    with atomic_write(path) as temporary:
        Path(temporary).write_bytes(content)


def restore(
    source: bytes | str | Path,
    model: Sam2,
    volume: Volume,
    model_info: ModelInfo | None = None,
) -> Session:
    """Return the session that a file holds, on the same scan and with the same network.

    ``model_info`` tells which network ``model`` is; one that is not the file's is refused.
    """
    with _opened(source) as (archive, document):
        saved = _described(document)
        stack = SliceStack(volume, saved.settings.axis)
        state = _state_from_json(document, _reader(archive), stack)
    saved.check_scan(volume)
    made_with = saved.made_with
    is_other = model_info is not None and _identity(model_info) != _identity(made_with)
    if is_other or not _fits(state, model.config):
        raise BadInput(
            f"the session was made with another network ({made_with.preset}, "
            f"checksum {made_with.sha256[:12] or 'none'}); load that one to go on"
        )
    session = Session(model, volume, saved.settings, saved.reference, made_with)
    session.history.present = state
    return session


def saved_lesions(source: bytes | str | Path, volume: Volume) -> tuple[Lesion, ...]:
    """Return the lesions of a session, for reading only: no network is needed."""
    with _opened(source) as (archive, document):
        saved = _described(document)
        saved.check_scan(volume)
        stack = SliceStack(volume, saved.settings.axis)
        return tuple(_state_from_json(document, _reader(archive), stack).lesions.values())


@dataclass(frozen=True)
class SavedSession:
    """What a session file tells before there is a network to go on with."""

    scan: Mapping[str, Any]
    """What the scan is recognised by."""
    made_with: ModelInfo
    settings: Settings
    reference: bool
    lesion_ids: tuple[int, ...]
    last_id: int
    notes: Mapping[str, Any]
    """What whoever saved it wanted to have back."""

    def is_on(self, volume: Volume) -> bool:
        """Return whether the session was made on a scan, in whatever file that comes.

        Formats round where voxels lie, and store them in one order or another.
        """
        with _damaged_if_it_fails():
            if "fingerprint" in self.scan:
                return self.scan["fingerprint"] == _fingerprint(volume)
            stack = SliceStack(volume, self.settings.axis)
            now = _scan_to_json(stack)
            is_same = all(now[name] == self.scan[name] for name in ("shape", "voxels"))
            return is_same and stack.lies_at(np.array(self.scan["to_ras"]))

    def check_scan(self, volume: Volume) -> None:
        """Refuse a scan that the session was not made on."""
        if not self.is_on(volume):
            raise BadInput(
                "the session belongs to another scan; open it with the scan it was made on"
            )


def describe(source: bytes | str | Path) -> SavedSession:
    """Return what a session file tells about itself."""
    with _opened(source) as (_, document):
        return _described(document)


@contextmanager
def _opened(source: bytes | str | Path) -> Iterator[tuple[zipfile.ZipFile, dict[str, Any]]]:
    """Give a block the archive and the document of a file, whatever earlier version wrote it."""
    content = source if isinstance(source, bytes) else _read(Path(source))
    with _damaged_if_it_fails(), zipfile.ZipFile(io.BytesIO(content)) as archive:
        document = json.loads(archive.read(DOCUMENT))
        for earlier, read in EARLIER_FORMATS:
            if document["format"] == earlier:
                document = read(document)
        if document["format"] != FORMAT:
            raise BadInput("the session was saved by another version of the program")
        yield archive, document


def _described(document: Mapping[str, Any]) -> SavedSession:
    return SavedSession(
        scan=document["scan"],
        made_with=ModelInfo(**document["model"]),
        settings=Settings(**_of_the_work(document["settings"])),
        reference=document["reference"],
        lesion_ids=tuple(lesion["id"] for lesion in document["lesions"]),
        last_id=document["last_id"],
        notes=document["notes"],
    )


def _of_the_work(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without those of the machine: what another one has is of no use here."""
    return {name: value for name, value in settings.items() if name not in MACHINE_SETTINGS}


@contextmanager
def _damaged_if_it_fails() -> Iterator[None]:
    """Turn whatever goes wrong while a file is read into the message that it is damaged."""
    try:
        yield
    except BadInput:
        raise
    except Exception as error:
        raise BadInput("the session file is damaged or is no session file") from error


def _identity(info: ModelInfo) -> str:
    """Return what a network is recognised by: its checksum, or its name if it has no file."""
    return info.sha256 or info.preset


def _fits(state: State, config: NetworkConfig) -> bool:
    """Return whether the memories in a state have the shapes that a network makes and takes."""
    memory = (config.memory_width, *config.map_size)
    logits = (1, *config.low_res_size)
    slice_memories = [
        m for le in state.lesions.values() for m in (*le.prompted.values(), *le.propagated.values())
    ]
    return all(
        view.pointer.shape == (config.width,)
        and (view.memory is None or view.memory.shape == memory)
        for view in (*slice_memories, *(exemplar.view for exemplar in state.imported))
    ) and all(
        slice_memory.logits is None or slice_memory.logits.shape == logits
        for slice_memory in slice_memories
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"the session file {path} cannot be read: {error.strerror}") from error


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, date_time=UNDATED)
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, content)


def _is_bfloat16(value: Tensor | np.ndarray) -> bool:
    return isinstance(value, Tensor) and value.dtype is torch.bfloat16


def _to_numpy(value: Tensor) -> np.ndarray:
    value = value.contiguous()
    return value.view(torch.uint16).numpy() if _is_bfloat16(value) else value.numpy()


Put = Callable[[Any], "str | None"]
Get = Callable[["str | None"], "np.ndarray | Tensor | None"]


def _reader(archive: zipfile.ZipFile) -> Get:
    def get(name: str | None) -> Any:
        if name is None:
            return None
        entry, _, kind = name.partition(":")
        array = np.load(io.BytesIO(archive.read(f"{entry}.npy")), allow_pickle=False)
        return torch.from_numpy(array).view(torch.bfloat16) if kind == "bfloat16" else array

    return get


def _tensor(value: Any) -> Tensor | None:
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def _from_format_1(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document of the first format as one of the second."""
    settings = dict(document["settings"])
    settings["propagation_slices"] = settings.pop("window")
    settings["min_confidence"] = settings.pop("certainty")
    # Rules that came later; the work goes on by those that it was begun with.
    settings |= {"absorb": False, "connected": False, "learn_from_rejections": False}
    order = document["next_click"]
    lesions = []
    for lesion in document["lesions"]:
        planes = {plane[0]: plane for plane in lesion["planes"]}
        # A slice that counted as painted was just as its mask was.
        paintings = [[order, planes.get(n, [n])] for n in lesion["painted"]]
        now = {"propagated": lesion["carried"], "paintings": paintings}
        lesions.append({**lesion, **now, "origin": None, "absorbed": []})
    return {
        **document,
        "format": 2,
        "next_click": order + 1,
        "settings": settings,
        "imported": document["seeds"],
        "lesions": lesions,
    }


def _from_format_2(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document of the second format as one of the third."""
    lesions = [
        {**lesion, "paintings": [[*painting, False] for painting in lesion["paintings"]]}
        for lesion in document["lesions"]
    ]
    return {**document, "format": 3, "notes": {}, "lesions": lesions}


def _from_format_3(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document of the third format as one of the fourth."""
    order = document["next_click"]
    lesions = []
    for lesion in document["lesions"]:
        planes = lesion["absorbed"]
        absorbed = {"planes": planes, "order": order, "replaced": []} if planes else None
        lesions.append({**lesion, "absorbed": absorbed, "confidence": None})
    return {**document, "format": 4, "lesions": lesions}


def _from_format_4(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document of the fourth format as one of the fifth."""
    # The command line noted which lesions of earlier scans there were.
    uids = document["notes"].get("uids", {})
    lesions = [{**lesion, "uid": uids.get(str(lesion["id"]), "")} for lesion in document["lesions"]]
    return {**document, "format": 5, "lesions": lesions}


def _from_format_5(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document of the fifth format as one of the sixth."""
    return {**document, "format": 6, "scan": {"fingerprint": document["scan"]}}


def _fingerprint(volume: Volume) -> str:
    """Return what a scan was recognised by up to format 5: one checksum of voxels and place."""
    digest = hashlib.sha256(np.ascontiguousarray(volume.array).data)
    digest.update(repr(volume.array.shape).encode())
    # Adding zero turns the -0.0 of a rounded -0.00001 into the 0.0 of a rounded 0.00001.
    digest.update((np.round(volume.ijk_to_ras, 4) + 0.0).tobytes())
    return digest.hexdigest()


EARLIER_FORMATS = (
    (1, _from_format_1),
    (2, _from_format_2),
    (3, _from_format_3),
    (4, _from_format_4),
    (5, _from_format_5),
)


# ---- scan and lesions to JSON and back ------------------------------------------------------


def _scan_to_json(stack: SliceStack) -> dict[str, Any]:
    """Return what a scan is recognised by: its voxels, and where they lie."""
    return {
        "voxels": stack.volume.digest,
        "shape": list(stack.array.shape),
        "to_ras": stack.to_ras.tolist(),
    }


def _lesion_to_json(lesion: Lesion, put: Put) -> dict[str, Any]:
    return {
        "id": lesion.id,
        "status": lesion.status.value,
        "name": lesion.name,
        "confidence": lesion.confidence,
        "changed": lesion.changed,
        "uid": lesion.uid,
        "clicks": [asdict(click) for click in lesion.clicks],
        "boxes": [asdict(box) for box in lesion.boxes],
        "paintings": [
            [painting.order, _plane_to_json(painting.slice, painting.plane, put), painting.is_given]
            for painting in lesion.paintings
        ],
        "origin": lesion.origin
        and {
            "status": lesion.origin.status.value,
            "order": lesion.origin.order,
            "kept": sorted(lesion.origin.kept),
            "planes": _mask_to_json(lesion.origin.mask, put),
        },
        "planes": _mask_to_json(lesion.mask, put),
        "absorbed": lesion.absorbed
        and {
            "order": lesion.absorbed.order,
            "replaced": sorted(lesion.absorbed.replaced),
            "planes": _mask_to_json(lesion.absorbed.mask, put),
        },
        "prompted": [[n, _slice_memory_to_json(m, put)] for n, m in lesion.prompted.items()],
        "propagated": [[n, _slice_memory_to_json(m, put)] for n, m in lesion.propagated.items()],
    }


def _mask_to_json(mask: Mask, put: Put) -> list[list]:
    return [_plane_to_json(n, plane, put) for n, plane in mask]


def _plane_to_json(slice_index: int, plane: Plane | None, put: Put) -> list:
    if plane is None:
        return [slice_index]
    packed = put(np.packbits(plane.pixels))
    return [slice_index, plane.row, plane.column, list(plane.pixels.shape), packed]


def _slice_memory_to_json(slice_memory: SliceMemory, put: Put) -> dict[str, Any]:
    return {
        "pointer": put(slice_memory.pointer),
        "score": put(slice_memory.score),
        "found": slice_memory.found,
        "memory": put(slice_memory.memory),
        "logits": put(slice_memory.logits),
    }


def _exemplar_to_json(exemplar: Exemplar, put: Put) -> dict[str, Any]:
    view = exemplar.view
    return {
        "lesion": exemplar.lesion,
        "changed": exemplar.changed,
        "slice": view.slice,
        "is_prompted": view.is_prompted,
        "memory": put(view.memory),
        "pointer": put(view.pointer),
    }


def _state_from_json(document: Mapping, get: Get, stack: SliceStack) -> State:
    lesions = [_lesion_from_json(item, get, stack.shape) for item in document["lesions"]]
    return State(
        lesions=MappingProxyType({lesion.id: lesion for lesion in lesions}),
        imported=tuple(_exemplar_from_json(item, get) for item in document["imported"]),
        last_id=document["last_id"],
        next_click=document["next_click"],
        clock=document["clock"],
    )


def _lesion_from_json(item: Mapping, get: Get, shape: tuple[int, int]) -> Lesion:
    origin = item["origin"]
    if origin is not None:
        mask = _mask_from_json(origin["planes"], get, shape)
        # Sessions that were saved before this was told have none.
        kept = frozenset(origin.get("kept", ()))
        origin = Origin(mask, Status(origin["status"]), origin["order"], kept)
    absorbed = item["absorbed"]
    if absorbed is not None:
        mask = _mask_from_json(absorbed["planes"], get, shape)
        absorbed = Absorbed(mask, absorbed["order"], frozenset(absorbed["replaced"]))
    paintings = [
        Painting(*_plane_from_json(plane, get), order, is_given)
        for order, plane, is_given in item["paintings"]
    ]
    boxes = [BoxPrompt(**box) for box in item["boxes"]]
    return Lesion(
        id=item["id"],
        status=Status(item["status"]),
        mask=_mask_from_json(item["planes"], get, shape),
        name=item["name"],
        clicks=tuple(Click(**click) for click in item["clicks"]),
        boxes=tuple(boxes),
        paintings=tuple(paintings),
        origin=origin,
        prompted=MappingProxyType(
            {n: _slice_memory_from_json(m, get) for n, m in item["prompted"]}
        ),
        propagated=MappingProxyType(
            {n: _slice_memory_from_json(m, get) for n, m in item["propagated"]}
        ),
        absorbed=absorbed,
        confidence=item["confidence"],
        changed=item["changed"],
        uid=item["uid"],
    )


def _mask_from_json(planes: Sequence[Sequence], get: Get, shape: tuple[int, int]) -> Mask:
    return Mask(shape, MappingProxyType(dict(_plane_from_json(plane, get) for plane in planes)))


def _plane_from_json(item: Sequence, get: Get) -> tuple[int, Plane | None]:
    if len(item) == 1:
        return item[0], None
    slice_index, row, column, size, packed = item
    bits = np.unpackbits(get(packed), count=size[0] * size[1])
    return slice_index, Plane(row, column, bits.astype(bool).reshape(size))


def _slice_memory_from_json(item: Mapping, get: Get) -> SliceMemory:
    return SliceMemory(
        pointer=_tensor(get(item["pointer"])),
        score=_tensor(get(item["score"])),
        found=item["found"],
        memory=_tensor(get(item["memory"])),
        logits=_tensor(get(item["logits"])),
    )


def _exemplar_from_json(item: Mapping, get: Get) -> Exemplar:
    memory, pointer = _tensor(get(item["memory"])), _tensor(get(item["pointer"]))
    view = ExemplarView(item["slice"], item["is_prompted"], memory, pointer)
    return Exemplar(item["lesion"], view, item["changed"])

"""What was done on a scan, as a script that repeats it with `MOISSAM2SegmentLogic`.

The script has places, numbers and settings, and no name or path: a line in capitals at its top
stands for each scan, region or file, to be filled in.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from MOISSAM2SegmentLib.messages import tr as _
from MOISSAM2SegmentLib.workspace import step_record as record
from MOISSAM2SegmentLib.workspace.step_record import Step

if TYPE_CHECKING:
    from mois_core.network.model_info import ModelInfo

ToWorld = Callable[[list[float]], Sequence[float]]

INTRODUCTION = _(
    "What was done in MOISSAM2 Segment, for Slicer's Python console. Fill in the lines in "
    "capitals. Lesions and clicks have the numbers that they had then."
)
NOT_REPEATED = _("Not in this script: {name}. Lesions can differ from here on.")
WEIGHTS_USED = _("None for the model's own, or a file; used were those with SHA-256 {sha256}")
WIDTH = 96


@dataclass(frozen=True)
class Script:
    """The text, and whether all that was done is in it."""

    text: str
    is_complete: bool


def script_of(steps: Sequence[Step], model: ModelInfo, to_world: ToWorld) -> Script:
    """Return the script of recorded steps, whose places ``to_world`` puts into the scene."""
    return _Writer(to_world).script(steps, model)


class _Writer:
    def __init__(self, to_world: ToWorld) -> None:
        self._to_world = to_world
        self._names: dict[str, str] = {}
        self._placeholders: list[str] = []

    def script(self, steps: Sequence[Step], model: ModelInfo) -> Script:
        write = {
            record.START: self._start,
            record.CLICK: self._click,
            record.MOVE: lambda n, place: [f"logic.move_click({n}, {self._place(place)})"],
            record.REMOVE: lambda *ns: [f"logic.delete_clicks({', '.join(map(str, ns))})"],
            record.BOX: self._box,
            record.COMMAND: self._command,
            record.ADJUST: lambda settings: [_run(f"adjust({_keywords(settings)})")],
            record.SEARCH: self._search,
            record.EXEMPLARS: self._exemplars,
            record.UNKNOWN: lambda name: _comment(NOT_REPEATED.format(name=name)),
        }
        lines = [line for word, *values in steps for line in write[word](*values)]
        sha256 = model.sha256 or "-"
        head = [
            *_comment(INTRODUCTION),
            "import slicer",
            "from MOISSAM2Segment import MOISSAM2SegmentLogic",
            "from mois_core.session.state import Settings",
            "",
            'SCAN = slicer.util.getNode("SCAN")',
            *self._placeholders,
            f"MODEL = {model.preset!r}",
            f"WEIGHTS = None  # {WEIGHTS_USED.format(sha256=sha256)}",
            "",
            "logic = MOISSAM2SegmentLogic()",
            "logic.load_model(MODEL, WEIGHTS)",
            "commands = logic.workspace.commands",
        ]
        is_complete = all(word != record.UNKNOWN for word, *_ in steps)
        return Script("\n".join([*head, *lines, "logic.close()", ""]), is_complete)

    def _start(self, settings: dict[str, Any]) -> list[str]:
        return [f"logic.start(SCAN, settings=Settings({_keywords(settings)}), resume=False)"]

    def _click(self, clicks: list[list[Any]]) -> list[str]:
        given = []
        for lesion_id, positive, place in clicks:
            sign = "" if positive else ", positive=False"
            given.append((self._place(place), sign, lesion_id))
        if len(given) == 1:
            ((place, sign, lesion_id),) = given
            return [f"logic.click({place}{sign}, lesion_id={lesion_id})"]
        points = [f"    ({place}, {not sign}, {lesion_id})," for place, sign, lesion_id in given]
        return ["logic.clicks([  # place, is inside, lesion", *points, "])"]

    def _box(self, lesion_id: int, first: list[float], second: list[float]) -> list[str]:
        corners = f"{self._place(first)}, {self._place(second)}"
        return [f"logic.box({corners}, lesion_id={lesion_id})"]

    def _command(self, name: str, lesion_ids: list[int]) -> list[str]:
        return [_run(f"{name}({', '.join(map(str, lesion_ids))})")]

    def _search(self, inside: list[str], outside: list[str], use_exemplars: bool) -> list[str]:
        given = []
        for name, node_ids in (("inside", inside), ("outside", outside)):
            regions = [self._node(node_id, "REGION") for node_id in node_ids]
            if regions:
                given.append(f"{name}=[{', '.join(regions)}]")
        if not use_exemplars:
            given.append("use_exemplars=False")
        return [f"logic.find_similar({', '.join(given)})"]

    def _exemplars(self, node_id: str, has_ids: bool, scan_id: str | None) -> list[str]:
        segmentation = self._node(node_id, "SEGMENTATION")
        given = [segmentation]
        if has_ids:
            name = f"SEGMENTS_{len(self._placeholders) + 1}"
            self._placeholders.append(f"{name} = []  # ids of segments of {segmentation}")
            given.append(f"segment_ids={name}")
        if scan_id is not None:
            given.append(f"earlier_node={self._node(scan_id, 'EARLIER_SCAN')}")
        return [_run(f"add_exemplars({', '.join(given)})")]

    def _node(self, node_id: str, kind: str) -> str:
        """Return the name in capitals that stands for a node."""
        if node_id not in self._names:
            count = sum(name.startswith(f"{kind}_") for name in self._names.values()) + 1
            name = self._names[node_id] = f"{kind}_{count}"
            self._placeholders.append(f'{name} = slicer.util.getNode("{name}")')
        return self._names[node_id]

    def _place(self, place: list[float]) -> str:
        # All digits: a rounded place is another prompt to the network.
        return f"({', '.join(repr(float(part)) for part in self._to_world(place))})"


def _run(call: str) -> str:
    return f"logic.run(lambda: commands.{call})"


def _keywords(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, WIDTH)]

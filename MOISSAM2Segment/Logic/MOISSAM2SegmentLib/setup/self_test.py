"""The self test of the extension: the clinician's storyboard on a small phantom.

With the weights that ship with the program the masks are compared with the phantom's lesions.
Without them, synthetic weights are used, whose masks mean nothing, and only what has to be right
for any mask is checked. Nothing is downloaded, and files are written into a temporary folder only.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from mois_core.geometry import Volume
from MOISSAM2SegmentLib.scene import control_points
from MOISSAM2SegmentLib.scene.transforms import right_handed, to_world
from MOISSAM2SegmentLib.setup.sample_data import SEED, add_volume
from MOISSAM2SegmentLib.worker.engine import Engine
from MOISSAM2SegmentLib.workspace.workspace import Workspace

PATIENCE_S = 300.0
SIZE, SLICES, LESIONS = (128, 64), 8, 6
LIVELY = "e"
"""Seed of synthetic weights with which clicks mark something, and a search finds something."""
GOOD_DICE = 0.5
"""Least Dice of a clicked lesion with weights that were trained for phantoms. It is far below what
they reach on the phantoms that they are measured on, which are larger."""

Wait = Callable[[], None]


class SelfTestFailed(AssertionError):
    """A check of the self test that failed."""


def run_storyboard(workspace: Workspace | None = None, wait: Wait | None = None) -> list[str]:
    """Run the storyboard from a scan to a report and back from the scene; return its steps.

    Without arguments it makes a workspace. For a panel's workspace, ``wait`` has to let the panel's
    own timer run until there is nothing left to do. Raises `SelfTestFailed` if a check fails.
    """
    if workspace is not None:
        return list(_steps(workspace, wait or _pump_of(workspace)))
    engine = Engine()
    own = Workspace(slicer.mrmlScene, engine)
    try:
        return list(_steps(own, _pump_of(own)))
    finally:
        own.close()
        engine.close()


def _pump_of(workspace: Workspace) -> Wait:
    def wait() -> None:
        end = time.monotonic() + PATIENCE_S
        while workspace.needs_pump:
            workspace.pump()
            check(time.monotonic() < end, "the workspace comes to rest")

    return wait


def _steps(workspace: Workspace, wait: Wait) -> Iterator[str]:
    messages: list[str] = []
    workspace.message.connect(messages.append)
    try:
        is_trained = give_model(workspace.engine)
        wait()
        check(workspace.engine.is_ready, f"a model is ready; {messages}")
        yield f"The model {workspace.engine.info.preset} is ready"
        yield from _work(workspace, wait, is_trained)
        check(messages == [], f"no message was shown; {messages}")
    finally:
        workspace.message.disconnect(messages.append)
        workspace.end()


def _work(workspace: Workspace, wait: Wait, is_trained: bool) -> Iterator[str]:
    volume, truth, places = small_phantom()
    node = add_volume(workspace.scene, volume, "Self test")
    workspace.start(node)
    wait()
    check(workspace.is_open, "the scan is open")
    yield "A scan is open"

    first, second = (click_into(workspace, place, wait) for place in places)
    check((first, second) == (1, 2), "two clicks make two lesions")
    for lesion_id in (first, second):
        mask = workspace.session.mask(lesion_id)
        check(mask.any(), f"the click on lesion {lesion_id} outlines it")
    if is_trained:
        for lesion_id, (value, _) in zip((first, second), places, strict=False):
            check(_dice(workspace, lesion_id, truth == value) > GOOD_DICE, "the click hits")
    yield "Two lesions are clicked"

    workspace.commands.work_on(second)
    before = workspace.session.mask(second)
    workspace.commands.positive = False
    _place(workspace, places[1][1])
    wait()
    check(_labels(workspace) == ["1+", "2+", "2-"], "a point outside is labelled so")
    workspace.commands.undo()
    wait()
    check(_labels(workspace) == ["1+", "2+"], "an undo takes the point back")
    check(np.array_equal(workspace.session.mask(second), before), "and the mask as it was")
    yield "A correction is taken back"

    found: list[int] = []
    workspace.commands.find_similar(then=found.extend)
    wait()
    check(set(found) == set(workspace.state.lesions) - {1, 2}, "findings are lesions")
    check(is_trained or len(found) > 1, "there is something to accept and to reject")
    yield f"Similar lesions are searched: {len(found)} findings"

    workspace.commands.reject(*found[:1])
    workspace.commands.accept()
    workspace.commands.rename(first, "Knee")
    wait()
    check(workspace.entries()[0].name == "Knee", "the table has the new name")
    statuses = [workspace.state.lesion(lesion_id).status.value for lesion_id in found]
    expected = ["rejected", *["accepted"] * (len(found) - 1)][: len(found)]
    check(statuses == expected, "one finding is rejected and the others are accepted")
    _check_segments(workspace)
    yield "Findings are accepted and rejected"

    yield from _report(workspace, wait)
    yield from _resume(workspace, node, wait)


def _report(workspace: Workspace, wait: Wait) -> Iterator[str]:
    tables: list[Any] = []
    workspace.reports.table(lambda node, totals: tables.append((node, totals)))
    with tempfile.TemporaryDirectory(prefix="MOISSAM2-") as folder:
        path = str(Path(folder, "Bericht ä.csv"))
        written: list[str] = []
        workspace.reports.write(path, written.append)
        wait()
        check(written == [path] and Path(path).stat().st_size > 0, "the report is written")
    (node, totals) = tables[0]
    visible = np.unique(workspace.session.labels())
    check(totals.count == len(visible[visible > 0]), "the report counts what is there")
    check(node.GetTable().GetNumberOfRows() == len(workspace.state.lesions), "one row each")
    yield "The report is made"


def _resume(workspace: Workspace, node: Any, wait: Wait) -> Iterator[str]:
    labels = workspace.session.labels()
    workspace.end()
    check(not workspace.is_open, "work has ended")
    workspace.start(node)
    wait()
    check(np.array_equal(workspace.session.labels(), labels), "the work goes on as it was")
    check(_labels(workspace) == ["1+", "2+"], "with its points")
    _check_segments(workspace)
    yield "The work is taken up again from the scene"


# ---- model, scan and clicks ----------------------------------------------------------------


def give_model(engine: Engine) -> bool:
    """Have the engine use a small model; return whether its weights were trained."""
    from mois_core import models
    from mois_core.bench.synthetic_weights import fill_synthetic
    from mois_core.network.config import preset
    from mois_core.network.loading import build
    from mois_core.network.model_info import ModelInfo

    if models.shipped_weights() is not None:
        engine.load(models.SHIPPED)
        return True
    model = fill_synthetic(build(preset("mois-tiny")), LIVELY).requires_grad_(False).eval()
    engine.use(model, ModelInfo("mois-tiny with synthetic weights"))
    return False


def small_phantom() -> tuple[Volume, np.ndarray, list[tuple[int, np.ndarray]]]:
    """Return a scan, its lesions as label values, and value and place of the largest two."""
    return phantom_to_click(LESIONS, SLICES, SIZE, places=2)


def phantom_to_click(
    lesions: int, slices: int, size: tuple[int, int], places: int
) -> tuple[Volume, np.ndarray, list[tuple[int, np.ndarray]]]:
    """Return a scan, its lesions as label values, and value and place of some of the largest."""
    from mois_core.phantom import PhantomSettings, make_phantom

    phantom = make_phantom(SEED, PhantomSettings(lesions=lesions, slices=slices, size=size))
    values, counts = np.unique(phantom.instances[phantom.semantic > 0], return_counts=True)
    largest = values[np.argsort(-counts)][:places]
    check(len(largest) == places, "the phantom has lesions to click on")
    found = []
    for value in largest.tolist():
        inside = np.argwhere(phantom.instances == value)
        nearest = inside[np.square(inside - inside.mean(axis=0)).sum(axis=1).argmin()]
        ijk = np.append(nearest[::-1], 1.0)
        found.append((value, (phantom.ijk_to_ras @ ijk)[:3]))
    truth = right_handed(Volume(phantom.instances, phantom.ijk_to_ras)).array
    return Volume(phantom.scan, phantom.ijk_to_ras), truth, found


def click_into(workspace: Workspace, place: tuple[int, np.ndarray], wait: Wait) -> int | None:
    """Begin a lesion with a click at a place of `small_phantom`, and return the lesion's id."""
    workspace.commands.begin_lesion()
    _place(workspace, place[1])
    wait()
    return workspace.commands.active_lesion


def _place(workspace: Workspace, ras: np.ndarray) -> None:
    world = to_world(workspace.volume_node, ras)[0]
    workspace.points_node.AddControlPointWorld(*world.tolist())


def _labels(workspace: Workspace) -> list[str]:
    node = workspace.points_node
    return [point.label for point in control_points.placed_points(node)]


def _dice(workspace: Workspace, lesion_id: int, truth: np.ndarray) -> float:
    mask = workspace.session.mask(lesion_id)
    both = np.logical_and(mask, truth).sum()
    return float(2 * both / max(mask.sum() + truth.sum(), 1))


def _check_segments(workspace: Workspace) -> None:
    """Check that the segments are the lesions that count, each with just its voxels."""
    labels = workspace.session.labels()
    counted = [le.id for le in workspace.state.lesions.values() if le.status.counts]
    segmentation = workspace.segments_node.GetSegmentation()
    check(segmentation.GetNumberOfSegments() == len(counted), "one segment for each lesion")
    for lesion_id in counted:
        segment_id = workspace.segments.segment_of(lesion_id)
        check(segment_id is not None, f"lesion {lesion_id} has a segment")
        shown = workspace.segments.read(segment_id)
        check(np.array_equal(shown, labels == lesion_id), f"the segment of {lesion_id} is its mask")


def check(is_so: bool, what: str) -> None:
    """Raise `SelfTestFailed` if something is not so; an optimised Python leaves out asserts."""
    if not is_so:
        raise SelfTestFailed(f"The self test failed: it is not so that {what}")

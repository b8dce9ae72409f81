"""The effect in Slicer's module Segment Editor: masks, undo, paint in between, 3-D, our module."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from MOISSAM2SegmentLib.scene.stored_session import stored_session_of
from MOISSAM2SegmentLib.scene.transforms import ijk_to_ras, to_world
from MOISSAM2SegmentLib.setup.application_test import EFFECT
from MOISSAM2SegmentLib.setup.self_test import check

from application_scenarios import mouse
from application_scenarios.reader import Reader, Sample

MODULE = "SegmentEditor"
PAINT = "Paint"
VIEW = "Green"
UNDO_KEY, REDO_KEY = "Z", "Y"
BRUSH_MM = 12.0
DARKER = 25
"""Percent of a lesion's voxels that the intensity range leaves out, if it were that lesion."""
AWAY = 14
"""Voxels between a lesion's middle and what is painted beside it."""
SLICES_AWAY = 3
SIDE = 6
"""Side of the square that a segment holds before it is clicked into, in voxels."""


class SegmentEditor:
    """Slicer's Segment Editor, on a segmentation of the reader's own."""

    def __init__(self, reader: Reader, scan: Any) -> None:
        self.reader = reader
        self.scan = scan
        scene = slicer.mrmlScene
        self.node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "The reader's own")
        self.node.CreateDefaultDisplayNodes()
        self.node.SetReferenceImageGeometryParameterFromVolumeNode(scan)
        slicer.util.selectModule(MODULE)
        self.editor = slicer.util.getModuleWidget(MODULE).editor
        self.editor.setSegmentationNode(self.node)
        self.editor.setSourceVolumeNode(scan)

    @property
    def parameters(self) -> Any:
        """The node with masks and the chosen segment."""
        return self.editor.mrmlSegmentEditorNode()

    @property
    def message(self) -> str:
        """What the effect tells."""
        return self.editor.activeEffect().self().messageLabel.text

    def add(self, name: str, mask: np.ndarray | None = None) -> str:
        """Add a segment, with voxels in the order of the scan's if any, and choose it."""
        segment_id = self.node.GetSegmentation().AddEmptySegment("", name)
        if mask is not None:
            slicer.util.updateSegmentBinaryLabelmapFromArray(
                mask.astype(np.uint8), self.node, segment_id, self.scan
            )
        self.choose(segment_id)
        return segment_id

    def choose(self, segment_id: str) -> None:
        """Choose a segment."""
        self.editor.setCurrentSegmentID(segment_id)
        self.reader.wait()

    def use(self, effect: str) -> None:
        """Choose an effect; none if the name is empty."""
        self.editor.setActiveEffectByName(effect)
        self.reader.wait()
        is_chosen = self.editor.activeEffect() is not None
        check(is_chosen is bool(effect), f"the effect {effect} can be chosen")

    def click(self, world: np.ndarray, modifiers: tuple[str, ...] = ()) -> None:
        """Click in a slice view, and wait."""
        mouse.look_at(VIEW, world)
        mouse.click(VIEW, world, modifiers)
        self.reader.wait()

    def press(self, name: str) -> None:
        """Click on a button of the Segment Editor."""
        button = slicer.util.findChild(self.editor, name)
        check(button.enabled, f"{name} can be pressed")
        button.click()
        self.reader.wait()

    def mask(self, segment_id: str) -> np.ndarray:
        """Return a segment in the order of the scan's voxels, as Slicer reads it."""
        array = slicer.util.arrayFromSegmentBinaryLabelmap(self.node, segment_id, self.scan)
        return np.array(array, dtype=bool)

    def surface(self, segment_id: str) -> int:
        """Return the number of points of a segment's surface; 0 if it has none."""
        name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
        surface = self.node.GetSegmentation().GetSegment(segment_id).GetRepresentation(name)
        return surface.GetNumberOfPoints() if surface is not None else 0


def effect_undo_paint_and_3d(reader: Reader) -> None:
    """Click, undo and redo by button and key, paint in between, with Show 3D on."""
    editor, places = _editor(reader)
    segment_id = editor.add("Mine")
    editor.use(EFFECT)
    editor.click(places[0])
    mask = editor.mask(segment_id)
    check(mask.any(), f"a click fills the segment; the effect says: {editor.message}")
    reader.step("A click fills the segment")

    editor.press("UndoButton")
    check(not editor.mask(segment_id).any(), "the button undoes it")
    editor.press("RedoButton")
    check(np.array_equal(editor.mask(segment_id), mask), "the button does it again")
    reader.press_key(UNDO_KEY)
    check(not editor.mask(segment_id).any(), "the key undoes it")
    reader.press_key(REDO_KEY)
    check(np.array_equal(editor.mask(segment_id), mask), "the key does it again")
    reader.step("It is undone and done again, by button and by key")

    editor.press("Show3DButton")
    before = editor.surface(segment_id)
    check(before > 0, "the segment has a surface")
    reader.step("Show 3D is on")

    editor.use(PAINT)
    effect = editor.editor.activeEffect()
    effect.setCommonParameter("BrushDiameterIsRelative", 0)
    effect.setCommonParameter("BrushAbsoluteDiameter", BRUSH_MM)
    editor.click(_beside(editor.scan, places[0]))
    painted = editor.mask(segment_id) & ~mask
    check(painted.any(), "the brush paints beside the lesion")
    check(editor.surface(segment_id) > 0, "Show 3D is still on")
    reader.step("The brush paints in between")

    editor.use(EFFECT)
    editor.add("Second")
    second = editor.parameters.GetSelectedSegmentID()
    editor.click(places[1])
    check(editor.mask(second).any(), "a click fills another segment")
    check(bool((editor.mask(segment_id) & painted).any()), "what was painted is still there")
    check(editor.surface(second) > 0, "Show 3D shows the new segment, too")
    check(editor.surface(segment_id) > 0, "and the first one")
    reader.step("A click after that; 3D follows")
    editor.use("")
    reader.check_segments()
    reader.step("The effect is left")


def effect_with_masks(reader: Reader) -> None:
    """Click with an intensity range, outside other segments, and into a segment with content."""
    editor, places = _editor(reader)
    segment_id = editor.add("Whole")
    editor.use(EFFECT)
    editor.click(places[0])
    whole = editor.mask(segment_id)
    check(whole.any(), "a click fills the segment")
    scan = slicer.util.arrayFromVolume(editor.scan)
    reader.step("A click without masks")

    low, high = float(np.percentile(scan[whole], DARKER)), float(scan.max())
    editor.parameters.SetSourceVolumeIntensityMask(True)
    editor.parameters.SetSourceVolumeIntensityMaskRange(low, high)
    bright = editor.add("Bright")
    editor.click(places[1])
    inside = editor.mask(bright)
    check(inside.any(), "a click fills the segment where the scan is bright")
    check(float(scan[inside].min()) >= low, f"nothing darker than {low} is in it")
    editor.parameters.SetSourceVolumeIntensityMask(False)
    reader.step("The editable intensity range holds")

    outside = slicer.vtkMRMLSegmentationNode.EditAllowedOutsideAllSegments
    editor.parameters.SetMaskMode(outside)
    half = _half_up_to(editor.scan, places[2])
    guarded = editor.add("Guarded", half)
    rest = editor.add("Rest")
    editor.click(places[2])
    check(editor.mask(rest).any(), "a click fills the segment outside the other one")
    check(not (editor.mask(rest) & editor.mask(guarded)).any(), "no voxel is in both segments")
    check(np.array_equal(editor.mask(guarded), half), "the other segment is as it was")
    editor.parameters.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere)
    reader.step("The editable area holds")

    content = _square_near(editor.scan, places[3])
    filled = editor.add("With content", content)
    editor.click(places[3])
    mask = editor.mask(filled)
    check(bool(mask[content].all()), "what the segment held is still there")
    check(mask.sum() > content.sum(), "the lesion is added to it")
    reader.step("A click into a segment with content")
    editor.use("")
    reader.check_segments()
    reader.step("The effect is left")


def effect_beside_module(reader: Reader) -> None:
    """Use the effect while the module works on the same scan."""
    reader.open()
    sample = reader.quick_scan()
    reader.start(sample.node)
    places = _worlds(sample)
    reader.click_into(places[0])
    reader.step("The module has a lesion")

    own = reader.workspace.segments_node
    editor = SegmentEditor(reader, sample.node)
    editor.add("Mine")
    editor.use(EFFECT)
    editor.click(places[1])
    check(
        own.GetName() in editor.message, f"the effect says where the lesions are: {editor.message}"
    )
    check(list(reader.workspace.state.lesions) == [1], "nothing is changed")
    reader.step(f"In another segmentation, the effect says: {editor.message}")

    editor.use("")
    editor.node = own
    editor.editor.setSegmentationNode(own)
    segment_id = editor.add("Beside")
    editor.use(EFFECT)
    editor.click(places[1])
    check(editor.mask(segment_id).any(), f"a click works there; the effect says: {editor.message}")
    editor.use("")
    check(len(reader.workspace.state.lesions) == 2, "the module has both lesions")
    reader.check_segments()
    reader.step("In the module's segmentation it works")
    reader.open()
    check(reader.ui.lesionTable.rowCount == 2, "the panel lists both")
    reader.step("The panel lists both")


def outlines_taken_over(reader: Reader) -> None:
    """Take over outlined segments where the stored session cannot be resumed."""
    reader.open()
    sample = reader.quick_scan()
    reader.start(sample.node)
    places = _worlds(sample)
    for place in places[:2]:
        reader.click_into(place)
    labels = reader.labels
    reader.choose(None)
    stored = stored_session_of(slicer.mrmlScene, sample.node)
    stored.content = stored.content[: len(stored.content) // 2]
    reader.step("Two lesions; their stored session is damaged")
    reader.start(sample.node)
    check(len(reader.workspace.state.lesions) == 2, f"both are taken over: {reader.message}")
    check(np.array_equal(reader.labels, labels), "they have the same voxels")
    check(bool(reader.message), "the panel says so")
    reader.step(f"They are taken over. The panel says: {reader.message}")
    reader.click_into(places[2])
    reader.check_segments()
    reader.step("The work goes on")


def _editor(reader: Reader) -> tuple[SegmentEditor, list[np.ndarray]]:
    """Return the Segment Editor on a scan, and places in lesions in the world."""
    reader.open()
    sample = reader.quick_scan()
    slicer.util.setSliceViewerLayers(background=sample.node, fit=True)
    return SegmentEditor(reader, sample.node), _worlds(sample)


def _worlds(sample: Sample) -> list[np.ndarray]:
    return [to_world(sample.node, place)[0] for place in sample.places]


def _voxel_of(scan: Any, world: np.ndarray) -> tuple[int, int, int]:
    """Return the voxel [k, j, i] at a place in the world; the scan is under no transform."""
    to_ijk = np.linalg.inv(ijk_to_ras(scan))
    i, j, k = np.round(to_ijk @ np.append(world, 1.0))[:3].astype(int).tolist()
    return k, j, i


def _beside(scan: Any, world: np.ndarray) -> np.ndarray:
    """Return a place in the same slice, some voxels away towards the middle of the scan."""
    k, j, i = _voxel_of(scan, world)
    width = slicer.util.arrayFromVolume(scan).shape[2]
    ijk = (i + AWAY if i < width / 2 else i - AWAY, j, k, 1.0)
    return (ijk_to_ras(scan) @ ijk)[:3]


def _half_up_to(scan: Any, world: np.ndarray) -> np.ndarray:
    """Return the part of the scan that ends in the column of a place."""
    half = np.zeros(slicer.util.arrayFromVolume(scan).shape, dtype=bool)
    half[:, :, : _voxel_of(scan, world)[2]] = True
    return half


def _square_near(scan: Any, world: np.ndarray) -> np.ndarray:
    """Return a square of voxels some slices away from a place.

    A click draws its own slice anew, and the effect says so if that leaves out what was painted.
    """
    k, j, i = _voxel_of(scan, world)
    square = np.zeros(slicer.util.arrayFromVolume(scan).shape, dtype=bool)
    square[
        k + SLICES_AWAY if k < len(square) / 2 else k - SLICES_AWAY,
        j - SIDE // 2 : j + SIDE // 2,
        i - SIDE // 2 : i + SIDE // 2,
    ] = True
    return square

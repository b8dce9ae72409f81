"""Slicer's own Segment Editor without its widget, with selection, masks, undo, and strokes."""

from __future__ import annotations

import numpy as np
import slicer
from engine_fixtures import Block, painted
from MOISSAM2SegmentLib.scene.grid_images import image_of, on_grid
from MOISSAM2SegmentLib.scene.intensity_range import limited
from scans import settle, world_of


class Editor:
    """Does for an effect what the Segment Editor's widget does."""

    def __init__(self, workspace, node=None, segment_id: str = "mine") -> None:
        self.workspace = workspace
        self.logic = slicer.vtkSlicerSegmentEditorLogic()
        self.logic.SetMRMLScene(workspace.scene)
        self.parameters = workspace.scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
        self.logic.SetSegmentEditorNode(self.parameters)
        if node is None:
            node = workspace.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "The user's own")
            node.CreateDefaultDisplayNodes()
            node.SetReferenceImageGeometryParameterFromVolumeNode(workspace.volume_node)
        self.node = node
        self.history = slicer.vtkSegmentationHistory()
        self.history.SetSegmentation(node.GetSegmentation())
        self.logic.SetSegmentationHistory(self.history)
        self.logic.SetSegmentationNode(node)
        self.logic.SetSourceVolumeNode(workspace.volume_node)
        if node.GetSegmentation().GetSegment(segment_id) is None:
            self.add("Mine", segment_id)
        self.select(segment_id)

    @property
    def segment_id(self) -> str:
        return self.parameters.GetSelectedSegmentID()

    def add(self, name: str, segment_id: str = "") -> str:
        segmentation = self.node.GetSegmentation()
        return segmentation.AddEmptySegment(segment_id or name.lower(), name)

    def select(self, segment_id: str) -> None:
        self.parameters.SetSelectedSegmentID(segment_id)

    def write_change(self, segment_id: str, change) -> None:
        """Write a mask as our effect does."""
        with limited(change, self.parameters, self.workspace.volume_node) as image:
            self.write(segment_id, image)

    def write(self, segment_id: str, image) -> None:
        """Write a mask as `modifySegmentByLabelmap` of an effect does."""
        self.logic.ModifySegmentByLabelmap(
            self.node, segment_id, image, self.logic.ModificationModeSet, True, False
        )

    def click(self, world, positive: bool = True) -> None:
        """Click, and wait until the segment is written."""
        self.click_at_once(world, positive)
        settle(self.workspace)

    def click_at_once(self, world, positive: bool = True) -> None:
        """Do what the effect itself does on a click."""
        self.workspace.effect_segments.edit_segment(self.node, self.segment_id, self.write_change)
        self.logic.SaveStateForUndo()
        self.workspace.commands.point_at(world, positive)

    def paint(self, mask: np.ndarray) -> None:
        """Replace the segment by a mask, as a stroke of the brush does."""
        volume = self.workspace.session.volume
        box = tuple(slice(0, count) for count in mask.shape)
        self.logic.SaveStateForUndo()
        self.write(self.segment_id, image_of(volume.ijk_to_ras, box, mask))

    def undo(self) -> None:
        self.logic.Undo()
        settle(self.workspace)

    def redo(self) -> None:
        self.logic.Redo()
        settle(self.workspace)

    def leave(self) -> None:
        self.workspace.effect_segments.give_back()
        settle(self.workspace)

    def mask(self, segment_id: str) -> np.ndarray:
        """Return a segment's mask, read by Slicer; only the change of grids is ours."""
        image = slicer.vtkOrientedImageData()
        self.node.GetBinaryLabelmapRepresentation(segment_id, image)
        volume = self.workspace.session.volume
        return on_grid(image, {1: 1}, volume.ijk_to_ras, volume.array.shape) > 0


def click(editor: Editor, block: Block, positive: bool = True) -> None:
    """Click into the middle of a lesion."""
    editor.click(world_of(editor.workspace, *block.middle), positive)


def in_volume(editor: Editor, block: Block) -> np.ndarray:
    """Return a block as a mask in the scan's own order."""
    return editor.workspace.session.stack.to_volume(painted(block))


def outlined(editor: Editor) -> np.ndarray:
    """Return the mask of the selected segment."""
    return editor.mask(editor.segment_id)

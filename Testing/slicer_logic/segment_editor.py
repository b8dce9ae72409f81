"""Slicer's own Segment Editor without its widget: selection, masks, undo, and strokes."""

from __future__ import annotations

import numpy as np
import slicer
from engine_fixtures import Block, painted
from MOISSAM2SegmentLib.scene.grid_images import image_of, on_grid
from MOISSAM2SegmentLib.scene.intensity_range import limited
from scans import settle, world_of


class Editor:
    """What the Segment Editor's widget does for an effect."""

    def __init__(self, workspace, node=None, segment: str = "mine") -> None:
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
        if node.GetSegmentation().GetSegment(segment) is None:
            self.add("Mine", segment)
        self.select(segment)

    @property
    def segment(self) -> str:
        return self.parameters.GetSelectedSegmentID()

    def add(self, name: str, identifier: str = "") -> str:
        segmentation = self.node.GetSegmentation()
        return segmentation.AddEmptySegment(identifier or name.lower(), name)

    def select(self, segment: str) -> None:
        self.parameters.SetSelectedSegmentID(segment)

    def write_picture(self, segment: str, picture) -> None:
        """What our effect does with a mask of ours."""
        with limited(picture, self.parameters, self.workspace.volume_node) as image:
            self.write(segment, image)

    def write(self, segment: str, image) -> None:
        """What `modifySegmentByLabelmap` of an effect does."""
        self.logic.ModifySegmentByLabelmap(
            self.node, segment, image, self.logic.ModificationModeSet, True, False
        )

    def click(self, world, positive: bool = True) -> None:
        """What comes of a click."""
        self.click_at_once(world, positive)
        settle(self.workspace)

    def click_at_once(self, world, positive: bool = True) -> None:
        """What the effect itself does on a click."""
        self.workspace.editing.edit_segment(self.node, self.segment, self.write_picture)
        self.logic.SaveStateForUndo()
        self.workspace.editing.point_into_segment(world, positive)

    def paint(self, mask: np.ndarray) -> None:
        """A stroke of the brush, with what it leaves behind."""
        volume = self.workspace.session.volume
        box = tuple(slice(0, count) for count in mask.shape)
        self.logic.SaveStateForUndo()
        self.write(self.segment, image_of(volume.ijk_to_ras, box, mask))

    def undo(self) -> None:
        self.logic.Undo()
        settle(self.workspace)

    def redo(self) -> None:
        self.logic.Redo()
        settle(self.workspace)

    def leave(self) -> None:
        self.workspace.editing.give_back()
        settle(self.workspace)

    def mask(self, segment: str) -> np.ndarray:
        """Read without our own code's help, but for the change of grids."""
        image = slicer.vtkOrientedImageData()
        self.node.GetBinaryLabelmapRepresentation(segment, image)
        volume = self.workspace.session.volume
        return on_grid(image, {1: 1}, volume.ijk_to_ras, volume.array.shape) > 0


def click(editor: Editor, block: Block, positive: bool = True) -> None:
    """Into the middle of a lesion."""
    editor.click(world_of(editor.workspace, *block.middle), positive)


def in_volume(editor: Editor, block: Block) -> np.ndarray:
    """A block as a mask in the scan's own order."""
    return editor.workspace.session.stack.to_volume(painted(block))


def outlined(editor: Editor) -> np.ndarray:
    """What the chosen segment shows."""
    return editor.mask(editor.segment)

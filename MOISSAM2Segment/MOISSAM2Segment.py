"""The Slicer module MOISSAM2Segment, which segments all lesions of a scan from a few clicks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

HELP = _("""
Outline a few lesions with a click each; MOISSAM2 propagates the outlines through the slices and
finds the lesions that look alike. Every finding can be accepted, rejected or refined, and measured
in a report. <b>For research use only. Not a medical device.</b>
""")

PAPERS = _("""
An implementation of two published methods, MOIS-SAM2 and SLM-SAM 2, which build on SAM 2. Please
cite their papers; the project's README lists them.
""")


class MOISSAM2Segment(ScriptedLoadableModule):
    """The module's entry in Slicer. Nothing is computed or installed here."""

    def __init__(self, parent) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("MOISSAM2 Segment")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Markups", "Segmentations", "Volumes"]
        parent.contributors = ["MOISSAM2 contributors"]
        parent.helpText = HELP
        parent.acknowledgementText = PAPERS
        slicer.app.connect("startupCompleted()", register_sample_data)
        slicer.app.connect("startupCompleted()", leave_unknown_layout)


def register_sample_data() -> None:
    """Offer the phantom in Slicer's module Sample Data. Called when all modules are loaded."""
    import SampleData
    from MOISSAM2SegmentLib.setup import sample_data

    picture = Path(__file__).parent / "Resources" / "Icons" / "MOISSAM2Phantom.png"
    sample_data.register(SampleData.SampleDataLogic, str(picture))


def leave_unknown_layout() -> None:
    """Show views if Slicer was closed in the layout of a scan. Called when the window is there."""
    from MOISSAM2SegmentLib.scene import scan_layout

    scan_layout.leave_unknown_layout(slicer.mrmlScene)


class MOISSAM2SegmentWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The module's widget: makes and ends the panel, which is in `MOISSAM2SegmentPanel`."""

    def __init__(self, parent=None) -> None:
        # The base class's constructor calls `setup` if there is no parent, so these come first.
        self.panel = None
        self.logic = None
        self.parameters = None
        self._widgets_tag = None
        self._parameter_nodes = []
        self._is_entered = False
        VTKObservationMixin.__init__(self)
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self) -> None:
        """Make the panel. Called when the module is opened for the first time."""
        from MOISSAM2SegmentPanel.panel import Panel

        ScriptedLoadableModuleWidget.setup(self)
        widget = slicer.util.loadUI(self.resourcePath("UI/MOISSAM2Segment.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.logic = MOISSAM2SegmentLogic()
        icons = Path(self.resourcePath("Icons"))
        self.panel = Panel(self.ui, widget, icons, self.logic)
        scene = slicer.mrmlScene
        for event in (scene.StartCloseEvent, scene.StartImportEvent):
            self.addObserver(scene, event, self._scene_will_change)
        self.addObserver(scene, scene.StartCloseEvent, self._scene_closes)
        for event in (scene.EndCloseEvent, scene.EndImportEvent):
            # After Slicer's own lists of nodes, which are filled again at these events.
            self.addObserver(scene, event, self._scene_changed, priority=-1.0)
        self._show_parameters()

    def enter(self) -> None:
        """Make the panel ready. Called whenever the user opens the module."""
        self._is_entered = True
        self._show_parameters()
        self.panel.enter()

    def exit(self) -> None:
        """Give keys, mouse and graphics memory back. Called whenever the user leaves the module."""
        self._is_entered = False
        self.panel.leave()

    def cleanup(self) -> None:
        """Close the panel and the logic. Called before a reload and at the end."""
        self.removeObservers()
        self._forget_parameters()
        if self.panel is not None:
            self.panel.close()
            self.panel = None
            self.logic.close()

    def _show_parameters(self) -> None:
        from MOISSAM2SegmentPanel.parameters import connect_widgets, read_parameters

        self._forget_parameters()
        self.parameters = read_parameters(self.logic)
        # Slicer 5.10 leaves an observer on the node when widgets are disconnected. It ends the
        # program if it is called once Python has given the node up.
        node = self.logic.getParameterNode()
        if node not in self._parameter_nodes:
            self._parameter_nodes.append(node)
        self._widgets_tag = connect_widgets(self.parameters, self.ui)

    def _forget_parameters(self) -> None:
        if self.parameters is not None:
            self.parameters.disconnectGui(self._widgets_tag)
            self.parameters = None

    def _scene_will_change(self, caller, event) -> None:
        self._forget_parameters()
        self.panel.scan.hold()

    def _scene_closes(self, caller, event) -> None:
        self.panel.message_line.clear()

    def _scene_changed(self, caller, event) -> None:
        # A parameter node is made only if the user is here: a module that is not used adds nothing
        # to a scene that is saved.
        if not self.logic.workspace.is_open:
            self.panel.message_line.clear()
        if self._is_entered:
            self._show_parameters()
            self.panel.enter()
        else:
            self.panel.show()
        self.panel.scan.release()


class MOISSAM2SegmentLogic(ScriptedLoadableModuleLogic):
    """Segments the lesions of a scan, for the panel, the Segment Editor's effect, and scripts.

    It owns the engine, with the network and its threads, and the workspace, with the scan that is
    open. Panel and effect share the one that ``slicer.util.getModuleLogic("MOISSAM2Segment")``
    returns. The methods of this class are for scripts: each waits until its work is done, and
    raises `BadInput` with a message for the user if it cannot be done. In Slicer's Python console::

        import slicer
        from MOISSAM2Segment import MOISSAM2SegmentLogic
        from MOISSAM2SegmentLib.setup.sample_data import load_phantom

        scan = load_phantom()
        logic = MOISSAM2SegmentLogic()
        logic.load_model("phantom")
        logic.start(scan)
        lesion_id = logic.click((66.3, -42.9, 118.1))  # a place in the scene, RAS millimetres
        findings = logic.find_similar()  # ids of lesions
        logic.run(lambda: logic.workspace.commands.accept(*findings))
        mask = logic.mask(lesion_id)  # in the order of slicer.util.arrayFromVolume(scan)
        segmentation = logic.workspace.segments_node
        segment_id = logic.workspace.segments.segment_of(lesion_id)
        voxels = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment_id, scan)
        logic.close()  # the segmentation, the points and the session stay in the scene
    """

    def __init__(self, engine: Any = None) -> None:
        """Use an engine that exists already, or a new one."""
        from MOISSAM2SegmentLib.worker.engine import Engine
        from MOISSAM2SegmentLib.workspace.workspace import Workspace

        ScriptedLoadableModuleLogic.__init__(self)
        self.engine = engine or Engine()
        self.workspace = Workspace(slicer.mrmlScene, self.engine)

    def load_model(self, preset: str | None, checkpoint: str | None = None, **how: Any) -> None:
        """Load a network, by default with the preset's own weights; see `Engine.load`."""
        from mois_core.errors import BadInput

        failures: list[str] = []
        self.run(lambda: self.engine.load(preset, checkpoint, failed=failures.append, **how))
        if failures:
            raise BadInput(failures[0])

    def join_stations(self, volume_nodes: Sequence[Any]) -> Any:
        """Join volumes that are stations of one scan; return the node that they make as one."""
        made: list[Any] = []
        self.run(lambda: self.workspace.stations.join(volume_nodes, made.append))
        return made[0]

    def start(self, volume_node: Any, **how: Any) -> None:
        """Open a scan, resuming the session that the scene holds of it; see `Workspace.start`."""
        self.run(lambda: self.workspace.start(volume_node, **how))

    def click(
        self, place: Sequence[float], positive: bool = True, lesion_id: int | None = None
    ) -> int:
        """Click into a lesion, or beside it to correct it, and return the lesion's id.

        The place is in the scene, in RAS millimetres. Without ``lesion_id`` the click begins a new
        lesion.
        """
        commands = self.workspace.commands
        if lesion_id is None:
            commands.begin_lesion()
        else:
            commands.work_on(lesion_id)
        commands.positive = positive
        points = self.workspace.points_node
        self.run(lambda: points.AddControlPointWorld(*(float(part) for part in place)))
        commands.positive = True
        return commands.active_lesion

    def clicks(self, points: Sequence[tuple[Sequence[float], bool, int]]) -> None:
        """Make several clicks as one step: for each its place, whether it is inside, its lesion."""
        from mois_core.io.click_labels import write_click_label

        node = self.workspace.points_node

        def place() -> None:
            for place, positive, lesion_id in points:
                label = write_click_label(lesion_id, positive)
                node.AddControlPointWorld(*(float(part) for part in place), label)

        self.run(place)

    def box(
        self, first: Sequence[float], second: Sequence[float], lesion_id: int | None = None
    ) -> int:
        """Draw a box around a lesion on one slice, and return the lesion's id.

        The two opposite corners are places in the scene. Without ``lesion_id`` the box begins a new
        lesion.
        """
        commands = self.workspace.commands
        if lesion_id is None:
            commands.begin_lesion()
        else:
            commands.work_on(lesion_id)
        self.run(lambda: commands.draw_box([first, second]))
        return commands.active_lesion

    def move_click(self, click_id: int, place: Sequence[float]) -> None:
        """Drag a click elsewhere. Clicks are counted from 1 on, in the order in which they came."""
        index, points = self._point_of(click_id), self.workspace.points_node
        ras = [float(part) for part in place]
        self.run(lambda: points.SetNthControlPointPositionWorld(index, *ras))

    def delete_clicks(self, *click_ids: int) -> None:
        """Take clicks back as one step; see `move_click`."""
        points = self.workspace.points_node

        def remove() -> None:
            for click_id in click_ids:
                points.RemoveNthControlPoint(self._point_of(click_id))

        self.run(remove)

    def _point_of(self, click_id: int) -> int:
        point_id = self.workspace.open_work().clicks.point_of(click_id)
        return self.workspace.points_node.GetNthControlPointIndexByID(point_id)

    def find_similar(self, **how: Any) -> list[int]:
        """Search the scan for similar lesions and return their ids; see `Commands.find_similar`."""
        found: list[int] = []
        self.run(lambda: self.workspace.commands.find_similar(then=found.extend, **how))
        return found

    def mask(self, lesion_id: int) -> Any:
        """Return a lesion's mask in the order of the scan's voxels [k, j, i]."""
        from MOISSAM2SegmentLib.scene.transforms import in_node_order

        return in_node_order(self.workspace.session.mask(lesion_id), self.workspace.volume_node)

    def save_dicom(self, folder: str | Path) -> Path:
        """Write the lesions as DICOM files into a new folder inside another one, and return it.

        The scan has to come from Slicer's DICOM database. In Slicer 5.12 all that this needs is
        there; see `MOISSAM2SegmentLib.setup.install.install_for_dicom`.
        """
        made: list[Any] = []
        self.run(lambda: self.workspace.dicom.write(folder, made.append))
        return made[0].folder

    def run(self, action: Callable[[], Any]) -> None:
        """Call a function and wait until the work that it begins is done.

        A message that the user would see meanwhile is raised as `BadInput`.
        """
        from mois_core.errors import BadInput

        messages: list[str] = []
        self.workspace.message.connect(messages.append)
        try:
            action()
            while self.workspace.needs_pump:
                self.workspace.pump()
                slicer.app.processEvents()
        finally:
            self.workspace.message.disconnect(messages.append)
        if messages:
            raise BadInput(messages[-1])

    def close(self) -> None:
        """End the work, which stays in the scene, and free memory and threads."""
        self.workspace.close()
        self.engine.close()


class MOISSAM2SegmentTest(ScriptedLoadableModuleTest):
    """The module's self tests, which *Reload and Test*, CTest and our script run.

    Nothing is downloaded. What needs Slicer's main window is skipped without one.
    """

    def setUp(self) -> None:
        """Empty the scene."""
        slicer.mrmlScene.Clear()

    def test_storyboard(self) -> None:
        """From a scan to a report and back, on a phantom."""
        from MOISSAM2SegmentLib.setup.self_test import run_storyboard

        self._need_packages()
        run_storyboard()

    def test_sample_data(self) -> None:
        """The phantom in Slicer's module Sample Data."""
        from MOISSAM2SegmentLib.setup.application_test import run_sample_data

        run_sample_data()

    def test_window(self) -> None:
        """What the main window shows: lesion table, report and layout."""
        from MOISSAM2SegmentLib.setup.window_test import run_in_window

        self._need_packages()
        run_in_window()

    def _need_packages(self) -> None:
        """Skip what needs the engine where it is not installed, as where Slicer is built."""
        from MOISSAM2SegmentLib.setup.install import missing_packages

        missing = missing_packages()
        if missing:
            self.skipTest(f"missing: {', '.join(missing)}")

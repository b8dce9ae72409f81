"""Choice of a scan, the sample scan, and the start of the work on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk
from MOISSAM2SegmentLib.scene.node_names import told_apart
from MOISSAM2SegmentLib.worker.jobs import Job
from MOISSAM2SegmentLib.workspace.workspace import Workspace
from slicer.i18n import tr as _

from MOISSAM2SegmentPanel.advanced_section import AdvancedSection
from MOISSAM2SegmentPanel.message_line import MessageLine
from MOISSAM2SegmentPanel.model_section import ModelSection
from MOISSAM2SegmentPanel.stations_list import StationsList

SCAN = "vtkMRMLScalarVolumeNode"


class ScanSection:
    """The section *Scan*."""

    def __init__(
        self,
        ui: Any,
        workspace: Workspace,
        message_line: MessageLine,
        model: ModelSection,
        advanced: AdvancedSection,
    ) -> None:
        self._ui = ui
        self._workspace = workspace
        self._message_line = message_line
        self._model = model
        self._advanced = advanced
        self._worker = workspace.engine.worker
        self._is_starting = False
        self._is_held = False
        self._sample = vtk.vtkWeakReference()
        """The sample scan. Its id would not do: once it is removed, another scan may get that."""
        self._before: Any = None
        """The scan that was chosen before."""
        self.stations = StationsList(ui, workspace, message_line)
        ui.startButton.connect("clicked()", message_line.guard(self._start))
        ui.sampleButton.connect("clicked()", message_line.guard(self._try_sample))
        ui.scanBox.connect("currentNodeChanged(vtkMRMLNode*)", message_line.guard(self._chosen))
        self._worker.busy_changed.connect(self._busy_changed)
        workspace.opened.connect(self._show_open_scan)
        workspace.engine.changed.connect(self._engine_changed)

    def close(self) -> None:
        """Disconnect from the worker."""
        self._worker.busy_changed.disconnect(self._busy_changed)

    @property
    def is_starting(self) -> bool:
        """Whether the model is loaded or the scan opened."""
        return self._is_starting or (
            self._workspace.volume_node is not None and not self._workspace.is_open
        )

    @property
    def is_on_sample(self) -> bool:
        """Whether the scan that is open is the sample scan of the button."""
        node = self._workspace.volume_node
        return node is not None and node is self._sample.Get()

    def show(self, has_packages: bool) -> None:
        """Update the buttons from the workspace."""
        scan = self._ui.scanBox.currentNode()
        is_open = self._workspace.volume_node is not None
        can_start = scan is not None and not is_open and not self._is_starting
        self._ui.startButton.enabled = has_packages and can_start
        self._ui.startButton.text = _("Started") if self._workspace.is_open else _("Start")
        self._ui.sampleButton.enabled = has_packages
        self.stations.show(has_packages)

    def preselect(self) -> None:
        """Choose the scan in the slice views, or else the first of the scene, if none is chosen."""
        if self._ui.scanBox.currentNode() is None and self._workspace.volume_node is None:
            selection = slicer.app.applicationLogic().GetSelectionNode()
            active = selection.GetActiveVolumeID() if selection is not None else None
            scans = slicer.util.getNodesByClass(SCAN, self._workspace.scene)
            node_ids = [node.GetID() for node in scans if node.GetClassName() == SCAN]
            if node_ids:
                chosen = active if active in node_ids else node_ids[0]
                self._ui.scanBox.setCurrentNodeID(chosen)

    def hold(self) -> None:
        """Take no choice for the user's: Slicer fills its lists again when a scene is added."""
        self._is_held = True

    def release(self) -> None:
        """Take choices for the user's again, beginning with the scan that is open."""
        if self._workspace.volume_node is not None:
            self._show_open_scan()
        self._is_held = False

    def _show_open_scan(self) -> None:
        # The Segment Editor's effect may have opened another scan than the one chosen here.
        if self._ui.scanBox.currentNode() is not self._workspace.volume_node:
            self._ui.scanBox.setCurrentNode(self._workspace.volume_node)

    def start(self, scan: Any) -> None:
        """Begin to work on a scan, as if it were chosen and the button pressed."""
        self._workspace.end()
        self._ui.scanBox.setCurrentNode(scan)
        self._start()

    # ---- buttons ---------------------------------------------------------------------------

    def _chosen(self, node: Any) -> None:
        if self._is_held:
            return
        now, before, self._before = self._workspace.volume_node, self._before, node
        if now is not None and before is now and node is not now:
            self._workspace.end()
            text = _("The work on {scan} is kept. Choose it again and start to go on with it.")
            self._message_line.show(text.format(scan=told_apart(now)))
        self._workspace.changed()

    def _start(self) -> None:
        scan = self._ui.scanBox.currentNode()
        if scan is None:
            self._message_line.show(_("Choose a scan first."))
            return
        self._message_line.clear()
        slicer.util.setSliceViewerLayers(background=scan)

        def open_scan() -> None:
            self._is_starting = False
            if self._ui.scanBox.currentNode() is scan and self._workspace.volume_node is None:
                arrange = self._advanced.arranges_views
                self._workspace.start(scan, self._advanced.settings(), arrange_views=arrange)
            self._workspace.changed()

        self._model.load(self._message_line.guard(open_scan))
        self._is_starting = self._worker.is_busy and not self._workspace.engine.is_ready
        self._workspace.changed()

    def _busy_changed(self, busy: bool) -> None:
        if not busy and self._is_starting:
            self._is_starting = False
            self._workspace.changed()

    def _engine_changed(self) -> None:
        """Start no more if another network was chosen while one was loaded."""
        if not self._workspace.engine.is_ready:
            self._is_starting = False

    def _try_sample(self) -> None:
        from MOISSAM2SegmentLib.setup import sample_data

        scene = self._workspace.scene
        making = _("making the sample scan")

        def take(volume: Any) -> None:
            node = sample_data.add_volume(scene, volume)
            self._ui.scanBox.setCurrentNode(node)
            slicer.util.setSliceViewerLayers(background=node, fit=True)
            if self._model.use_demonstration():
                self._sample.Set(node)
                self._start()

        def work(progress: Callable, cancel: Any) -> Any:
            progress(0, 1, making)
            return sample_data.make_phantom_volume()

        self._worker.submit(Job(_("Sample scan"), work, take, self._message_line.show, owner=self))

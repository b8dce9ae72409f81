"""The views on the scan that is open: they are laid out for it, and follow the reader.

Whatever Slicer lacks, such as a window, is left out: none of this is needed for the work itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from MOISSAM2SegmentLib.scene import lesion_display, slice_views
from MOISSAM2SegmentLib.scene.body_outline import BodyOutline, outline_body
from MOISSAM2SegmentLib.scene.grey_window import show_grey_window
from MOISSAM2SegmentLib.scene.lesion_surfaces import LesionSurfaces, box_of, coloured
from MOISSAM2SegmentLib.scene.one_change import one_change
from MOISSAM2SegmentLib.scene.scan_layout import ScanLayout
from MOISSAM2SegmentLib.scene.segment_surfaces import CLOSED_SURFACE
from MOISSAM2SegmentLib.scene.slice_views import FittedViews, Spread
from MOISSAM2SegmentLib.scene.surfaces import SurfaceModel
from MOISSAM2SegmentLib.scene.transforms import to_world
from MOISSAM2SegmentLib.scene.views_3d import look_from_front
from MOISSAM2SegmentLib.worker.jobs import Job

if TYPE_CHECKING:
    from mois_core.session.lesion import Lesion
    from MOISSAM2SegmentLib.worker.engine import Engine
    from MOISSAM2SegmentLib.workspace.scan_work import ScanWork

BODY_COLOUR = (0.85, 0.8, 0.75)
BODY_OPACITY = 0.15
LESIONS_OPACITY = 0.6
"""Of the lesions in 3-D but for the current one, which is opaque."""
MARK_PIXELS = 3
"""Thickness of the outline of the current lesion; the segmentation's own outlines have 1."""


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Surfaces of lesions."""

    looks: dict[int, tuple]
    """The mask and the colour of each lesion that is drawn."""
    surfaces: dict[int, Any]
    in_one: Any


class Views:
    """The views on the scan that is open.

    Bodies and lesions are drawn by the worker that also packs sessions: their masks are immutable,
    and no click has to wait.
    """

    def __init__(
        self, scene: Any, engine: Engine, present_work: Callable[[], ScanWork | None]
    ) -> None:
        self._scene = scene
        self._engine = engine
        self._present_work = present_work
        self._layout = ScanLayout(scene)
        self._fitted: FittedViews | None = None
        self._arranges = False
        self._body = SurfaceModel(scene, "Body", BODY_OPACITY)
        self._lesions = SurfaceModel(scene, "Lesions", LESIONS_OPACITY)
        self._mark = SurfaceModel(scene, "Mark", outline=MARK_PIXELS)
        self._makes: LesionSurfaces | None = None
        self._drawn: _Drawn | None = None
        self._is_drawing = False
        self.current: int | None = None
        """The id of the lesion that is marked; None if none is."""
        self.shows_scan = True
        """Whether the slice views show the whole scan, and not one lesion."""
        self.is_comparing = False
        """Whether the views were laid out for the scan and an earlier one beside it."""
        self.before_look: Callable[[np.ndarray], None] = lambda place: None
        """Called with a place in the scan's own RAS before it is shown in the middle."""

    # ---- the whole scan --------------------------------------------------------------------

    def arrange(self, volume_node: Any) -> None:
        """Lay the views out for a scan that is open or about to be, and show all of it."""
        self._arranges, self.is_comparing = True, False
        self._layout.choose(slice_views.large_axis(volume_node))
        slice_views.turn_to_scan(self._scene, volume_node)
        self._fit(volume_node, keep_slice=False)
        self._draw_body()

    def give_back(self) -> None:
        """Give the views back to the reader, who goes on with the scan in a layout of his own."""
        self._arranges = self.is_comparing = False
        self._fitted = None
        self._body.hide()
        self._lesions.hide()
        self._layout.give_back()

    @property
    def are_arranged(self) -> bool:
        """Whether the views were laid out for the scan."""
        return self._arranges

    def whole_scan(self) -> None:
        """Show the whole scan in the slice views, at the slices that are shown."""
        work = self._present_work()
        if work is not None:
            self._fit(work.volume_node, keep_slice=True)

    def _fit(self, volume_node: Any, keep_slice: bool) -> None:
        self._fitted = FittedViews(slice_views.spread_of_scan(volume_node))
        self._fitted.fit(self._scene, keep_slice)
        self.shows_scan = True

    def settle(self) -> None:
        """Fit views again that got another size, as those of a new layout do some time later."""
        if self._fitted is not None:
            self._fitted.refit(self._scene)

    # ---- beside an earlier scan --------------------------------------------------------------

    def compare(self, volume_node: Any) -> str:
        """Lay the views out for the scan and an earlier one; return the axis of the large views."""
        axis = slice_views.large_axis(volume_node)
        self._layout.choose(axis, is_comparison=True)
        self.is_comparing = True
        slice_views.turn_to_scan(self._scene, volume_node)
        return axis

    def end_comparison(self) -> None:
        """Lay the views out as they were before the comparison."""
        work = self._present_work()
        if not self.is_comparing:
            return
        self.is_comparing = False
        if self._arranges and work is not None:
            self._layout.choose(slice_views.large_axis(work.volume_node))
        else:
            self._layout.give_back()
        self.whole_scan()

    def drawn(self) -> list[Any]:
        """Return the nodes that are drawn for the scan in slices, beside segments and points."""
        return [self._mark.node]

    # ---- one lesion ------------------------------------------------------------------------

    def follow(self, lesion_id: int) -> bool:
        """Mark a lesion and show it in the middle of all slice views; return whether it has voxels.

        Views that were laid out for the scan are zoomed too.
        """
        work = self._present_work()
        lesion = work.state.lesions.get(lesion_id) if work is not None else None
        if work is None or lesion is None or not lesion.mask:
            self.unmark()
            return False
        self.before_look(work.middle_of(lesion))
        self._look_at(self._spread(work, lesion))
        self.current = lesion_id
        self._show_again()
        self._show_mark(work)
        return True

    def look_at(self, place: np.ndarray, length_mm: float) -> None:
        """Show a place where no lesion is, in the scan's own RAS, with so much around it."""
        work = self._present_work()
        if work is None:
            return
        self.unmark()
        self.before_look(place)
        corners = np.array(np.meshgrid(*([-0.5, 0.5],) * 3)).reshape(3, -1).T * length_mm
        middle, *points = to_world(work.volume_node, np.vstack([place, place + corners]))
        self._look_at(Spread(middle, np.array(points)))
        self._show_again()

    def _look_at(self, spread: Spread) -> None:
        for view in slice_views.slice_views(self._scene):
            with one_change(view):
                if self._arranges or self.is_comparing:
                    slice_views.show_lesion(view, spread)
                else:
                    slice_views.centre(view, spread.middle)
        self._fitted, self.shows_scan = None, False

    def switch(self) -> None:
        """Show the whole scan instead of the current lesion, or the lesion again."""
        if not (self.shows_scan and self.current is not None and self.follow(self.current)):
            self.whole_scan()

    # ---- before and after ------------------------------------------------------------------

    @property
    def are_lesions_hidden(self) -> bool:
        """Whether the lesions of the open scan are not drawn."""
        work = self._present_work()
        return work is not None and not lesion_display.are_shown(work.segments_node)

    def switch_lesions(self) -> None:
        """Hide all lesions, to see what lies beneath them, or show them again.

        They are shown again at the latest when the views go to another lesion.
        """
        work = self._present_work()
        if work is not None:
            lesion_display.show(work.segments_node, self.are_lesions_hidden)
            self._show_mark(work)

    def switch_fill(self) -> None:
        """Draw the lesions in slices as lines only, or filled again."""
        work = self._present_work()
        if work is not None:
            lesion_display.switch_fill(work.segments_node)

    def _show_again(self) -> None:
        work = self._present_work()
        if work is not None and self.are_lesions_hidden:
            lesion_display.show(work.segments_node, True)

    # ---- the lesion that is looked at -------------------------------------------------------

    def unmark(self) -> None:
        """Mark no lesion."""
        self.current = None
        self._mark.hide()

    @staticmethod
    def _spread(work: ScanWork, lesion: Lesion) -> Spread:
        stack = work.session.stack
        first, last = box_of(lesion.mask)
        ends = zip(first - 0.5, last + 0.5, strict=True)
        corners = np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1)
        ras = stack.point_to_ras(corners[0], corners[2], corners[1])
        middle, *points = to_world(work.volume_node, np.vstack([work.middle_of(lesion), ras]))
        return Spread(middle, np.array(points))

    # ---- bodies and lesions in 3-D ---------------------------------------------------------

    def begin(self, work: ScanWork) -> None:
        """Draw the body and the lesions of a scan that was opened."""
        self._makes = LesionSurfaces(work.session.stack)
        self.settle()
        self._draw_body()
        self.update()

    def update(self) -> None:
        """Draw the lesions again if others are shown than those that are drawn."""
        work = self._present_work()
        if work is None or self._makes is None or self._is_drawing:
            return
        lesions = [lesion for lesion in work.state.lesions.values() if lesion.status.counts]
        makes, colours = self._makes, dict(work.segments.index.colours)
        looks = {lesion.id: (lesion.mask, colours.get(lesion.id)) for lesion in lesions}
        if self._drawn is not None and self._drawn.looks == looks:
            # To accept one changes nothing that is seen, and the 3-D view takes long to draw.
            self._show_lesions(work)
            return

        def draw() -> _Drawn:
            surfaces = makes.of(lesions)
            return _Drawn(looks, surfaces, coloured(surfaces, colours))

        self._is_drawing = True
        self._submit("Draw", draw, self._show_drawn)

    def follow_transform(self) -> None:
        """Keep what is drawn where the scan is."""
        work = self._present_work()
        if work is not None:
            for model in (self._body, self._lesions, self._mark):
                model.follow(work.volume_node.GetTransformNodeID())

    def _draw_body(self) -> None:
        work = self._present_work()
        if work is not None and self._arranges:
            volume, notices = work.session.volume, work.session.prompt_notices
            self._submit("Body", lambda: outline_body(volume, notices.body), self._show_body)
            self._show_lesions(work)

    def _submit(self, name: str, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        def failed(text: str) -> None:
            # A drawing that fails is missing, and no more: the work goes on without it.
            self._is_drawing = False

        self._engine.save_worker.submit(Job(name, lambda *_: work(), done, failed, owner=self))

    def _show_body(self, body: BodyOutline | None) -> None:
        work = self._present_work()
        if work is None or body is None or not self._arranges:
            return
        show_grey_window(work.volume_node, *body.grey_window)
        self._body.show(body.surface, work.volume_node.GetTransformNodeID(), BODY_COLOUR)
        bounds = [0.0] * 6
        self._body.node.GetRASBounds(bounds)
        look_from_front(self._scene, bounds)

    def _show_drawn(self, drawn: _Drawn) -> None:
        self._is_drawing = False
        work = self._present_work()
        if work is None:
            return
        self._drawn = drawn
        self._show_lesions(work)
        self._show_mark(work)
        self.update()

    def _show_lesions(self, work: ScanWork) -> None:
        has_surfaces = work.segments_node.GetSegmentation().ContainsRepresentation(CLOSED_SURFACE)
        if self._drawn is not None and self._arranges and not has_surfaces:
            self._lesions.show(self._drawn.in_one, work.volume_node.GetTransformNodeID())
        else:
            # Slicer's own surfaces of the segments are shown, or none.
            self._lesions.hide()

    def _show_mark(self, work: ScanWork) -> None:
        surface = self._drawn.surfaces.get(self.current) if self._drawn is not None else None
        if surface is None or self.are_lesions_hidden:
            self._mark.hide()
            return
        colour = work.segments.index.colours.get(self.current, BODY_COLOUR)
        self._mark.show(surface, work.volume_node.GetTransformNodeID(), colour)

    # ---- the end ---------------------------------------------------------------------------

    def end(self, is_closing: bool = False) -> None:
        """Give the views back to the reader; with ``is_closing`` the scene removes the drawings."""
        self._engine.save_worker.abandon(self)
        self.give_back()
        self._makes = self._drawn = self.current = None
        self._is_drawing = False
        self.shows_scan = True
        for model in (self._body, self._lesions, self._mark):
            model.forget() if is_closing else model.remove()

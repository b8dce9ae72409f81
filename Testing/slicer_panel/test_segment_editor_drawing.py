"""Tests of boxes, scribbles and propagation in the Segment Editor's effect."""

from __future__ import annotations

import numpy as np
import pytest
from engine_fixtures import FIRST, LESION, Block, painted
from mouse import along, corners, view_of
from scans import labels_in, scan_node, world_of
from small_networks import SLM, lively

from mois_core.network.model_info import ModelInfo

CLICK, SCRIBBLE, BOX = range(3)


@pytest.fixture
def a_view(an_effect):
    return view_of("Green", world_of(an_effect.workspace, *FIRST.middle))


def in_volume(effect, block) -> np.ndarray:
    return effect.workspace.session.stack.to_volume(painted(block))


def outlined(effect) -> np.ndarray:
    return effect.editor.mask(effect.editor.segment_id)


def choose(effect, what: int) -> None:
    effect.python.mouseBox.real.setCurrentIndex(what)


def test_a_box_outlines_the_lesion_in_the_chosen_segment(an_effect, a_view):
    choose(an_effect, BOX)
    assert "Draw a box" in an_effect.message

    assert all(an_effect.drag(a_view, corners(an_effect.user, FIRST)))

    assert np.array_equal(outlined(an_effect), in_volume(an_effect, FIRST))
    assert an_effect.effect.saves == 1
    an_effect.editor.logic.Undo()
    an_effect.user.wait()
    assert not outlined(an_effect).any()
    assert not an_effect.workspace.state.lesions


def test_scribbles_are_inside_and_with_control_outside(an_effect, a_view):
    choose(an_effect, SCRIBBLE)

    an_effect.drag(a_view, along(an_effect.user, FIRST))
    assert np.array_equal(outlined(an_effect), in_volume(an_effect, FIRST))
    an_effect.drag(a_view, along(an_effect.user, FIRST, row=FIRST.rows[0] + 1), control=True)

    assert labels_in(an_effect.workspace.points_node) == ["1+"] * 3 + ["1-"] * 3
    assert 0 < outlined(an_effect).sum() < FIRST.voxels
    assert an_effect.effect.saves == 2


def test_a_refused_box_says_why_and_the_segment_stays(an_effect, a_view):
    an_effect.click(world_of(an_effect.workspace, *FIRST.middle))
    before = outlined(an_effect)
    choose(an_effect, BOX)
    view = view_of("Red", world_of(an_effect.workspace, *FIRST.middle))

    an_effect.drag(view, [world_of(an_effect.workspace, n, 9, c) for n, c in ((3, 4), (7, 12))])

    assert "lies on one slice" in an_effect.message
    assert np.array_equal(outlined(an_effect), before)


def test_moving_the_mouse_and_leaving_the_effect_draw_nothing(an_effect, a_view):
    first, second = corners(an_effect.user, FIRST)
    moves = an_effect.drag(a_view, [first, second])
    assert moves == [True, False, False, False]
    choose(an_effect, BOX)
    renderer = a_view.sliceView().renderWindow().GetRenderers().GetFirstRenderer()
    interactor = a_view.sliceView().interactor()
    an_effect.python.processInteractionEvents(interactor, 12, a_view)
    assert renderer.GetViewProps().GetNumberOfItems() == 1

    an_effect.python.deactivate()

    assert renderer.GetViewProps().GetNumberOfItems() == 0


def test_a_painted_segment_is_propagated_where_the_network_cannot_search(
    the_effect, a_panel, an_engine
):
    from effect_parts import EffectUser
    from segment_editor import Editor

    an_engine.use(lively(SLM), ModelInfo("slm", "slm.pt", "0" * 64))
    lesion = Block((0, 12), (8, 16), (8, 16), LESION)
    scan_node(a_panel.scene, lesion)
    a_panel.start()
    effect = EffectUser(a_panel, the_effect, Editor(a_panel.workspace))
    effect.python.activate()
    a_panel.wait()
    assert effect.python.findButton.real.isHidden()
    effect.press(effect.python.propagateButton)
    assert "on one slice first" in effect.message
    drawn = effect.workspace.session.stack.to_volume(painted(Block((2, 3), (8, 16), (8, 16))))
    effect.python.deactivate()
    effect.editor.paint(drawn)
    effect.python.activate()
    a_panel.wait()

    effect.press(effect.python.propagateButton)

    (known,) = effect.workspace.state.lesions.values()
    assert known.painted == {2}
    assert known.propagated
    assert effect.workspace.commands.undo_name == "propagate"
    assert np.array_equal(outlined(effect), effect.workspace.session.mask(known.id))
    effect.python.cleanup()

"""Volumes of the scene that are stations of one scan, joined on the worker."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from engine_fixtures import CORONAL, SCENE, scan_of
from MOISSAM2SegmentLib.scene.station_nodes import NOT_LINEAR, OTHER_STUDY, SEAMS
from MOISSAM2SegmentLib.scene.transforms import ijk_to_ras, right_handed, view_of
from MOISSAM2SegmentLib.workspace.stations import TOO_FEW
from scans import MOST_S, STATION_ROWS, add_station, linear_transform, settle, timed, warp

from mois_core.errors import BadInput
from mois_core.geometry import Volume, same_grid
from mois_core.io.compose_stations import compose_stations, plan_stations

WHOLE = right_handed(Volume(scan_of(*SCENE), CORONAL))


@pytest.fixture
def stations(a_scene):
    return [add_station(a_scene, n) for n in (0, 1)]


def joined(workspace, nodes):
    made = []
    workspace.stations.join(nodes, made.append)
    settle(workspace)
    return made[0]


def test_stations_become_the_scan_that_they_were_cut_from(a_workspace, stations):
    node = joined(a_workspace, stations[::-1])
    assert np.array_equal(slicer.util.arrayFromVolume(node), WHOLE.array)
    assert same_grid(view_of(node), WHOLE)
    assert node.GetName() == "cor 1 tirm (composed)"
    assert node.GetAttribute(SEAMS) == f"{float(ijk_to_ras_of_row(16.5)):g}"
    assert a_workspace.messages == []
    assert "2 stations were composed into one scan" in node.GetDescription()
    assert node.GetDisplayNode() is not None


def ijk_to_ras_of_row(row: float) -> float:
    return round((CORONAL @ (0, row, 0, 1))[2], 1)


def test_a_composed_scan_can_be_worked_on(a_workspace, stations):
    node = joined(a_workspace, stations)
    a_workspace.start(node)
    settle(a_workspace)
    assert a_workspace.is_open


def test_sources_stay_as_they_are_and_removing_the_scan_is_all_there_is_to_undo(
    a_workspace, stations, a_scene
):
    before = [slicer.util.arrayFromVolume(node).copy() for node in stations]
    count = a_scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    node = joined(a_workspace, stations)
    for source, array in zip(stations, before, strict=True):
        assert np.array_equal(slicer.util.arrayFromVolume(source), array)
    a_scene.RemoveNode(node)
    assert a_scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == count


def test_stations_under_transforms_are_joined_where_they_lie_in_the_world(
    a_workspace, stations, a_scene
):
    shift = linear_transform(a_scene, degrees=0)
    for node in stations:
        node.SetAndObserveTransformNodeID(shift.GetID())
    node = joined(a_workspace, stations)
    assert node.GetParentTransformNode() is None
    moved = Volume(WHOLE.array, np.array(WHOLE.ijk_to_ras))
    matrix = moved.ijk_to_ras.copy()
    matrix[:3, 3] += (30, -20, 10)
    assert np.allclose(ijk_to_ras(node), matrix)
    assert np.array_equal(slicer.util.arrayFromVolume(node), WHOLE.array)


def test_one_that_a_transform_moves_away_is_refused(a_workspace, stations, a_scene):
    stations[1].SetAndObserveTransformNodeID(
        linear_transform(a_scene, shift=(0, 0, -50), degrees=0).GetID()
    )
    with pytest.raises(BadInput, match="49 mm are missing between cor 1 tirm and cor 2 tirm"):
        a_workspace.stations.join(stations)


def test_a_transform_that_bends_is_refused(a_workspace, stations, a_scene):
    stations[1].SetAndObserveTransformNodeID(warp(a_scene).GetID())
    with pytest.raises(BadInput) as error:
        a_workspace.stations.join(stations)
    assert str(error.value) == NOT_LINEAR.format(name="cor 2 tirm")


def test_what_cannot_belong_together_is_refused_in_words(a_workspace, stations, a_scene):
    turned = linear_transform(a_scene, shift=(0, 0, 0), degrees=20)
    far = add_station(a_scene, 1, "far", rows=(28, 32))
    same = add_station(a_scene, 0, "again")
    for nodes, words in (
        ([stations[0], far], "are missing between cor 1 tirm and far"),
        ([stations[0], same], "show the same place"),
        (stations[:1], TOO_FEW),
        ([stations[0]] * 2, TOO_FEW),
        ([], TOO_FEW),
    ):
        with pytest.raises(BadInput, match=words):
            a_workspace.stations.join(nodes)
    stations[1].SetAndObserveTransformNodeID(turned.GetID())
    with pytest.raises(BadInput, match="different directions"):
        a_workspace.stations.join(stations)
    empty = a_scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    with pytest.raises(BadInput, match="empty has no image"):
        a_workspace.stations.join([stations[0], empty])
    assert a_workspace.messages == []


def hierarchy_of(scene):
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def put_in(scene, node, parent) -> None:
    hierarchy = hierarchy_of(scene)
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, parent)
    else:
        hierarchy.CreateItem(parent, node)


def a_study(scene) -> int:
    hierarchy = hierarchy_of(scene)
    return hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")


def test_the_scan_lies_beside_its_stations_in_the_hierarchy(a_workspace, stations, a_scene):
    study = a_study(a_scene)
    for node in stations:
        put_in(a_scene, node, study)
    node = joined(a_workspace, stations)
    hierarchy = hierarchy_of(a_scene)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study


def test_stations_of_different_studies_are_refused(a_workspace, stations, a_scene):
    for node in stations:
        put_in(a_scene, node, a_study(a_scene))
    with pytest.raises(BadInput) as error:
        a_workspace.stations.join(stations)
    assert str(error.value) == OTHER_STUDY.format(first="cor 1 tirm", other="cor 2 tirm")


def test_what_certainly_belongs_together_is_told_from_the_rest(a_workspace, stations, a_scene):
    other = add_station(a_scene, 1, "t1 {}")
    label_map = a_scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "cor 3 tirm")
    assert a_workspace.stations.candidates() == [
        (stations[0], True),
        (stations[1], True),
        (other, False),
    ]
    assert label_map not in [node for node, _ in a_workspace.stations.candidates()]
    node = joined(a_workspace, stations)
    assert (node, False) in a_workspace.stations.candidates()


def test_with_two_scans_of_stations_nothing_is_certain(a_workspace, stations, a_scene):
    more = [add_station(a_scene, n, "dwi {}") for n in (0, 1)]
    assert [certain for _, certain in a_workspace.stations.candidates()] == [False] * 4
    assert len(more) == 2


def test_joining_that_is_cancelled_makes_nothing(a_workspace, stations, a_scene):
    count = a_scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    made = []
    a_workspace.stations.join(stations, made.append).token.cancel()
    settle(a_workspace)
    assert made == []
    assert a_workspace.messages == []
    assert a_scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == count


def test_when_the_scene_was_closed_meanwhile_nothing_is_added(a_workspace, stations, a_scene):
    made = []
    a_workspace.stations.join(stations, made.append)
    a_scene.Clear(0)
    settle(a_workspace)
    assert made == []
    assert a_scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


@pytest.mark.alone
def test_the_main_thread_waits_for_nothing(a_workspace, a_scene):
    large = np.kron(scan_of(*SCENE), np.ones((2, 16, 8), dtype=np.int16))
    nodes = [
        add_station(a_scene, n, rows=rows, array=large)
        for n, rows in enumerate(((0, 280), (260, 512)))
    ]
    assert timed(lambda: a_workspace.stations.join(nodes)).worked < MOST_S
    turns = settle(a_workspace)
    assert max(turn.worked for turn in turns) < 2 * MOST_S


def test_progress_tells_of_each_station():
    told = []
    parts = [Volume(scan_of(*SCENE)[:, a:b], moved(a)) for a, b in STATION_ROWS]
    plan = plan_stations(parts, ["a", "b"])
    compose_stations(parts, plan, lambda *how: told.append(how))
    assert told == [(0, 2, "joining stations"), (1, 2, "joining stations")]


def moved(first: int) -> np.ndarray:
    matrix = CORONAL.copy()
    matrix[:3, 3] = (CORONAL @ (0, first, 0, 1))[:3]
    return matrix

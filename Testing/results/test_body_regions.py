"""Where in the body lesions lie: told from a whole-body scan, or not told."""

from __future__ import annotations

import numpy as np
import pytest
from orientations import STORAGE_ORDERS, stored_as

from mois_core.followup.time_point import TimePoint
from mois_core.geometry import SliceStack, Volume
from mois_core.phantom import make_phantom
from mois_core.phantom.generate import render
from mois_core.results.body_regions import (
    BodyRegion,
    find_regions,
    imaged_region,
    lesion_regions,
)
from mois_core.session.lesion import Lesion, Status
from mois_core.session.masks import Mask
from tools.body_regions import kind, told_regions, true_regions

SEED = 100_005
SIZE = {"size": (512, 160), "slices": 20, "lesions": 40}


@pytest.fixture(scope="module")
def straight():
    return make_phantom(SEED, **SIZE)


@pytest.fixture(scope="module")
def bent(straight):
    return render(straight.plan, 1, posture=1.0)


def scan_of(phantom) -> Volume:
    return Volume(phantom.scan, phantom.ijk_to_ras)


@pytest.mark.parametrize("visit", ["straight", "bent"])
def test_lesions_are_told_to_lie_where_they_do_or_not_told(visit, straight, request):
    truth = true_regions(straight)
    told = told_regions(request.getfixturevalue(visit))
    kinds = [kind(truth[lesion_id], region) for lesion_id, region in told.items()]
    assert kinds.count("wrong") == 0
    assert kinds.count("right") >= 0.7 * len(kinds)
    limbs = {region for region in told.values() if "limb" in region}
    assert len(limbs) == 4


@pytest.mark.parametrize(("order", "flips"), STORAGE_ORDERS[5::9])
def test_the_regions_do_not_depend_on_how_the_scan_is_stored(straight, order, flips):
    """But for blocks that begin at the other end, which change what is near to a border."""
    scan = stored_as(scan_of(straight), order, flips)
    labels = stored_as(Volume(straight.instances, straight.ijk_to_ras), order, flips)
    vague = (BodyRegion.UNKNOWN, BodyRegion.TRUNK)
    told, expected = TimePoint(scan, labels.array).regions, told_regions(straight)
    same = [told[n] is region for n, region in expected.items()]
    assert sum(same) >= 0.9 * len(same)
    assert all(told[n] is r or r in vague or told[n] in vague for n, r in expected.items())


def test_lesions_worked_on_across_another_axis_lie_in_the_same_regions(straight):
    stack = SliceStack(scan_of(straight), "axial")
    labels = stack.from_volume(straight.instances)
    lesions = [
        Lesion(own.id, Status.FOUND, Mask.from_stack(labels == own.id)) for own in straight.lesions
    ]
    assert lesion_regions(stack, lesions) == told_regions(straight)


def rows(phantom, low: float, high: float) -> Volume:
    """The part of a scan between two heights, from 0 at the feet to 1 at the head."""
    count = phantom.scan.shape[1]
    first, last = round(low * count), round(high * count)
    to_ras = phantom.ijk_to_ras.copy()
    to_ras[:3, 3] += first * to_ras[:3, 1]
    return Volume(np.ascontiguousarray(phantom.scan[:, first:last]), to_ras)


@pytest.mark.parametrize(
    ("low", "high"), [(0.5, 1), (0.6, 0.85), (0, 0.5), (0.1, 0.85), (0.3, 0.7), (0.85, 1)]
)
def test_a_part_of_the_body_tells_no_regions(straight, low, high):
    assert find_regions(rows(straight, low, high)) is None


def test_feet_may_be_cut_off(straight):
    whole, cut = find_regions(scan_of(straight)), find_regions(rows(straight, 0.2, 1))
    assert cut is not None
    for s in np.linspace(-200, 700, 40):
        for r in (-60, 60):
            here = np.array([r, 0.0, s])
            assert region_at(whole, here) == region_at(cut, here)


def region_at(regions, ras) -> int:
    _, x, y = (round(float(part)) for part in regions.grid.point_from_ras(ras))
    return int(regions.map[y, x])


def test_raised_arms_are_no_part_of_the_head(straight):
    scan = straight.scan.copy()
    columns = scan.shape[2]
    scan[8:12, 440:500, columns - 25 : columns - 10] = 200
    labels = np.zeros(scan.shape, dtype=np.uint16)
    labels[9:11, 460:480, columns - 20 : columns - 14] = 1
    raised = Volume(scan, straight.ijk_to_ras)
    assert find_regions(raised) is not None
    assert TimePoint(raised, labels).regions == {1: BodyRegion.UNKNOWN}


def test_noise_alone_tells_nothing():
    noise = np.random.default_rng(1).normal(100, 20, (20, 200, 80)).astype(np.float32)
    assert find_regions(Volume(noise, np.diag([5.0, 5, 5, 1]))) is None


@pytest.mark.parametrize(
    ("body_part", "side", "region"),
    [
        ("CHEST", "", BodyRegion.THORAX),
        ("abdomen ", "", BodyRegion.ABDOMEN),
        ("HEADNECK", "L", BodyRegion.HEAD_AND_NECK),
        ("LEG", "L", BodyRegion.LEFT_LOWER_LIMB),
        ("ARM", "R", BodyRegion.RIGHT_UPPER_LIMB),
        ("THIGH", "", BodyRegion.LOWER_LIMB),
        ("THIGH", "B", BodyRegion.LOWER_LIMB),
        ("CHESTABDPELVIS", "", BodyRegion.TRUNK),
        ("WHOLEBODY", "", BodyRegion.UNKNOWN),
        ("Müller", "", BodyRegion.UNKNOWN),
        ("", "", BodyRegion.UNKNOWN),
    ],
)
def test_headers_of_one_part_of_the_body_tell_its_region(body_part, side, region):
    assert imaged_region(body_part, side) is region


def test_a_scan_of_one_part_has_its_lesions_there(straight):
    part = rows(straight, 0.5, 1)
    labels = np.zeros(part.array.shape, dtype=np.uint16)
    labels[8:12, 40:50, 70:80] = 3
    assert TimePoint(part, labels).regions == {3: BodyRegion.UNKNOWN}
    assert TimePoint(part, labels, imaged=BodyRegion.THORAX).regions == {3: BodyRegion.THORAX}


def test_a_lesion_over_several_parts_of_the_trunk_lies_in_the_trunk(straight):
    scan = scan_of(straight)
    labels = np.zeros(scan.array.shape, dtype=np.uint16)
    count = scan.array.shape[1]
    labels[9:12, round(0.5 * count) : round(0.78 * count), 74:80] = 1
    labels[9:12, round(0.1 * count) : round(0.78 * count), 80:86] = 2
    assert TimePoint(scan, labels).regions == {1: BodyRegion.TRUNK, 2: BodyRegion.UNKNOWN}

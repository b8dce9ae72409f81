"""The scripts whose figures stand in the documents count what they say they count."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from stub_network import StubNetwork

from mois_core.evaluation.cohort import EvaluationCase, PhantomSource
from mois_core.evaluation.simulated_annotators import ANNOTATORS
from mois_core.geometry import SliceStack, Volume
from mois_core.phantom import PhantomSettings, make_phantom
from mois_core.session import Session
from mois_core.session.body import find_body
from mois_core.session.state import Settings
from tools import (
    annotators,
    body_and_air,
    follow_up_trial,
    lesion_rules,
    measure_touching,
    rejections,
    scribbles,
)

SIZE = (256, 80)
SEED = 90_030


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(SEED, PhantomSettings(size=SIZE, slices=8, lesions=8))


# ---- annotators --------------------------------------------------------------------------------


def test_agreement_of_people_is_that_of_each_pair_and_less_than_with_oneself():
    source = PhantomSource("in-domain", 2001, SIZE)
    case = EvaluationCase("one", "in-domain", phantom=source, annotators=tuple(ANNOTATORS))
    names, table = annotators.agreement(iter([case]))

    assert names == ["Truth", *(f"{name} (simulated)" for name in ANNOTATORS)]
    assert np.array_equal(table, table.T) and np.array_equal(np.diag(table), np.ones(len(names)))
    apart = table[~np.eye(len(names), dtype=bool)]
    assert (apart > 0).all() and (apart < 1).all()


# ---- lesion_rules ------------------------------------------------------------------------------


def test_each_rule_is_measured_and_no_image_is_encoded_twice(phantom):
    model, encoded = StubNetwork(), []
    encode = model.encode
    model.encode = lambda images, *more: (
        encoded.append(images.numpy().tobytes()) or encode(images, *more)
    )
    with lesion_rules.encoding_once(model):
        rows = list(lesion_rules.measure_rules(model, phantom))
    assert len(rows) == len(lesion_rules.RULES)
    assert len(encoded) == len(set(encoded)) > 0
    for before, after, dsc, f1, beside in rows:
        assert all(0 <= value <= 1 for value in (before, after, dsc, f1))
        assert beside == int(beside) >= 0


def test_findings_in_contact_with_clicked_lesions_are_counted():
    scan = np.full((6, 40, 40), 10, dtype=np.int16)
    scan[2:4, 5:30, 5:12] = 150
    scan[2:4, 5:30, 25:35] = 150
    how = Settings(smallest_cm3=0, absorb=False, propagation_slices=0)
    session = Session(StubNetwork(), Volume(scan, np.diag([0.7, 0.7, 5.0, 1.0])), how)
    upper = np.zeros(scan.shape, dtype=bool)
    upper[2:4, 5:12, 5:12] = True
    session.set_mask(None, upper)
    assert lesion_rules.beside_clicked(session) == 0
    # What is left of the outlined block, and the other block, which touches nothing.
    assert len(session.find_similar()) == 2
    assert lesion_rules.beside_clicked(session) == 1


# ---- rejections --------------------------------------------------------------------------------


def test_decisions_are_measured_with_and_without_learning_and_leave_nothing_behind(phantom):
    measured = rejections.measure_one(StubNetwork(), phantom, ["reject", "accept"])
    assert list(measured) == [(d, n) for d in ("reject", "accept") for n in rejections.DECISIONS]
    assert all(0 <= v <= 1 for pair in measured.values() for scores in pair for v in scores)


def test_what_learning_changes_is_the_mean_over_phantoms():
    rows = [{("reject", 1): ((0.5, 0.4), (0.6, 0.4))}, {("reject", 1): ((0.7, 0.6), (0.8, 0.6))}]
    _, line = rejections.table(rows)
    assert "0.600 +0.100 (+0.100 to +0.100)" in line
    assert "0.500 +0.000 (+0.000 to +0.000)" in line


# ---- scribbles ---------------------------------------------------------------------------------


def test_a_line_goes_through_the_lesion_from_end_to_end():
    image = np.zeros((40, 60), dtype=bool)
    image[15:25, 10:50] = True
    line = scribbles.line_through(image, np.random.default_rng(0))
    rows, columns = np.rint(line).astype(int).T

    assert image[rows, columns].all()
    assert abs(columns[0] - columns[-1]) > 30
    stroke = scribbles.painted((3, 40, 60), 1, line)
    assert not stroke[[0, 2]].any() and stroke[1][rows, columns].all()
    assert ndimage.label(stroke[1], np.ones((3, 3)))[1] == 1


# ---- measure_touching --------------------------------------------------------------------------


def test_lesions_are_paired_once_and_from_the_limit_on():
    truth = np.zeros((1, 4, 12), dtype=np.int32)
    truth[0, :, :4], truth[0, :, 5:9] = 1, 2
    whole = (truth > 0).astype(np.int32)
    assert measure_touching.match(truth, truth, 0.5) == (2, 2, 2)
    # One component over both has half of either.
    assert measure_touching.match(whole, truth, 0.1) == (1, 1, 2)
    assert measure_touching.match(whole, truth, 0.5) == (0, 1, 2)


def test_the_ways_to_cut_differ_where_lesions_touch():
    mask = np.zeros((3, 30, 60), dtype=bool)
    mask[:, 5:15, 5:15] = mask[:, 15:25, 15:25] = True
    counts = {
        way: len(np.unique(cut(mask, (1.0, 1.0, 1.0)))) - 1
        for way, cut in measure_touching.WAYS.items()
    }
    assert (counts["corners (engine)"], counts["faces"]) == (1, 2)


# ---- follow_up_trial ---------------------------------------------------------------------------


def test_a_pair_is_followed_and_its_links_are_counted():
    settings = PhantomSettings(size=SIZE, lesions=8)
    row = follow_up_trial.measure(SEED, settings, posture=0.2, joined=1, network=None)
    right, wrong, missed = row["links"]
    assert right > 3 and right > wrong + missed
    assert sum(row["told"].values()) >= len(row["off"]) > 0
    assert row["joined"]["merged"] <= 1 and row["joined"]["split"] <= 1
    assert all(row["together"][kind] <= count for kind, count in row["joined"].items())


# ---- body_and_air ------------------------------------------------------------------------------


def test_places_outside_the_body_are_counted_as_air(phantom):
    volume = Volume(phantom.scan, phantom.ijk_to_ras)
    body = find_body(SliceStack(volume))
    inside = np.argwhere(phantom.instances > 0)
    assert body_and_air.in_air(body, volume, inside) == 0
    k, j, i = volume.array.shape
    corners = np.array([[0, 0, 0], [k - 1, 0, i - 1]])
    assert body_and_air.in_air(body, volume, corners) == len(corners)

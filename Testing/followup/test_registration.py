"""Registration of one patient's scans, and of scans that are no pair."""

from __future__ import annotations

import numpy as np
import pytest
from follow_up_visits import SEED, SMALL

from mois_core.errors import BadInput, Cancelled
from mois_core.followup.registration import check, register
from mois_core.geometry import Volume
from mois_core.phantom import make_phantom
from mois_core.progress import CancelToken


def scan_of(phantom) -> Volume:
    return Volume(phantom.scan, phantom.ijk_to_ras)


@pytest.fixture(scope="module")
def registration(visits):
    first, second, _ = visits[0]
    return register(scan_of(first), scan_of(second))


def test_the_figures_tell_that_a_patient_lies_on_himself(registration):
    quality = registration.quality
    assert quality.why_not == ""
    assert quality.correlation > quality.correlation_before + 0.2
    assert quality.body_overlap > 0.9
    assert 0.5 < quality.smallest_jacobian < 1 < quality.largest_jacobian < 2


def test_points_come_back_from_the_other_scan(registration, visits):
    points = np.array([lesion.centroid_ras for lesion in visits[0][0].lesions])
    there = registration.ras_in_later(points)
    assert np.abs(there - points).max() > 1
    assert registration.ras_in_earlier(there) == pytest.approx(points, abs=0.1)


def test_lesions_come_to_lie_where_they_are(registration, visits):
    """Those that did not change: their masks come to overlap."""
    (first, second, _), (changes, _) = visits
    labels = Volume(first.instances, first.ijk_to_ras)
    moved = registration.labels_on_later(labels, scan_of(second))
    shares = []
    for change in changes:
        if change.change == "stable" and change.after_cm3 and change.after_cm3 > 5:
            there = second.instances == change.id
            shares.append(np.mean(moved[there] == change.id))
    assert np.median(shares) > 0.7


def test_orientation_and_voxel_order_do_not_matter(visits):
    first, second, _ = visits[0]
    scan = scan_of(second)
    flip = np.diag([-1.0, 1.0, -1.0, 1.0])
    flip[0, 3], flip[2, 3] = scan.array.shape[2] - 1, scan.array.shape[0] - 1
    flipped = Volume(scan.array[::-1, :, ::-1], scan.ijk_to_ras @ flip)
    swapped = Volume(flipped.array.transpose(2, 0, 1), flipped.ijk_to_ras[:, [1, 2, 0, 3]])

    found = register(scan_of(first), swapped)

    assert found.quality.why_not == ""
    assert found.quality.correlation > 0.7


def test_another_patient_is_recognised(visits):
    other = make_phantom(SEED + 1, **SMALL)
    found = register(scan_of(visits[0][0]), scan_of(other))
    with pytest.raises(BadInput, match="cannot be registered.*same patient"):
        check(found)


def test_another_part_of_the_body_is_recognised(visits):
    first, second, _ = visits[0]
    legs = scan_of(first).array[:, :40]
    head = second.scan[:, 100:]
    moved = second.ijk_to_ras.copy()
    moved[:3, 3] += moved[:3, 1] * 100
    with pytest.raises(BadInput, match="cannot be registered"):
        check(register(Volume(legs, first.ijk_to_ras), Volume(head, moved)))


def test_cancelling_ends_it(visits):
    first, second, _ = visits[0]
    cancel = CancelToken()

    def stop_in(step: int):
        def look(done: int, total: int, what: str) -> None:
            if done == step:
                cancel.cancel()

        return look

    for step in (0, 1, 2):
        cancel = CancelToken()
        with pytest.raises(Cancelled):
            register(scan_of(first), scan_of(second), stop_in(step), cancel)


def test_a_progress_callback_can_end_it_too(visits, capfd):
    first, second, _ = visits[0]

    def look(done: int, total: int, what: str) -> None:
        if done == 1:
            raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        register(scan_of(first), scan_of(second), look)
    assert capfd.readouterr().err == ""

"""The lesion table measures what it says, and files hold it in a form that programs read."""

from __future__ import annotations

import csv
import json
import math
import time

import numpy as np
import pytest

from mois_core.errors import BadInput
from mois_core.geometry import SliceStack, Volume
from mois_core.network.model_info import ModelInfo
from mois_core.results.lesion_report import (
    COLUMNS,
    Provenance,
    check_report_path,
    measure_lesions,
    totals,
    write_csv,
    write_json,
    write_report,
)
from mois_core.session.lesion import Click, Lesion, Status
from mois_core.session.masks import Mask

# Coronal as acquired: i to the left, j to inferior, k to anterior.
SPACING = (0.5, 2.0, 8.0)
AFFINE = np.array([[-0.5, 0, 0, 10], [0, 0, 8.0, -20], [0, -2.0, 0, 30], [0, 0, 0, 1]], dtype=float)
VOXEL_CM3 = 0.008
PROVENANCE = Provenance(ModelInfo("mois-tiny", "weights.pt", "ab12"), {"propagation_slices": 3})


@pytest.fixture
def a_stack() -> SliceStack:
    array = np.arange(3 * 6 * 10, dtype=np.int16).reshape(3, 6, 10)
    return SliceStack(Volume(array, AFFINE))


def a_lesion(stack, voxels, lesion_id=1, status=Status.PROMPTED, clicks=()) -> Lesion:
    image = np.zeros(stack.array.shape, dtype=bool)
    for voxel in voxels:
        image[voxel] = True
    return Lesion(lesion_id, status, Mask.from_stack(image), clicks=clicks)


def only_row(stack, lesion):
    (row,) = measure_lesions(stack, [lesion])
    return row


def test_a_lesion_is_measured_in_millimetres_and_original_intensities(a_stack):
    click = Click(1, 1, 2.0, 3.0, True)
    voxels = [(1, 3, 2), (1, 3, 3), (2, 3, 2)]
    row = only_row(a_stack, a_lesion(a_stack, voxels, 7, clicks=(click,)))
    values = [a_stack.array[voxel] for voxel in voxels]
    assert (row.lesion, row.status, row.clicks) == (7, "prompted", 1)
    assert (row.voxels, row.slices) == (3, 2)
    assert row.volume_cm3 == pytest.approx(3 * VOXEL_CM3)
    assert (row.mean, row.sd) == pytest.approx((np.mean(values), np.std(values)))
    assert row.diameter_mm == pytest.approx(math.hypot(2 * 0.5, 2.0))
    k, j, i = np.mean([(1, 3, 2), (1, 3, 3), (2, 3, 2)], axis=0)
    centroid = AFFINE @ (i, j, k, 1)
    assert (row.centroid_r, row.centroid_a, row.centroid_s) == pytest.approx(tuple(centroid[:3]))


def test_a_single_voxel_is_as_long_as_its_diagonal(a_stack):
    row = only_row(a_stack, a_lesion(a_stack, [(0, 0, 0)]))
    assert row.diameter_mm == pytest.approx(math.hypot(0.5, 2.0))
    assert row.sd == 0


def test_the_diameter_is_the_longest_within_any_one_slice(a_stack):
    on_two_slices = [(0, 0, 0), (0, 0, 9), (1, 5, 5)]
    row = only_row(a_stack, a_lesion(a_stack, on_two_slices))
    assert row.diameter_mm == pytest.approx(math.hypot(10 * 0.5, 2.0))


def test_the_diameter_equals_that_of_all_corners_compared(a_stack):
    rng = np.random.default_rng(1)
    for _ in range(20):
        image = rng.random((6, 10)) < 0.3
        lesion = a_lesion(a_stack, [(1, r, c) for r, c in np.argwhere(image)])
        corners = np.concatenate([np.argwhere(image) + d for d in ((0, 0), (0, 1), (1, 0), (1, 1))])
        points = corners * (SPACING[1], SPACING[0])
        longest = np.linalg.norm(points[:, None] - points[None], axis=2).max()
        assert only_row(a_stack, lesion).diameter_mm == pytest.approx(longest)


def test_pixels_of_a_sheared_scan_are_measured_as_they_lie():
    sheared = AFFINE.copy()
    sheared[2, 0] = 0.5
    stack = SliceStack(Volume(np.ones((1, 1, 4), dtype=np.int16), sheared))
    row = only_row(stack, a_lesion(stack, [(0, 0, n) for n in range(4)]))
    along, down = 4 * sheared[:3, 0], sheared[:3, 1]
    longest = max(np.linalg.norm(along + down), np.linalg.norm(along - down))
    assert row.diameter_mm == pytest.approx(longest)


def test_volumes_agree_whichever_way_the_scan_is_stored(a_stack):
    turned = AFFINE[:, [2, 0, 1, 3]]
    other = SliceStack(
        Volume(np.ascontiguousarray(a_stack.volume.array.transpose(1, 2, 0)), turned)
    )
    voxels = [(1, 3, 2), (1, 3, 3), (2, 4, 2)]
    first, second = (
        only_row(a_stack, a_lesion(a_stack, voxels)),
        only_row(other, a_lesion(other, voxels)),
    )
    assert first == second


def test_a_lesion_without_a_mask_has_no_place_and_is_not_counted(a_stack):
    empty = Lesion(3, Status.PROMPTED, Mask(a_stack.shape))
    table = measure_lesions(a_stack, [empty])
    row = table[0]
    assert (row.volume_cm3, row.voxels, row.slices, row.diameter_mm) == (0, 0, 0, 0)
    assert (row.centroid_r, row.mean, row.sd) == (None, None, None)
    assert totals(table).count == 0


def test_a_voxel_in_two_lesions_is_measured_once_where_a_label_map_has_it(a_stack):
    shared, own, other = (1, 3, 3), (1, 3, 2), (1, 3, 4)
    prompted = a_lesion(a_stack, [own, shared], 1)
    found = a_lesion(a_stack, [shared, other], 2, Status.FOUND)
    rejected = a_lesion(a_stack, [own, shared, other], 3, Status.REJECTED)
    table = measure_lesions(a_stack, [prompted, found, rejected])
    assert [row.voxels for row in table] == [2, 1, 3]
    assert totals(table).burden_cm3 == pytest.approx(3 * VOXEL_CM3)


def test_rejected_lesions_are_listed_but_not_in_the_totals(a_stack):
    table = measure_lesions(
        a_stack,
        [
            a_lesion(a_stack, [(0, 0, 0), (0, 0, 1)], 1, Status.PROMPTED),
            a_lesion(a_stack, [(0, 2, 0)], 2, Status.FOUND),
            a_lesion(a_stack, [(0, 2, 5)], 3, Status.ACCEPTED),
            a_lesion(a_stack, [(1, 0, 0)], 4, Status.REJECTED),
        ],
    )
    summary = totals(table)
    assert len(table) == 4
    assert summary.count == 3
    assert summary.burden_cm3 == pytest.approx(4 * VOXEL_CM3)
    assert {status: total.count for status, total in summary.by_status.items()} == {
        "prompted": 1,
        "found": 1,
        "accepted": 1,
        "rejected": 1,
    }


def test_csv_has_exactly_the_columns_and_one_row_a_lesion(a_stack, tmp_path):
    empty = Lesion(9, Status.PROMPTED, Mask(a_stack.shape))
    table = measure_lesions(a_stack, [a_lesion(a_stack, [(1, 3, 2)], 1), empty])
    path = tmp_path / "Läsionen.csv"
    write_csv(path, table)
    with open(path, encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert path.read_text(encoding="utf-8").splitlines()[0] == (
        "lesion,status,volume_cm3,voxels,slices,diameter_mm,"
        "centroid_r,centroid_a,centroid_s,mean,sd,clicks"
    )
    assert [line["lesion"] for line in read] == ["1", "9"]
    assert float(read[0]["volume_cm3"]) == pytest.approx(VOXEL_CM3)
    assert read[1]["mean"] == ""


def test_json_says_what_made_the_measurements(a_stack, tmp_path):
    path = tmp_path / "report.json"
    table = measure_lesions(a_stack, [a_lesion(a_stack, [(1, 3, 2)], 1)])
    write_json(path, table, PROVENANCE)
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["model"] == {
        "preset": "mois-tiny",
        "checkpoint": "weights.pt",
        "sha256": "ab12",
    }
    assert document["parameters"] == {"propagation_slices": 3}
    assert document["mois_version"]
    assert document["totals"]["count"] == 1
    assert tuple(document["lesions"][0]) == COLUMNS
    assert "scan" not in document
    assert document["notices"] == []


def test_json_names_the_scan_only_if_asked_to(tmp_path):
    path = tmp_path / "report.json"
    write_json(path, [], Provenance(ModelInfo(), scan="scan.nii.gz"))
    assert json.loads(path.read_text(encoding="utf-8"))["scan"] == "scan.nii.gz"


def test_the_ending_decides_the_format(tmp_path):
    write_report(tmp_path / "a.csv", [], PROVENANCE)
    write_report(tmp_path / "a.JSON", [], PROVENANCE)
    assert (tmp_path / "a.csv").read_text(encoding="utf-8").startswith("lesion,")
    assert json.loads((tmp_path / "a.JSON").read_text(encoding="utf-8"))["lesions"] == []
    with pytest.raises(BadInput, match=r"\.csv or \.json"):
        check_report_path(tmp_path / "a.xlsx")


def test_a_failed_write_leaves_the_old_report(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_text("old", "utf-8")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mois_core.io.atomic.os.fsync", full_disk)
    with pytest.raises(BadInput, match="No space left"):
        write_csv(path, [])
    assert path.read_text("utf-8") == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.alone
def test_hundreds_of_lesions_at_full_size_take_no_time():
    stack = SliceStack(Volume(np.ones((40, 1024, 320), dtype=np.int16), AFFINE))
    ball = np.hypot(*np.ogrid[-20:21, -20:21]) <= 20
    rng = np.random.default_rng(0)
    lesions = []
    for lesion_id in range(1, 301):
        n, row, column = rng.integers((0, 0, 0), (36, 980, 270))
        volume = np.zeros((4, 1024, 320), dtype=bool)
        volume[:, row : row + 41, column : column + 41] = ball
        lesions.append(Lesion(lesion_id, Status.FOUND, Mask.from_stack(volume, int(n))))
    start = time.perf_counter()
    assert len(measure_lesions(stack, lesions)) == 300
    assert time.perf_counter() - start < 2

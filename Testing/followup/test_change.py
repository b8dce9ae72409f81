"""Courses of lesions and what is told of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from mois_core.errors import BadInput
from mois_core.followup.change import classify, lesion_changes
from mois_core.followup.course import FollowUp, courses, follow
from mois_core.followup.matching import Matching
from mois_core.followup.pictures import side_by_side
from mois_core.followup.report import document
from mois_core.followup.time_point import TimePoint
from mois_core.geometry import Volume
from mois_core.results.body_regions import BodyRegion
from mois_core.results.lesion_uids import numbered_uid

VOXEL_CM3 = 0.032
"""4 x 4 x 2 mm."""


def point(day: date | None = None, imaged=BodyRegion.UNKNOWN, **sizes: int) -> TimePoint:
    """A scan whose lesions (``l3=10`` is lesion 3) have so many voxels, in a row."""
    labels = np.zeros((60, 4, 30), dtype=np.uint16)
    for name, size in sizes.items():
        labels[int(name[1:]) * 3, 1, :size] = int(name[1:])
    grid = np.diag([4.0, 4.0, 2.0, 1.0])
    scan = Volume(np.zeros(labels.shape, dtype=np.int16), grid)
    return TimePoint(scan, labels, day, imaged=imaged)


def followed(points: list[TimePoint], *matchings: Matching) -> FollowUp:
    return FollowUp(tuple(points), (), tuple(courses(points, matchings)))


@pytest.mark.parametrize(
    ("then", "now", "best", "kind"),
    [
        (10, 12, 10, "grown"),
        (10, 11.9, 10, "stable"),
        (10, 8, 8, "shrunk"),
        (10, 8.1, 8.1, "stable"),
        (10, 7, 5, "grown"),
        (0.1 + 0.2, 0.36, 0.1 + 0.2, "grown"),
    ],
)
def test_the_threshold_is_a_fifth_of_the_volume(then, now, best, kind):
    assert classify(then, now, best) == kind


def test_every_kind_of_change_is_told():
    before = point(l1=10, l2=10, l3=10, l4=10, l5=10, l6=4, l7=20)
    after = point(l1=15, l2=5, l3=11, l5=16, l7=12, l8=9, l9=7)
    found = Matching(
        pairs={1: 1, 2: 2, 3: 3, 5: 5, 7: 7}, merged={6: 5}, split={8: 7}, gone=(4,), new=(9,)
    )
    rows = {row.lesion: row for row in lesion_changes(followed([before, after], found))}

    assert {n: row.change for n, row in rows.items()} == {
        1: "grown", 2: "shrunk", 3: "stable", 4: "gone", 5: "stable", 6: "merged", 7: "stable",
        8: "split", 9: "new",
    }  # fmt: skip
    assert rows[1].percent == pytest.approx(50)
    assert rows[1].difference_cm3 == pytest.approx(5 * VOXEL_CM3)
    assert rows[1].percent_low < 50 < rows[1].percent_high
    assert rows[4].difference_cm3 == pytest.approx(-10 * VOXEL_CM3)
    # 10 + 4 became 16, and 20 became 12 + 9.
    assert rows[5].percent == pytest.approx(100 * (16 / 14 - 1))
    assert rows[7].percent == pytest.approx(5)
    assert (rows[6].part_of, rows[8].part_of) == (5, 7)
    assert rows[8].now_cm3 == pytest.approx(9 * VOXEL_CM3)
    assert rows[9].then_cm3 is None and rows[9].percent is None


def test_growth_is_told_from_the_best_scan_and_only_long_lesions_have_a_class():
    points = [point(l1=20, l2=3), point(l1=10, l2=3), point(l1=14, l2=4)]
    same = Matching(pairs={1: 1, 2: 2})
    long, short = lesion_changes(followed(points, same, same))
    assert (long.change, long.response) == ("grown", "progression")
    assert long.percent == pytest.approx(-30)
    assert long.percent_from_best == pytest.approx(40)
    assert long.best_cm3 == pytest.approx(10 * VOXEL_CM3)
    assert long.measurable and not short.measurable
    assert short.change == "grown" and short.response == ""


def test_a_lesion_keeps_number_and_uid_over_scans_that_call_it_otherwise():
    points = [point(l1=10), point(l4=10, l5=3), point(l2=3, l9=10)]
    found = followed(points, Matching(pairs={1: 4}, new=(5,)), Matching(pairs={4: 9, 5: 2}))
    first, second = found.courses
    assert (first.number, first.labels) == (1, {0: 1, 1: 4, 2: 9})
    assert (second.number, second.labels) == (2, {1: 5, 2: 2})
    assert first.uid != second.uid and first.uid.startswith("2.25.")
    again = followed(points[:2], Matching(pairs={1: 4}, new=(5,)))
    assert [course.uid for course in again.courses] == [first.uid, second.uid]


def test_a_report_tells_what_lesions_are_called_in_files_from_before_the_comparison():
    points = [point(l1=10), point(l4=10, l5=3)]
    found = followed(points, Matching(pairs={1: 4}, new=(5,)))
    first, second = document(found)["lesions"]
    assert first["uid"] == numbered_uid(points[0].scan, 1)
    assert first["uid_in_scan"] == [first["uid"], numbered_uid(points[1].scan, 4)]
    assert second["uid_in_scan"] == [None, second["uid"]]


def test_an_even_earlier_scan_does_not_rename_lesions_that_are_followed_already():
    followed_already = replace(point(l4=10, l5=3), stored_uids={4: "2.25.7"})
    points = [point(l1=10, l2=3), followed_already, point(l4=10, l5=3)]
    pairs = Matching(pairs={1: 4, 2: 5}), Matching(pairs={4: 4, 5: 5})
    first, second = followed(points, *pairs).courses
    assert first.uid == "2.25.7"
    assert second.uid == numbered_uid(points[0].scan, 2)
    points[0] = replace(points[0], stored_uids={1: "2.25.1"})
    assert followed(points, *pairs).courses[0].uid == "2.25.1"


def test_a_lesion_that_merged_twice_counts_with_the_last_one():
    points = [point(l1=10, l2=5, l3=4), point(l1=16, l3=4), point(l3=24)]
    found = followed(
        points, Matching(pairs={1: 1, 3: 3}, merged={2: 1}), Matching(pairs={3: 3}, merged={1: 3})
    )
    rows = lesion_changes(found)
    assert [row.change for row in rows] == ["merged", "merged", "grown"]
    assert rows[2].then_cm3 == pytest.approx(19 * VOXEL_CM3)
    assert rows[2].percent == pytest.approx(100 * (24 / 19 - 1))


def test_sums_are_those_of_the_scans_and_of_the_regions():
    before = point(imaged=BodyRegion.UPPER_LIMB, l1=10, l2=5)
    after = point(l1=20, l2=5, l3=4)
    table = document(followed([before, after], Matching(pairs={1: 1, 2: 2}, new=(3,))))
    assert [scan["burden_cm3"] for scan in table["scans"]] == pytest.approx(
        [15 * VOXEL_CM3, 29 * VOXEL_CM3]
    )
    assert table["burden_change_percent"] == pytest.approx(100 * 14 / 15)
    assert table["by_region"]["upper limb"]["now_cm3"] == pytest.approx(25 * VOXEL_CM3)
    assert table["by_region"]["unknown"]["now_cm3"] == pytest.approx(4 * VOXEL_CM3)
    assert [row["region"] for row in table["lesions"]] == ["upper limb", "upper limb", "unknown"]
    assert table["counts"]["grown"] == 1
    assert "Dombi" in table["rules"]["source"]


def test_scans_in_the_wrong_order_and_scans_without_lesions_are_refused():
    late, early = point(date(2024, 1, 2), l1=3), point(date(2023, 1, 2), l1=3)
    with pytest.raises(BadInput, match="scan 2 was made before scan 1"):
        follow([late, early])
    with pytest.raises(BadInput, match="no scan has an outlined lesion"):
        follow([point(), point()])
    with pytest.raises(BadInput, match="two scans or more"):
        follow([late])


def test_the_picture_tells_sides_numbers_and_sums():
    before, after = point(l1=10, l2=5), point(l1=20)
    figure = side_by_side(followed([before, after], Matching(pairs={1: 1}, gone=(2,))))
    first, second = figure.axes
    assert {"R", "L", "1", "2"} <= {text.get_text() for text in first.texts}
    assert "2" not in {text.get_text() for text in second.texts}
    assert any("1 grown, 1 gone" in text.get_text() for text in figure.texts)

"""Follow-ups of phantoms: postures, merged and split lesions, several visits."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage

from mois_core.cli import EXIT_BAD_INPUT, EXIT_DONE, main
from mois_core.errors import BadInput
from mois_core.phantom import PhantomSettings, make_follow_up, make_phantom

SMALL = PhantomSettings(size=(128, 40), slices=20, lesions=12)
SEED = 100_005


@pytest.fixture(scope="module")
def baseline():
    return make_phantom(SEED, SMALL)


def test_a_posture_moves_the_body_and_leaves_the_lesions_about_as_large(baseline):
    straight, plain = make_follow_up(baseline)
    bent, changes = make_follow_up(baseline, posture=1.0)
    assert not np.array_equal(bent.scan, straight.scan)
    before = np.array([change.after_cm3 or 0 for change in plain])
    after = np.array([change.after_cm3 or 0 for change in changes])
    assert [change.change for change in plain] == [change.change for change in changes]
    assert after.sum() == pytest.approx(before.sum(), rel=0.08)
    assert ((before > 0) == (after > 0)).all()


def test_the_same_seed_and_posture_give_the_same_scan(baseline):
    first, _ = make_follow_up(baseline, posture=1.0, merge=1, split_off=1)
    second, _ = make_follow_up(baseline, posture=1.0, merge=1, split_off=1)
    assert np.array_equal(first.scan, second.scan)
    assert np.array_equal(first.instances, second.instances)


def test_a_merged_lesion_is_one_and_covers_most_of_both(baseline):
    later, changes = make_follow_up(baseline, merge=1)
    (merged,) = [change for change in changes if change.change == "merged"]
    assert merged.id not in later.instances
    assert ndimage.label(later.instances == merged.other, np.ones((3, 3, 3)))[1] == 1


def test_a_split_lesion_leaves_two_that_do_not_touch(baseline):
    later, changes = make_follow_up(baseline, split_off=1)
    (part,) = [change for change in changes if change.change == "split"]
    assert part.before_cm3 is None and part.after_cm3 > 0
    both = np.isin(later.instances, (part.id, part.other))
    assert ndimage.label(both, np.ones((3, 3, 3)))[1] == 2


def test_a_third_visit_follows_on_the_second(baseline):
    second, _ = make_follow_up(baseline, 1)
    third, changes = make_follow_up(second, 2)
    before = {lesion.id: lesion.volume_cm3 for lesion in second.lesions}
    assert {c.id: c.before_cm3 for c in changes if c.before_cm3} == before
    assert {lesion.id for lesion in third.lesions} == {c.id for c in changes if c.after_cm3}


def test_more_than_can_merge_is_refused(baseline):
    with pytest.raises(BadInput, match="pairs can merge"):
        make_follow_up(baseline, merge=50)


def test_the_command_writes_all_visits(tmp_path):
    words = ["phantom", "--seed", str(SEED), "--size", "128x40", "--slices", "20"]
    words += ["--lesions", "12", "--out", str(tmp_path)]
    extra = ["--follow-up", "2", "--posture", "0.5", "--split", "1"]
    assert main([*words, *extra]) == EXIT_DONE
    for name in ("follow-up", "follow-up-2"):
        table = json.loads((tmp_path / name / "lesions.json").read_text("utf-8"))
        kinds = {change["change"] for change in table["changes"]}
        assert "split" in kinds
    assert main([*words, "--posture", "1"]) == EXIT_BAD_INPUT
    assert main([*words, "--follow-up", "--posture", "9"]) == EXIT_BAD_INPUT


def test_without_the_new_options_the_table_is_as_it_was(tmp_path):
    words = ["phantom", "--seed", str(SEED), "--size", "128x40", "--slices", "20"]
    assert main([*words, "--lesions", "12", "--follow-up", "--out", str(tmp_path)]) == EXIT_DONE
    table = json.loads((tmp_path / "follow-up" / "lesions.json").read_text("utf-8"))
    keys = {frozenset(change) for change in table["changes"]}
    assert keys == {frozenset(("id", "change", "before_cm3", "after_cm3"))}

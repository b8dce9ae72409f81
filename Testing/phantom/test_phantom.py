"""Phantoms: the same bytes for the same seed, a truth that holds, and no shortcut to it."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import os
import subprocess
import sys
import zlib
from collections import defaultdict

import numpy as np
import pytest
from paths import ROOT
from scipy import ndimage

from mois_core.cli import EXIT_BAD_INPUT, EXIT_DONE, main
from mois_core.errors import BadInput
from mois_core.io.scan import read_labels, read_scan
from mois_core.phantom import (
    ATTRIBUTES,
    COHORTS,
    HELD_OUT_FROM,
    OPTIONS,
    PhantomSettings,
    cohort_settings,
    is_held_out,
    make_follow_up,
    make_phantom,
    write_phantom,
)
from mois_core.phantom.generate import draw_plan

SMALL = PhantomSettings(size=(256, 80))
TINY = PhantomSettings(size=(128, 40), slices=20, lesions=12)
FILES = ("scan.nii.gz", "instances.nii.gz", "semantic.nii.gz", "lesions.json")
SEEDS = range(HELD_OUT_FROM, HELD_OUT_FROM + 8)


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(HELD_OUT_FROM, SMALL)


@pytest.fixture(scope="module")
def several():
    return [make_phantom(seed, SMALL) for seed in SEEDS]


def digests(folder):
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES]


def best_threshold_dice(scan, truth):
    """Return the best Dice over all thresholds, taking what is above or what is below."""
    levels = scan.astype(np.int64) - int(scan.min())
    everything = np.bincount(levels.ravel())
    found = np.bincount(levels[truth > 0], minlength=len(everything))
    best = 0.0
    for order in (slice(None), slice(None, None, -1)):
        taken, hits = everything[order].cumsum(), found[order].cumsum()
        best = max(best, float((2 * hits / (taken + found.sum())).max()))
    return best


def test_the_same_seed_gives_the_same_bytes_wherever_it_is_written(tmp_path):
    for name in ("one", "a longer name with an ä"):
        write_phantom(make_phantom(7, TINY), tmp_path / name)
    assert digests(tmp_path / "one") == digests(tmp_path / "a longer name with an ä")
    write_phantom(make_phantom(8, TINY), tmp_path / "other")
    assert not set(digests(tmp_path / "one")) & set(digests(tmp_path / "other"))


def test_nothing_of_the_time_or_the_path_is_in_the_files(tmp_path):
    write_phantom(make_phantom(7, TINY), tmp_path)
    header = (tmp_path / "scan.nii.gz").read_bytes()[:10]
    assert header[3] == 0, "no file name in the gzip header"
    assert header[4:8] == bytes(4), "no time in the gzip header"
    assert {path.name for path in tmp_path.iterdir()} == set(FILES)
    assert gzip.decompress((tmp_path / "scan.nii.gz").read_bytes())[344:348] == b"n+1\0"


def test_threads_and_processor_change_nothing(phantom):
    """Numpy picks its routines by processor: tell it that this one is old."""
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    program = (
        "import zlib; from mois_core.phantom import *; "
        f"p = make_phantom({phantom.seed}, size=(256, 80)); "
        "print(zlib.crc32(p.scan), zlib.crc32(p.instances))"
    )
    old = {"NPY_DISABLE_CPU_FEATURES": " ".join(found), "OMP_NUM_THREADS": "3"}
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **old},
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert ran.stdout.split() == [
        str(zlib.crc32(array)) for array in (phantom.scan, phantom.instances)
    ]


def test_a_seed_is_the_same_patient_at_every_size_and_on_every_scanner():
    coarse = draw_plan(5, dataclasses.replace(SMALL, slices=30))
    for other in (
        dataclasses.replace(SMALL, slices=30, size=(512, 160)),
        dataclasses.replace(SMALL, slices=30, field_tesla=1.5, noise=2.0),
    ):
        plan = draw_plan(5, other)
        assert plan.appearances == coarse.appearances
        assert [p.centre for p in plan.lesions] == [p.centre for p in coarse.lesions]
        assert [p.volume_cm3 for p in plan.lesions] == [p.volume_cm3 for p in coarse.lesions]


def test_the_anatomy_does_not_depend_on_the_matrix():
    fine = make_phantom(5, TINY, size=(256, 80), noise=0)
    coarse = make_phantom(5, TINY, noise=0)
    averaged = fine.scan.reshape(20, 128, 2, 40, 2).mean(axis=(2, 4))
    assert np.corrcoef(averaged.ravel(), coarse.scan.ravel())[0, 1] > 0.95


def test_the_files_say_what_the_arrays_say(tmp_path, phantom):
    write_phantom(phantom, tmp_path)
    scan, instances = (
        read_scan(tmp_path / "scan.nii.gz"),
        read_labels(tmp_path / "instances.nii.gz"),
    )
    assert np.array_equal(scan.array, phantom.scan)
    assert np.array_equal(instances.array, phantom.instances)
    assert np.array_equal(read_labels(tmp_path / "semantic.nii.gz").array, phantom.semantic)
    assert scan.ijk_to_ras == pytest.approx(phantom.ijk_to_ras, abs=1e-3)
    left, superior, posterior = scan.ijk_to_ras[:3, :3].T
    assert left[0] < 0 < superior[2] and posterior[1] < 0, "the axes L, S, P"
    assert phantom.spacing[2] == 7.8

    table = json.loads((tmp_path / "lesions.json").read_text("utf-8"))
    assert table["seed"] == phantom.seed
    target_ids = [lesion["id"] for lesion in table["lesions"] if lesion["target"]]
    assert np.array_equal(np.isin(phantom.instances, target_ids), phantom.semantic > 0)
    voxel_cm3 = np.prod(phantom.spacing) / 1000
    for lesion in table["lesions"]:
        i, j, k = np.rint(scan.ras_to_ijk @ [*lesion["centroid_ras"], 1]).astype(int)[:3]
        assert phantom.instances[k, j, i] == lesion["id"]
        volume = np.count_nonzero(phantom.instances == lesion["id"]) * voxel_cm3
        assert lesion["volume_cm3"] == pytest.approx(volume, abs=1e-3)


def test_lesions_are_whole_thin_and_of_all_sizes(several):
    volumes, shapes, slices = [], set(), []
    for phantom in several:
        assert [lesion.id for lesion in phantom.lesions] == list(range(1, 31))
        boxes = ndimage.find_objects(phantom.instances)
        for lesion in phantom.lesions:
            mask = phantom.instances[boxes[lesion.id - 1]] == lesion.id
            assert ndimage.label(mask, np.ones((3, 3, 3)))[1] == 1
            volumes.append(lesion.volume_cm3)
            shapes.add(lesion.shape)
            slices.append(lesion.slices)
    assert min(volumes) < 1 and max(volumes) > 100
    assert 10 < np.median(volumes) < 50
    assert shapes == set(OPTIONS["shape"])
    assert set(slices) == set(range(1, 9))


def test_some_lesions_touch(several):
    touching = 0
    for phantom in several:
        for axis in range(3):
            own, next_one = (
                np.take(phantom.instances, range(first, phantom.instances.shape[axis] + last), axis)
                for first, last in ((0, -1), (1, 0))
            )
            touching += np.any((own > 0) & (next_one > 0) & (own != next_one))
    assert touching >= 3


def test_most_lesions_are_visible(several):
    """Lesions differ from the tissue around them by more than twice the noise."""
    visible = []
    for phantom in several:
        noise = phantom.plan.settings.scanner.noise * np.percentile(phantom.scan, 99.9)
        for lesion in phantom.lesions:
            if lesion.voxels < 5:
                continue
            mask = phantom.instances == lesion.id
            plane = mask.any(axis=(1, 2))
            near = ndimage.binary_dilation(mask[plane], np.ones((1, 5, 5)))
            around = near & (phantom.instances[plane] == 0)
            if around.any():
                inside, outside = phantom.scan[plane][mask[plane]], phantom.scan[plane][around]
                # A target sign or stripes can leave the mean where it was, not the spread.
                spread = abs(float(inside.std()) - float(outside.std()))
                shift = abs(float(inside.mean()) - float(np.median(outside)))
                visible.append(max(spread, shift) > 2 * noise)
    assert np.mean(visible) > 0.85


def test_no_global_threshold_finds_the_target(several):
    for phantom in several:
        assert best_threshold_dice(phantom.scan, phantom.semantic) < 0.4


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_no_global_threshold_finds_the_target_by_one_attribute(attribute):
    phantom = make_phantom(HELD_OUT_FROM + 1, TINY, attributes=(attribute,))
    names = {getattr(look, attribute) for look in phantom.appearances}
    assert len(names) == len(phantom.appearances) >= 3
    assert best_threshold_dice(phantom.scan, phantom.semantic) < 0.4


def test_bright_anatomy_outweighs_the_lesions(several):
    """Bladder, fluid and kidneys are as bright as a bright lesion, and there is more of them."""
    for phantom in several:
        lesions = phantom.scan[phantom.semantic > 0]
        healthy = phantom.scan[phantom.instances == 0]
        assert np.count_nonzero(healthy > np.percentile(lesions, 90)) > 0.1 * len(lesions)


def test_appearances_differ_in_contrast_and_something_else():
    for seed in range(60):
        looks = draw_plan(seed, dataclasses.replace(TINY, lesions=2)).appearances
        assert len({look.contrast for look in looks}) == len(looks) == 4
        others = {(look.texture, look.edge, look.rim, look.shape) for look in looks}
        assert len(others) == len(looks)


def test_a_target_here_is_a_distractor_there():
    roles = defaultdict(set)
    for seed in range(40):
        plan = draw_plan(seed, dataclasses.replace(TINY, lesions=2, attributes=("contrast",)))
        for index, look in enumerate(plan.appearances):
            roles[look].add(index == plan.target)
    assert len(roles) == 4
    assert all(role == {True, False} for role in roles.values())


@pytest.mark.parametrize(("lesions", "slices", "size"), [(2, 1, (64, 32)), (400, 51, (128, 40))])
def test_the_number_of_lesions_is_what_was_asked_for(lesions, slices, size):
    phantom = make_phantom(3, lesions=lesions, slices=slices, size=size, burden_cm3=200)
    assert phantom.scan.shape == (slices, *size)
    assert len(np.unique(phantom.instances)) == lesions + 1
    targets = sum(lesion.target for lesion in phantom.lesions)
    assert 0.3 * lesions <= targets <= 0.55 * lesions


def test_scanners_differ_in_noise_shading_and_scale():
    def air(phantom):
        return np.median(phantom.scan[:, :3]) / np.percentile(phantom.scan, 99.8)

    one, other = make_phantom(3, TINY), make_phantom(3, TINY, field_tesla=1.5)
    philips = make_phantom(3, TINY, vendor="philips")
    assert np.array_equal(one.instances, other.instances)
    assert air(other) > 1.5 * air(one)
    assert np.percentile(philips.scan, 99.8) > 2 * np.percentile(one.scan, 99.8)
    assert philips.spacing[2] < one.spacing[2]


def test_cohorts_mirror_the_test_sets():
    for name, cohort in COHORTS.items():
        drawn = [cohort_settings(name, seed, size=(256, 80)) for seed in range(30)]
        assert {settings.vendor for settings in drawn} == {cohort.vendor}
        assert all(cohort.slices[0] <= s.slices <= cohort.slices[1] for s in drawn)
        assert len({settings.lesions for settings in drawn}) > 3
    low = make_phantom(HELD_OUT_FROM, cohort_settings("low-burden", HELD_OUT_FROM, size=(256, 80)))
    assert sum(lesion.volume_cm3 for lesion in low.lesions if lesion.target) < 50
    with pytest.raises(BadInput, match="in-domain"):
        cohort_settings("nowhere", 1)


def test_a_follow_up_is_the_same_patient_with_other_lesions():
    before = make_phantom(HELD_OUT_FROM, TINY, lesions=20, noise=0.5)
    after, changes = make_follow_up(before)
    kinds = {change.id: change.change for change in changes}
    assert set(kinds.values()) == {"stable", "grown", "shrunk", "gone", "new"}
    was, now = ({lesion.id: lesion for lesion in p.lesions} for p in (before, after))
    assert set(now) == {n for n, kind in kinds.items() if kind != "gone"}
    assert set(was) == {n for n, kind in kinds.items() if kind != "new"}
    for change in changes:
        if change.change in ("grown", "shrunk") and was[change.id].voxels > 30:
            grew = now[change.id].volume_cm3 > was[change.id].volume_cm3
            assert grew == (change.change == "grown")
        if change.change in ("stable", "grown", "shrunk"):
            assert now[change.id].appearance == was[change.id].appearance
            apart = np.subtract(now[change.id].centroid_ras, was[change.id].centroid_ras)
            assert np.linalg.norm(apart) < 60
    same = np.corrcoef(before.scan.ravel(), after.scan.ravel())[0, 1]
    assert 0.6 < same < 0.99


def test_seeds_for_testing_are_kept_apart():
    assert HELD_OUT_FROM == 100_000
    assert [is_held_out(seed) for seed in (0, 99_999, 100_000)] == [False, False, True]


def test_the_command_writes_a_patient_and_the_follow_up(tmp_path, capsys):
    arguments = ["phantom", "--seed", "100003", "--out", str(tmp_path / "p"), "--size", "128x40"]
    assert main([*arguments, "--slices", "20", "--lesions", "10", "--follow-up"]) == EXIT_DONE
    assert "10 lesions" in capsys.readouterr().out
    table = json.loads((tmp_path / "p" / "lesions.json").read_text("utf-8"))
    assert len(table["lesions"]) == 10 and table["held_out"]
    later = json.loads((tmp_path / "p" / "follow-up" / "lesions.json").read_text("utf-8"))
    assert {change["change"] for change in later["changes"]} >= {"gone", "new"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--lesions", "1"], "lesions must be from 2 to 400"),
        (["--lesions", "401"], "lesions must be from 2 to 400"),
        (["--slices", "52"], "slices must be from 1 to 51"),
        (["--size", "32x32"], "rows must be from 64"),
        (["--size", "64x32", "--slices", "1", "--lesions", "400"], "too small for 400 lesions"),
        (["--attributes", "colour"], "choose from contrast, texture"),
        (["--vendor", "acme"], "vendors are siemens, philips"),
        (["--field", "7"], "fields 3, 1.5"),
        (["--cohort", "far"], "choose from training, in-domain"),
        (["--noise", "nan"], "noise must be from 0 to 10"),
        (["--seed", "-1"], "seed must not be negative"),
    ],
)
def test_bad_input_is_one_line_and_no_files(arguments, said, tmp_path, capsys):
    code = main(["phantom", "--seed", "1", "--out", str(tmp_path / "out"), *arguments])
    message = capsys.readouterr().err
    assert code == EXIT_BAD_INPUT
    assert said in message and message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_bad_input(tmp_path, capsys):
    (tmp_path / "file").write_text("", "utf-8")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        arguments = ["phantom", "--seed", "1", "--out", str(out), "--size", "64x32"]
        assert main([*arguments, "--slices", "10"]) == EXIT_BAD_INPUT
        assert str(out) in capsys.readouterr().err

"""Reference mode gives the published app's masks, from the click to the search."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from unittest.mock import patch

import numpy as np
import pytest
import torch
from engine_fixtures import volume_of
from small_networks import GOLDEN
from stub_sessions import ras, stack_of

from mois_core.session import NewClick, Session
from mois_core.session import session as session_module
from mois_core.session.preprocess import FULL_BRIGHTNESS, published_input
from mois_core.session.propagation import Target, around_first_prompt
from mois_core.session.state import Settings
from tools.golden_sets import Recipe, golden_input, read_sets

SETS = {golden.name: golden for golden in read_sets(GOLDEN) if golden.name.startswith("tiny")}
MASKS = ["tiny", "tiny_fill"]
"""The sets that hold the masks of three objects."""

SEARCHES = [
    ("tiny", "sem.prompted3", {}),
    ("tiny", "sem.max2prompted", {"exemplars": 2}),
    ("tiny", "sem.noscore", {"gate": False}),
    ("tiny_fill", "sem.prompted3", {}),
]
CLEAR_LOGIT = 1e-3
"""Closer to zero than this, rounding alone decides which side a pixel is on."""


@pytest.fixture(scope="module", autouse=True)
def resized_as_the_figures_were():
    """Reference mode resizes slices as the published environment does, and the figures were made in
    another one."""
    with patch.object(session_module, "published_input", golden_input):
        yield


@lru_cache(maxsize=4)
def network(name):
    return Recipe(SETS[name]).model().requires_grad_(False)


def reference_session(name, **how):
    """A session on a golden volume, which is normalised already."""
    golden = SETS[name]
    recipe = Recipe(golden)
    settings = Settings(smallest_cm3=0, **how)
    with patch.object(session_module, "normalise", lambda array, _: array.astype(np.float32)):
        session = Session(network(name), volume_of(golden.volume), settings, reference=True)
    session.decoder.fill_holes = recipe.fill_holes
    session.decoder.memory_dtype = recipe.memory_dtype
    return session


def click_all(session, golden):
    for click in golden.facts["clicks"]:
        column, row = click["positive_xy"]
        session.click(ras(session, click["slice"], row, column), lesion=click["object"])


@lru_cache(maxsize=8)
def clicked(name, **how):
    session = reference_session(name, **how)
    click_all(session, SETS[name])
    return session


def golden_mask(golden, lesion_id):
    bits = golden.arrays[f"obj{lesion_id}.app_mask_bits"]
    return np.unpackbits(bits, count=golden.volume.size).astype(bool).reshape(golden.volume.shape)


def same_mask(ours, golden):
    """Within the golden sets' bound for masks: a logit of zero has its sign from rounding, which
    differs between processors."""
    return int((ours != golden).sum()) <= max(2, 1e-4 * golden.size)


# ---- the input ---------------------------------------------------------------------------------

BY_PILLOW_12 = "4b8c96c37a2c330bd025119a1408a115b43de5a44f6b027e8d8ea67807511ba9"
"""SHA-256 of the slice below, resized in one call by Pillow 10.4, 11.3 and 12.3 alike."""


def test_a_slice_is_resized_as_in_the_published_environment_whichever_pillow_is_installed():
    resized = published_input(SETS["tiny"].volume[3], (256, 256)) * FULL_BRIGHTNESS

    pixels = resized.round().numpy().astype(np.uint8)
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == BY_PILLOW_12


# ---- clicks and propagation --------------------------------------------------------------------


@pytest.mark.parametrize("lesion_id", [1, 2, 3])
@pytest.mark.parametrize("name", MASKS)
def test_a_click_gives_the_published_apps_mask(name, lesion_id):
    golden = SETS[name]

    assert same_mask(stack_of(clicked(name), lesion_id), golden_mask(golden, lesion_id))


@pytest.mark.parametrize("name", MASKS)
def test_clicks_given_together_give_the_published_masks_too(name):
    golden = SETS[name]
    session = reference_session(name)
    session.clicks(
        [
            NewClick(ras(session, c["slice"], *c["positive_xy"][::-1]), True, c["object"])
            for c in golden.facts["clicks"]
        ]
    )

    for lesion_id in (1, 2, 3):
        differing = stack_of(session, lesion_id) != golden_mask(golden, lesion_id)
        assert differing.mean() <= 1e-4


def test_all_clicks_of_a_slice_are_taken_at_once_as_the_app_does():
    golden = SETS["tiny"]
    first = golden.facts["clicks"][0]
    session = reference_session("tiny")
    for place, positive in ((first["second_negative_xy"], False), (first["positive_xy"], True)):
        session.click(ras(session, first["slice"], *place[::-1]), positive, lesion=1)

    expected = torch.from_numpy(golden.arrays["corr.app.best"])[None, None]
    assert_logits(session.lesion(1).prompted[first["slice"]].logits, expected[0])
    video = session.decoder.to_images(expected)[0]
    assert (stack_of(session, 1)[first["slice"]] != video).mean() <= 1e-4


def assert_logits(ours, golden):
    assert ours.shape == golden.shape
    scale = float(golden.abs().max())
    assert float((ours - golden).abs().max()) <= 1e-3 * scale


def test_the_app_propagates_from_the_earliest_prompted_slice_only():
    session = reference_session("tiny", propagation_slices=1)
    session.click(ras(session, 2, 100, 80), lesion=1)
    session.click(ras(session, 6, 100, 80), lesion=1)

    assert set(session.lesion(1).propagated) == {1, 3}
    assert set(session.lesion(1).prompted) == {2, 6}


def test_targets_in_reference_mode_go_up_and_then_down():
    rounds = around_first_prompt([3], [3], 3, 8)

    up = [Target(n, 3, False) for n in (4, 5, 6)]
    down = [Target(n, 3, True) for n in (2, 1, 0)]
    assert rounds == [[target] for target in up + down]


# ---- search ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MASKS)
def test_the_bank_holds_the_published_exemplars_in_the_published_order(name):
    golden, session = SETS[name], clicked(name)
    ours = [
        f"{lesion.id}_{slice_index}_{kind}"
        for lesion in session.lesions
        for kind, slice_memories in (
            ("prompted", lesion.prompted),
            ("nonprompted", lesion.propagated),
        )
        for slice_index, slice_memory in slice_memories.items()
        if slice_memory.found
    ]

    assert sorted(ours) == sorted(golden.facts["exemplar_keys_after_3_objects"])
    chosen = [(e.lesion, e.view.slice) for e in session.exemplars_for(0)]
    assert chosen == [(c["object"], c["slice"]) for c in golden.facts["clicks"]]


@pytest.mark.parametrize(("name", "search", "how"), SEARCHES, ids=lambda x: str(x))
def test_a_search_gives_the_published_masks(name, search, how):
    golden = SETS[name]
    session = reference_session(name, **how)
    click_all(session, golden)
    session.find_similar()

    checked = 0
    for slice_index in golden.facts[search]["slices"]:
        for array in ("best", "video"):
            expected = golden.arrays.get(f"{search}.s{slice_index}.{array}")
            if expected is None or (name == "tiny_fill" and array == "best"):
                continue
            checked += 1
            assert_same_mask(session, slice_index, expected)
    assert checked


def assert_same_mask(session, slice_index, expected):
    """``expected`` are logits of a slice, as decoded or at the scan's own size."""
    logits = torch.from_numpy(expected)[None, None]
    if expected.shape != session.stack.shape:
        logits = torch.nn.functional.interpolate(logits, session.stack.shape, mode="bilinear")
    logits = logits[0, 0].numpy()
    differing = session.semantic[slice_index] != (logits > 0)
    clear = np.abs(logits) > CLEAR_LOGIT * np.abs(logits).max()
    assert not (differing & clear).any()
    assert differing.mean() <= 1e-3


def test_a_search_of_what_the_network_itself_takes_for_lesions_is_the_published_one():
    golden = SETS["tiny"]
    session = reference_session("tiny", gate=False)
    session.find_similar(use_exemplars=False)

    slices = golden.facts["sem.auto"]["slices"]
    for slice_index in slices:
        assert_same_mask(session, slice_index, golden.arrays[f"sem.auto.s{slice_index}.best"])
    assert slices


def test_what_is_searched_for_is_the_oldest_prompted_slices_cut_at_the_limit():
    session = reference_session("tiny", exemplars=2)
    click_all(session, SETS["tiny"])

    for slice_index in range(8):
        assert [e.key for e in session.exemplars_for(slice_index)] == [(1, 3, True), (2, 4, True)]
    session.click(ras(session, 3, 231, 95), lesion=1)
    assert [e.lesion for e in session.exemplars_for(0)] == [1, 2]


# ---- ours is different on purpose --------------------------------------------------------------


def test_ours_takes_a_correction_where_the_app_discards_it():
    golden = SETS["tiny"]
    first = golden.facts["clicks"][0]
    session = Session(network("tiny"), volume_of(golden.volume))
    lesion_id = session.click(ras(session, first["slice"], *first["positive_xy"][::-1]))
    before = stack_of(session, lesion_id)

    session.click(
        ras(session, first["slice"], *first["second_negative_xy"][::-1]), lesion=lesion_id
    )

    changed = (stack_of(session, lesion_id) != before).any(axis=(1, 2))
    assert changed[first["slice"]]
    assert changed.sum() > 1

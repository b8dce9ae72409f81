"""What the user decided on findings teaches the next search, if the settings say so."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from engine_fixtures import LESION, Block, scan_of, volume_of
from stub_network import PACK, StubNetwork
from stub_sessions import click_on, digest, is_exactly, stack_of, stub_session

from mois_core.errors import BadInput, Cancelled
from mois_core.progress import CancelToken
from mois_core.session import Session
from mois_core.session.lesion import Status
from mois_core.session.looks import looks_of, standardised
from mois_core.session.masks import Mask
from mois_core.session.session_file import restore, to_bytes
from mois_core.session.state import Settings

pytestmark = pytest.mark.usefixtures("one_thread")

LOOKALIKE = LESION + 16
"""The search takes it for a lesion; its look is another."""

# Blocks fill whole positions of the coarse map, so that those of one brightness look the same.
FIRST = Block((3, 8), (4, 12), (4, 12))
SECOND = Block((4, 7), (20, 28), (4, 12))
THIRD = Block((9, 11), (8, 12), (20, 28))
TWIN = Block((3, 9), (20, 28), (20, 28), LOOKALIKE)
OTHER_TWIN = Block((9, 11), (16, 24), (4, 12), LOOKALIKE)
SCENE = (FIRST, SECOND, THIRD, TWIN, OTHER_TWIN)
GREY_LEVELS = 32


class LookNetwork(StubNetwork):
    """The stub network with a channel for each of 32 grey levels in its coarse map."""

    def encode(self, images):
        features = super().encode(images)
        brightness = F.pixel_shuffle(features.coarse[:, : PACK**2], PACK)[:, 0]
        level = (brightness * GREY_LEVELS).long().clamp(0, GREY_LEVELS - 1)
        shown = F.avg_pool2d(F.one_hot(level, GREY_LEVELS).permute(0, 3, 1, 2).float(), PACK)
        coarse = features.coarse.clone()
        coarse[:, PACK**2 : PACK**2 + GREY_LEVELS] = shown
        return replace(features, coarse=coarse)


def look_session(*blocks, reference=False, learns=True):
    volume = volume_of(scan_of(*(blocks or SCENE)))
    settings = Settings(learn_from_rejections=learns)
    session = Session(LookNetwork(), volume, settings, reference)
    click_on(session, FIRST)
    session.find_similar()
    return session


def id_of(session, block):
    """The id of the lesion that is a block."""
    (lesion_id,) = [le.id for le in session.lesions if is_exactly(session, le.id, block)]
    return lesion_id


def undecided(session, blocks=SCENE):
    found = [le.id for le in session.lesions if le.status is Status.FOUND]
    exact = [block for block in blocks for n in found if is_exactly(session, n, block)]
    assert len(exact) == len(found)
    return exact


# ---- rejected findings -------------------------------------------------------------------------


def test_a_rejected_lookalike_makes_its_kind_vanish():
    session = look_session()
    assert undecided(session) == [SECOND, THIRD, TWIN, OTHER_TWIN]
    session.reject(id_of(session, TWIN))
    session.find_similar()

    assert undecided(session) == [SECOND, THIRD]


def test_without_the_setting_a_rejected_finding_is_blocked_at_its_place_only():
    session = look_session(learns=False)
    session.reject(id_of(session, TWIN))
    session.find_similar()

    assert undecided(session) == [SECOND, THIRD, OTHER_TWIN]


def test_undecided_and_accepted_findings_make_nothing_vanish():
    session = look_session()
    session.accept(id_of(session, TWIN))
    session.find_similar()

    assert undecided(session) == [SECOND, THIRD, OTHER_TWIN]


def test_a_rejected_finding_that_looks_like_what_was_clicked_takes_nothing_else_along():
    session = look_session()
    session.reject(id_of(session, SECOND))
    session.find_similar()

    assert undecided(session) == [THIRD, TWIN, OTHER_TWIN]


def test_an_accepted_finding_stays_and_protects_others_of_its_kind():
    third_twin = Block((1, 2), (16, 20), (12, 24), LOOKALIKE)
    blocks = (*SCENE, third_twin)
    session = look_session(*blocks)
    accepted = id_of(session, TWIN)
    session.reject(id_of(session, OTHER_TWIN))
    session.accept(accepted)
    session.find_similar()

    assert session.lesion(accepted).status is Status.ACCEPTED
    assert is_exactly(session, accepted, TWIN)
    assert undecided(session, blocks) == [SECOND, THIRD, third_twin]


def test_a_clicked_lesion_that_was_rejected_teaches_nothing():
    session = look_session()
    session.delete(id_of(session, TWIN))
    session.reject(click_on(session, TWIN))
    session.find_similar()

    assert undecided(session) == [SECOND, THIRD, OTHER_TWIN]


def test_a_rejection_that_is_reconsidered_or_undone_teaches_nothing_any_more():
    session = look_session()
    before = digest(session.state)
    twin = id_of(session, TWIN)
    session.reject(twin)
    session.find_similar()
    taught = digest(session.state)
    session.undo()
    session.undo()
    assert digest(session.state) == before

    session.redo()
    session.redo()
    assert digest(session.state) == taught

    session.reconsider(twin)
    session.find_similar()
    assert undecided(session) == [SECOND, THIRD, TWIN, OTHER_TWIN]


def test_a_saved_session_has_learned_the_same():
    session = look_session()
    session.reject(id_of(session, TWIN))
    restored = restore(to_bytes(session), LookNetwork(), session.volume)
    assert restored.settings.learn_from_rejections

    for one in (session, restored):
        one.find_similar()
    assert digest(restored.state) == digest(session.state)
    assert undecided(restored) == [SECOND, THIRD]


def test_rejections_teach_the_same_whatever_was_done_before():
    session, other = look_session(), look_session()
    session.find_similar()
    for one in (session, other):
        one.reject(id_of(one, TWIN))
        one.find_similar()

    assert digest(session.state.lesions) == digest(other.state.lesions)


def test_in_reference_mode_rejections_teach_nothing():
    session = look_session(reference=True)
    taught = look_session(learns=False, reference=True)
    for one in (session, taught):
        one.reject(id_of(one, TWIN))
        one.find_similar()

    assert OTHER_TWIN in undecided(session)
    assert digest(session.state) == digest(taught.state)


def test_a_search_without_exemplars_is_for_everything_that_is_not_known():
    session = look_session()
    session.reject(id_of(session, TWIN))
    session.find_similar(use_exemplars=False)

    found = [le.id for le in session.lesions if le.status is Status.FOUND]
    assert any(is_exactly(session, n, OTHER_TWIN) for n in found)


def test_in_a_region_looks_are_measured_against_its_slices():
    session = look_session()
    session.reject(id_of(session, TWIN))
    region = stack_of(session, id_of(session, OTHER_TWIN)) | stack_of(session, 1)
    session.find_similar(inside=session.stack.to_volume(region))

    assert undecided(session) == []


def test_a_cancelled_search_learns_nothing_and_changes_nothing():
    session = look_session()
    session.reject(id_of(session, TWIN))
    before, cancel = session.state, CancelToken()

    def stop_at_the_end(done, total, what):
        if done == total:
            cancel.cancel()

    with pytest.raises(Cancelled):
        session.find_similar(stop_at_the_end, cancel)
    assert session.state is before


def test_looks_are_of_length_one_and_finite_also_where_a_channel_is_the_same_everywhere():
    session = look_session()
    masks = [session.lesion(id_of(session, block)).mask for block in SCENE]
    looks = standardised(*looks_of(masks, session.embeddings, range(session.stack.count)))

    assert torch.allclose(looks.norm(dim=1), torch.ones(len(masks), dtype=torch.float64))
    alike = looks @ looks.T
    assert alike[:3, :3].min() > alike[:3, 3:].max()


# ---- accepted findings -------------------------------------------------------------------------

BRIGHTER = Block((4, 7), (20, 27), (4, 10), LESION + 20)
BRIGHTEST = Block((3, 9), (20, 27), (20, 27), LESION + 40)
"""As much brighter than the brighter one as that is than a lesion, and so like it alone."""


def bright_session(reference=False, **how):
    session = stub_session(FIRST, BRIGHTER, BRIGHTEST, reference=reference, **how)
    click_on(session, FIRST)
    session.find_similar()
    assert undecided(session, [BRIGHTER, BRIGHTEST]) == [BRIGHTER]
    return session


@pytest.mark.parametrize("counts", [True, False])
def test_an_accepted_finding_is_an_exemplar_if_the_settings_say_so(counts):
    session = bright_session(accepted_as_exemplars=counts)
    session.accept()
    session.find_similar()

    assert undecided(session, [BRIGHTEST]) == [BRIGHTEST] * counts
    accepted = [e.key for e in session.exemplars_for(5) if e.lesion == id_of(session, BRIGHTER)]
    assert accepted == [(2, 4, True)] * counts


def test_by_default_rejections_teach_and_accepted_findings_are_no_exemplars():
    assert Settings().learn_from_rejections
    assert not Settings().accepted_as_exemplars


def test_clicked_lesions_go_before_accepted_findings_into_a_full_bank():
    session = bright_session(accepted_as_exemplars=True, exemplars=1)
    session.accept()

    assert [e.lesion for e in session.exemplars_for(5)] == [1]


def test_an_accepted_finding_that_is_reconsidered_or_undone_is_no_exemplar_any_more():
    session = bright_session(accepted_as_exemplars=True)
    session.accept()
    session.undo()
    assert {e.lesion for e in session.exemplars_for(5)} == {1}

    session.redo()
    bank = [e.view for e in session.exemplars_for(5)]
    assert bank == [e.view for e in session.exemplars_for(5)]
    session.reconsider(2)
    assert {e.lesion for e in session.exemplars_for(5)} == {1}


def test_an_accepted_finding_alone_is_something_to_search_for():
    session = bright_session(accepted_as_exemplars=True)
    session.accept()
    session.delete(1)
    session.find_similar()

    assert set(undecided(session, [FIRST, BRIGHTEST])) == {FIRST, BRIGHTEST}
    session.delete(2)
    with pytest.raises(BadInput, match="click on a lesion first"):
        session.find_similar()


def test_exemplars_of_accepted_findings_are_the_same_after_saving():
    session = bright_session(accepted_as_exemplars=True)
    session.accept()
    restored = restore(to_bytes(session), StubNetwork(), session.volume)

    assert digest(tuple(restored.exemplars_for(5))) == digest(tuple(session.exemplars_for(5)))
    for one in (session, restored):
        one.find_similar()
    assert digest(restored.state) == digest(session.state)


def test_in_reference_mode_accepted_findings_are_no_exemplars():
    session = bright_session(reference=True, accepted_as_exemplars=True)
    session.accept()

    assert {e.lesion for e in session.exemplars_for(5)} == {1}


def test_the_largest_slice_is_the_first_of_equal_ones():
    mask = Mask.from_stack(stack_of(bright_session(), 1))
    assert mask.largest_slice == mask.slices[0]

"""What must hold of any session, whatever was done with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from scipy import ndimage
from stub_sessions import digest

from mois_core.results.lesion_report import measure_lesions, totals, without_overlaps
from mois_core.session import Session
from mois_core.session.embeddings import HOST
from mois_core.session.exemplars import candidates
from mois_core.session.lesion import Lesion, Status
from mois_core.session.masks import Mask
from mois_core.session.session_file import restore, to_bytes
from mois_core.session.state import State
from mois_core.session.state_size import difference

CONNECTED = np.ones((3, 3), dtype=bool)


def assert_sound(session: Session) -> None:
    """Assert all that can be seen in the present state, and that memory is counted as it is."""
    assert_identifiers_are_sound(session.state)
    for lesion in session.lesions:
        assert_lesion_is_sound(session, lesion)
    assert_label_map_and_report_agree(session)
    assert_bank_is_sound(session)
    assert_memory_is_counted(session)


def assert_identifiers_are_sound(state: State) -> None:
    """Assert that no number is given twice, and that each refers to something."""
    assert list(state.lesions) == sorted(state.lesions)
    assert all(lesion_id == lesion.id for lesion_id, lesion in state.lesions.items())
    assert all(1 <= lesion_id <= state.last_id for lesion_id in state.lesions)
    clicks = [click.id for lesion in state.lesions.values() for click in lesion.clicks]
    assert len(clicks) == len(set(clicks))
    assert all(state.find_click(click)[1].id == click for click in clicks)
    orders = [
        prompt.order for le in state.lesions.values() for prompt in (*le.boxes, *le.paintings)
    ]
    assert all(0 < number < state.next_click for number in (*clicks, *orders))
    assert set(clicks).isdisjoint(orders)
    assert all(lesion.changed <= state.clock for lesion in state.lesions.values())
    imported = [exemplar.lesion for exemplar in state.imported]
    assert len(imported) == len(set(imported))
    assert all(number <= 0 for number in imported)


def assert_lesion_is_sound(session: Session, lesion: Lesion) -> None:
    """Assert that mask, memories and prompts of a lesion fit the scan and each other."""
    more = [part.mask for part in (lesion.absorbed, lesion.origin) if part is not None]
    for mask in (lesion.mask, *more):
        assert_mask_lies_in_scan(session, mask)
    if not lesion.has_prompts and lesion.status in (Status.FOUND, Status.ACCEPTED):
        assert lesion.mask, "an empty finding"
    outline = lesion.outlined
    if lesion.absorbed is not None:
        assert lesion.absorbed.mask, "nothing absorbed is None"
        assert lesion.absorbed.replaced <= lesion.absorbed.mask.planes.keys()
        counting = lesion.absorbed.counting
        assert outline.voxels + counting.voxels == lesion.mask.voxels, "absorbed, but no part of it"
        assert not lesion.is_as_given
    assert set(lesion.prompted).isdisjoint(lesion.propagated)
    assert set(lesion.painted).isdisjoint(lesion.propagated)
    prompts = {prompt.slice for prompt in lesion.prompts}
    assert prompts <= {*lesion.prompted, *lesion.painted}
    for slice_index in (*prompts, *lesion.prompted, *lesion.propagated):
        assert 0 <= slice_index < session.stack.count
    for slice_index in lesion.painted:
        drawn = max((p for p in lesion.paintings if p.slice == slice_index), key=lambda p: p.order)
        same = np.array_equal(drawn.image(lesion.mask.shape), lesion.mask.image(slice_index))
        assert same, f"slice {slice_index} of lesion {lesion.id} is not as painted"
    if session.settings.connected and not session.reference:
        for slice_index in prompts:
            assert_parts_are_meant(lesion, slice_index, outline.image(slice_index))


def assert_mask_lies_in_scan(session: Session, mask: Mask) -> None:
    """Assert that a mask has no slice without a voxel and none outside the scan."""
    rows, columns = session.stack.shape
    for slice_index, plane in mask:
        assert 0 <= slice_index < session.stack.count
        assert 0 <= plane.row <= rows - plane.pixels.shape[0]
        assert 0 <= plane.column <= columns - plane.pixels.shape[1]
        assert plane.pixels.dtype == bool
        assert plane.pixels.any()


def assert_parts_are_meant(lesion: Lesion, slice_index: int, image: np.ndarray) -> None:
    """Assert that each connected part of a slice holds a box or is the one nearest to a click.

    A further prompt leaves alone what was there before it, so this holds for the first one.
    """
    if len(lesion.prompts) > 1 or lesion.origin is not None:
        return
    clicks = [click for click in lesion.clicks_on(slice_index) if click.positive]
    box = lesion.box_on(slice_index)
    if not image.any() or not (clicks or box):
        return
    parts, count = ndimage.label(image, structure=CONNECTED)
    places = np.argwhere(image)
    meant = set()
    for click in clicks:
        apart = np.square(places - (click.y, click.x)).sum(axis=1)
        meant |= {parts[tuple(place)] for place in places[apart == apart.min()]}
    if box:
        x0, y0, x1, y1 = (round(edge) for edge in (box.x0, box.y0, box.x1, box.y1))
        meant |= set(np.unique(parts[y0 : y1 + 1, x0 : x1 + 1]))
    assert set(range(1, count + 1)) <= meant, "a part that nothing points at"


def assert_label_map_and_report_agree(session: Session) -> None:
    """Assert that label map, masks and table say the same, and that no voxel counts twice."""
    labels, stack = session.labels(), session.stack
    assert labels.shape == session.volume.array.shape
    counting = [lesion for lesion in session.lesions if lesion.status.counts]
    shown = np.zeros(labels.shape, dtype=bool)
    for lesion in counting:
        mask = session.mask(lesion.id)
        assert mask.sum() == lesion.mask.voxels
        shown |= mask
        assert mask[labels == lesion.id].all()
    assert np.array_equal(labels > 0, shown)
    alone = {lesion.id: lesion.mask for lesion in without_overlaps(stack, session.lesions)}
    table = measure_lesions(stack, session.lesions)
    assert [row.lesion for row in table] == list(session.state.lesions)
    voxel = session.volume.voxel_volume_cm3
    values = stack.from_volume(labels)
    for row in table:
        lesion = session.lesion(row.lesion)
        own = values == row.lesion
        if not lesion.status.counts:
            own = stack.from_volume(session.mask(row.lesion))
        elif own.any():
            assert alone[row.lesion].same_as(Mask.from_stack(own))
        assert (row.status, row.clicks) == (lesion.status.value, len(lesion.clicks))
        assert row.voxels == own.sum()
        assert row.slices == own.any(axis=(1, 2)).sum()
        assert np.isclose(row.volume_cm3, own.sum() * voxel, rtol=1e-9)
        if row.voxels:
            assert np.isclose(row.mean, stack.array[own].mean())
    found = totals(table)
    assert np.isclose(found.burden_cm3, (labels > 0).sum() * voxel, rtol=1e-9)
    assert found.count == len(np.unique(labels[labels > 0]))


def assert_bank_is_sound(session: Session) -> None:
    """Assert that exemplars are of lesions that are there, and chosen by the rule."""
    settings = session.settings
    sure = (Status.PROMPTED, Status.ACCEPTED)
    known = {lesion.id for lesion in session.lesions if lesion.status in sure}
    offered = candidates(session.lesions, session.state.imported)
    for slice_index in (0, session.stack.count - 1):
        bank = session.exemplars_for(slice_index)
        keys = [exemplar.key for exemplar in bank]
        assert len(bank) <= settings.exemplars
        assert len(set(keys)) == len(keys)
        assert all(exemplar.lesion in known or exemplar.lesion <= 0 for exemplar in bank)
        assert all(exemplar.view.memory is not None for exemplar in bank)
        assert all(0 <= exemplar.view.slice < session.stack.count for exemplar in bank)
        prompted = sum(exemplar.view.is_prompted for exemplar in offered)
        accepted = settings.accepted_as_exemplars and not session.reference
        chosen = sum(exemplar.view.is_prompted for exemplar in bank)
        least = min(prompted, settings.exemplars)
        assert chosen >= least if accepted else chosen == least


def assert_memory_is_counted(session: Session) -> None:
    """Assert that what slices and undo are said to take is what they take, within budgets."""
    embeddings, history = session.embeddings, session.history
    for cache in (embeddings._on_device, embeddings._on_host):
        entries = cache._entries.values()
        queries = [query.nbytes for entry in entries for query in entry.queries.values()]
        assert cache.query_nbytes == sum(queries)
        assert cache.nbytes == sum(entry.features.nbytes for entry in entries) + sum(queries)
    if embeddings.is_on_host:
        assert embeddings.nbytes <= embeddings.host_budget or embeddings.ready <= 1
    else:
        on_device = len(embeddings._on_device)
        assert embeddings.device_nbytes <= embeddings.device_budget or on_device <= 1
        assert embeddings.host_nbytes <= embeddings.host_budget
    past = [*(state for _, state in history.past), history.present]
    future = [history.present, *(state for _, state in reversed(history.future))]
    held = sum(difference(*pair).before for pair in pairwise(past))
    assert history.nbytes == held + sum(difference(*pair).after for pair in pairwise(future))


def assert_search_is_sound(
    session: Session,
    before: State,
    found: Sequence[int],
    inside: np.ndarray | None = None,
    outside: np.ndarray | None = None,
) -> None:
    """Assert what a search may do to a state: replace undecided findings, and little else."""
    state, settings = session.state, session.settings
    allowed = np.ones(session.stack.array.shape, dtype=bool)
    if inside is not None:
        allowed &= session.stack.from_volume(inside) != 0
    if outside is not None:
        allowed &= session.stack.from_volume(outside) == 0
    undecided = {n for n, lesion in state.lesions.items() if lesion.status is Status.FOUND}
    assert list(found) == list(dict.fromkeys(found))
    assert undecided == set(found)
    taken = np.zeros(allowed.shape, dtype=bool)
    for lesion_id, lesion in before.lesions.items():
        if lesion.status is Status.FOUND:
            continue
        now = state.lesion(lesion_id)
        now.mask.paint(taken, True)
        takes = settings.absorb and not session.reference and lesion.status is Status.PROMPTED
        if not takes or lesion.is_as_given:
            assert now is lesion
            continue
        assert_only_absorbed_differs(lesion, now)
        if now.absorbed is not None and now.absorbed is not lesion.absorbed:
            assert now.absorbed.mask.read(allowed).all(), "absorbed outside the region"
    smallest = settings.smallest_cm3 / session.volume.voxel_volume_cm3
    for lesion_id in found:
        mask = state.lesion(lesion_id).mask
        assert mask.voxels >= max(1, np.ceil(smallest))
        assert not mask.read(taken).any(), "a finding on another lesion"
        assert mask.read(allowed).all(), "a finding outside the region"
        mask.paint(taken, True)


def assert_only_absorbed_differs(before: Lesion, after: Lesion) -> None:
    """Assert that a lesion is as it was but for what a search marks around it."""
    was, now = vars(before), vars(after)
    assert {key for key in was if was[key] is not now[key]} <= {"mask", "absorbed"}
    assert before.outlined.same_as(after.outlined)


def assert_same_when_reopened(session: Session) -> Session:
    """Assert that a session file holds everything, and return the session that it opens as."""
    content = to_bytes(session)
    reopened = restore(content, session.model, session.volume)
    assert digest(reopened.state) == digest(session.state)
    assert to_bytes(reopened) == content
    return reopened


def assert_taking_back_leaves_no_trace(
    session: Session, lesion_id: int, ras: np.ndarray, positive: bool
) -> None:
    """Assert that a lesion is the same with and without a click that was made and taken back.

    Where it has clicks of its own, it is rebuilt before by moving one of them to where it is.
    """
    lesion = session.lesion(lesion_id)
    own = next((click for click in lesion.clicks if click in lesion.prompts), None)
    if own is not None:
        session.move_click(own.id, session.stack.point_to_ras(own.slice, own.x, own.y))
    before = session.lesion(lesion_id)
    made = session.state.next_click
    session.click(ras, positive, lesion_id)
    session.delete_click(made)
    after = session.lesion(lesion_id)
    if not before.prompts:
        # What a lesion without prompts began with is what it is.
        before, after = (replace(le, origin=None) for le in (before, after))
    assert digest(replace(after, changed=0)) == digest(replace(before, changed=0))


def is_on_device(session: Session) -> bool:
    """Whether the network has memory of its own."""
    return session.model.device != HOST

"""Whatever a user does in whatever order, the session stays sound."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from engine_fixtures import Block, scan_of, volume_of
from small_networks import MOIS, lively
from stub_network import StubNetwork
from stub_sessions import digest, ras

from mois_core.errors import BadInput, Cancelled
from mois_core.network.exemplar import MoisSam2
from mois_core.progress import CancelToken
from mois_core.session import NewClick, Session
from mois_core.session.exemplars import candidates
from mois_core.session.lesion import Status
from mois_core.session.session_file import restore, to_bytes
from mois_core.session.state import Settings, State

pytestmark = pytest.mark.usefixtures("one_thread")

SEQUENCES, LENGTH = 36, 60
"""More than two thousand operations."""

SLICES, SIDE = 8, 32
BLOCKS = (
    Block((1, 6), (6, 13), (5, 12)),
    Block((2, 5), (20, 27), (4, 10)),
    Block((5, 7), (8, 12), (22, 27)),
    Block((1, 7), (20, 27), (20, 27), 110),
)


class Life:
    """A session and someone who does anything with it, also what is not allowed."""

    def __init__(self, seed: int, model: MoisSam2 | None = None) -> None:
        self.random = Random(seed)
        self.session = Session(
            model or StubNetwork(),
            volume_of(scan_of(*BLOCKS, slices=SLICES)),
            Settings(
                propagation_slices=self.random.randrange(4),
                exemplars=self.random.randint(1, 10),
                findings=self.random.choice(["components", "reprompted"]),
                smallest_cm3=self.random.choice([0, 0.1]),
            ),
            reference=seed % 6 == 5,
        )
        self.operations = {
            name.removeprefix("do_"): getattr(self, name)
            for name in dir(self)
            if name.startswith("do_")
        }
        self.done: list[str] = []
        self.refused = 0

    # ---- anything ------------------------------------------------------------------------------

    def place(self):
        """Mostly in or near a lesion, sometimes anywhere, now and then outside."""
        random, kind = self.random, self.random.random()
        if kind < 0.05:
            return ras(self.session, random.uniform(-3, SLICES + 3), -20, random.uniform(0, SIDE))
        if kind < 0.25:
            return ras(
                self.session,
                random.uniform(-0.49, SLICES - 0.51),
                random.uniform(-0.49, SIDE - 0.51),
                random.uniform(-0.49, SIDE - 0.51),
            )
        block = random.choice(BLOCKS)
        return ras(self.session, *(random.uniform(a, b - 1) for a, b in self.extents(block)))

    @staticmethod
    def extents(block):
        return block.slices, block.rows, block.columns

    def lesion_id(self):
        """Mostly a lesion that is there, sometimes a new one, now and then nonsense."""
        kind = self.random.random()
        known = list(self.session.state.lesions)
        if kind < 0.05:
            return self.random.choice([-1, 0, 65536, 4000])
        return self.random.choice(known) if known else 1

    def lesion_ids(self):
        return [self.lesion_id() for _ in range(self.random.randint(0, 3))]

    def click_id(self):
        clicks = [c.id for lesion in self.session.lesions for c in lesion.clicks]
        return self.random.choice(
            [*clicks, 0, 999] if self.random.random() < 0.2 else clicks or [1]
        )

    def mask(self):
        stack = np.zeros((SLICES, SIDE, SIDE), dtype=bool)
        for _ in range(self.random.randint(0, 3)):
            (s0, s1), (r0, r1), (c0, c1) = self.extents(self.random.choice(BLOCKS))
            drop = self.random.randint(0, 3)
            stack[s0 : s1 - drop // 2, r0 : r1 - drop, c0:c1] = True
        if self.random.random() < 0.05:
            stack = stack[1:]
        return self.session.stack.to_volume(stack) if len(stack) == SLICES else stack

    # ---- operations ----------------------------------------------------------------------------

    def do_new_lesion(self):
        self.session.new_lesion("one", self.random.choice([None, None, self.lesion_id()]))

    def do_click(self):
        lesion = self.random.choice([None, self.lesion_id(), self.lesion_id()])
        positive, propagate = self.random.random() < 0.7, self.random.random() < 0.8
        self.session.click(self.place(), positive, lesion, propagate)

    def do_clicks(self):
        new = [
            NewClick(self.place(), self.random.random() < 0.8, self.random.choice([None, n]))
            for n in self.lesion_ids()
        ]
        self.session.clicks(new)

    def do_move_click(self):
        self.session.move_click(self.click_id(), self.place())

    def do_delete_click(self):
        self.session.delete_click(self.click_id(), propagate=self.random.random() < 0.8)

    def do_box(self):
        first = self.place()
        second = self.place()
        if self.random.random() < 0.8:  # on the same slice
            second[1] = first[1]
        self.session.box(first, second, self.random.choice([None, self.lesion_id()]))

    def do_set_mask(self):
        self.session.set_mask(self.random.choice([None, self.lesion_id()]), self.mask())

    def do_add_lesions(self):
        self.session.add_lesions(self.mask() * self.random.randint(1, 12))

    def do_propagate(self):
        self.session.propagate(self.random.choice([None, self.lesion_ids()]), joined=False)

    def do_find_similar(self):
        region = self.random.choice([None, None, self.mask()])
        how = self.random.choice(["inside", "outside"])
        self.session.find_similar(use_exemplars=self.random.random() < 0.7, **{how: region})

    def do_cancel(self):
        token = CancelToken()
        left = [self.random.randint(0, 4)]

        def progress(*told):
            left[0] -= 1
            if left[0] < 0:
                token.cancel()

        how = {"progress": progress, "cancel": token}
        if self.random.random() < 0.5:
            self.session.click(self.place(), **how)
        else:
            self.session.find_similar(**how)

    def do_accept(self):
        self.session.accept(*self.lesion_ids())

    def do_reject(self):
        self.session.reject(*self.lesion_ids())

    def do_reconsider(self):
        self.session.reconsider(*self.lesion_ids())

    def do_rename(self):
        self.session.rename(self.lesion_id(), self.random.choice(["", "a", "ä\n"]))

    def do_delete(self):
        self.session.delete(self.lesion_id())

    def do_merge(self):
        self.session.merge(*self.lesion_ids())

    def do_split(self):
        self.session.split(self.lesion_id())

    def do_add_exemplars(self):
        mask = self.mask()
        self.session.add_exemplars(mask * self.random.randint(1, 3))

    def do_clear_exemplars(self):
        self.session.clear_exemplars()

    def do_undo(self):
        self.session.undo()

    def do_redo(self):
        self.session.redo()

    # ---- one step and what must hold -----------------------------------------------------------

    def step(self):
        session = self.session
        before, content, past = session.state, digest(session.state), len(session.history.past)
        future = list(session.history.future)
        name = self.random.choice([*self.operations, "click", "click", "set_mask", "find_similar"])
        self.done.append(name)
        try:
            self.operations[name]()
        except (BadInput, Cancelled) as error:
            self.refused += 1
            assert "\n" not in str(error)
            assert session.state is before
            assert len(session.history.past) == past
            assert session.history.future == future
        assert digest(before) == content, "a state was changed in place"
        if name not in ("undo", "redo") and session.state is not before:
            self.check_undo(before, content)
        self.check_lesions(before, name)
        self.check_masks()
        self.check_bank()

    def check_undo(self, before, content):
        session = self.session
        after, now = session.state, digest(session.state)
        assert session.undo()
        assert session.state is before
        assert digest(session.state) == content
        session.redo()
        assert session.state is after
        assert digest(session.state) == now

    def check_lesions(self, before, name):
        state = self.session.state
        assert list(state.lesions) == sorted(state.lesions)
        assert all(lesion_id == lesion.id for lesion_id, lesion in state.lesions.items())
        assert state.last_id >= max(state.lesions, default=0)
        clicks = [click.id for lesion in self.session.lesions for click in lesion.clicks]
        assert len(clicks) == len(set(clicks))
        assert max(clicks, default=0) < state.next_click
        if name in ("undo", "redo"):
            return
        assert state.last_id >= before.last_id
        assert state.next_click >= before.next_click
        new = set(state.lesions) - set(before.lesions)
        asked_for_by_id = name in (
            *("new_lesion", "click", "clicks", "box", "set_mask", "add_lesions"),
        )
        assert asked_for_by_id or all(lesion_id > before.last_id for lesion_id in new)

    def check_masks(self):
        session = self.session
        shown = np.zeros((SLICES, SIDE, SIDE), dtype=bool)
        for lesion in session.lesions:
            for slice_index, plane in lesion.mask:
                assert 0 <= slice_index < SLICES
                assert plane.row >= 0 and plane.row + plane.pixels.shape[0] <= SIDE
                assert plane.column >= 0 and plane.column + plane.pixels.shape[1] <= SIDE
                assert plane.pixels.any()
            if lesion.status.counts:
                lesion.mask.paint(shown, True)
            assert set(lesion.prompted).isdisjoint(lesion.propagated)
            assert all(
                slice_index in lesion.prompted or slice_index in lesion.painted
                for slice_index in {prompt.slice for prompt in lesion.prompts}
            )
        labels = session.labels()
        counting = {le.id for le in session.lesions if le.status.counts}
        assert labels.shape == session.volume.array.shape
        assert set(np.unique(labels)) - {0} <= counting
        assert np.array_equal(session.stack.from_volume(labels) > 0, shown)

    def check_bank(self):
        session = self.session
        most = session.settings.exemplars
        counting = {
            le.id for le in session.lesions if le.status in (Status.PROMPTED, Status.ACCEPTED)
        }
        offered = candidates(session.lesions, session.state.imported)
        for slice_index in (0, SLICES - 1):
            bank = session.exemplars_for(slice_index)
            keys = [exemplar.key for exemplar in bank]
            assert len(bank) <= most
            assert len(set(keys)) == len(keys)
            assert all(e.lesion in counting or e.lesion <= 0 for e in bank)
            assert all(e.view.memory is not None for e in bank)
            prompted = sum(e.view.is_prompted for e in offered)
            assert sum(e.view.is_prompted for e in bank) == min(prompted, most)

    def check_file(self):
        session = self.session
        content = to_bytes(session)
        restored = restore(content, session.model, session.volume)
        assert digest(restored.state) == digest(session.state)
        assert to_bytes(restored) == content

    def live(self, length):
        start = self.session.state
        for step_index in range(length):
            try:
                self.step()
            except Exception as error:
                raise AssertionError(f"step {step_index}: {self.done[-5:]}") from error
            if step_index % 20 == 19:
                self.check_file()
        assert self.refused < length / 2
        while self.session.undo():
            pass
        assert self.session.state is start
        assert digest(start) == digest(State())


@pytest.mark.parametrize("seed", range(SEQUENCES))
def test_any_sequence_of_operations_keeps_the_session_sound(seed):
    Life(seed).live(LENGTH)


@pytest.mark.parametrize("seed", range(3))
def test_any_sequence_of_operations_keeps_a_session_of_a_real_network_sound(seed):
    Life(seed, lively(MOIS)).live(LENGTH // 2)


def test_the_sequences_together_are_long_and_leave_no_operation_out():
    assert SEQUENCES * LENGTH >= 2000
    lives = [Life(seed) for seed in range(4)]
    for life in lives:
        for _ in range(LENGTH):
            life.step()

    assert {name for life in lives for name in life.done} == set(lives[0].operations)

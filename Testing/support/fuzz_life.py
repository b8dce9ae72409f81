"""A session's life: any operations, disturbed now and then, with what must hold after each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from weakref import WeakKeyDictionary

import torch
from fuzz_scans import any_case, any_settings
from fuzz_user import AnyUser
from session_invariants import (
    assert_same_when_reopened,
    assert_sound,
    assert_taking_back_leaves_no_trace,
    is_on_device,
)
from stub_sessions import digest

from mois_core.errors import BadInput, Cancelled
from mois_core.network.model import Sam2
from mois_core.session import Session
from mois_core.session.lesion import Status
from mois_core.session.state import State

LARGE = 512
"""Networks for larger images get few slices and are checked less often."""

STAGES = (
    *("encode", "decode", "remember", "decode_mask", "decode_search", "memory_query"),
    *("memory_keys", "attend_to_memory", "exemplar_query", "exemplar_keys", "attend_to_exemplars"),
)
"""Stages of a network that may run out of memory."""

FAVOURITES = ("click", "click", "box", "set_mask", "find_similar", "find_similar", "reject")
"""Operations that are done more often than others."""

CALM, CANCELLED, FULL = "calm", "cancelled", "full"


class Life:
    """A session on any scan with any settings, and someone who does anything with it."""

    def __init__(self, seed: int, model: Sam2) -> None:
        self.random = Random(seed)
        self.is_large = max(model.config.image_size) > LARGE
        case = any_case(self.random, self.is_large)
        settings = any_settings(self.random, self.is_large)
        is_reference = self.random.random() < 0.15
        self.session = Session(model, case.volume, settings, is_reference)
        self.notices: list[str] = []
        if self.random.random() < 0.7:
            self.session.on_notice = self.notices.append
        self.user = AnyUser(self.random, self.session, case)
        self.twin: Session | None = None
        """What was opened from a file, on which the same is done for a while."""
        self.start = self.session.state
        """The state that undo leads back to in the end."""
        self.digests: WeakKeyDictionary[State, str] = WeakKeyDictionary()
        self.done: list[str] = []
        """The operations so far, refused ones included."""
        self.outcomes: Counter[str] = Counter()
        self.successes: Counter[str] = Counter()
        self._known(self.start)

    def live(self, length: int) -> None:
        """Do operations, and then go all the way back and forth."""
        for index in range(length):
            try:
                self.step()
            except Exception as error:
                last = ", ".join(self.done[-5:])
                raise AssertionError(f"operation {index} of {length} (the last: {last})") from error
        self.go_back_and_forth()

    def step(self) -> None:
        """Do one operation, and check everything."""
        name = self.random.choice([*self.user.operations(), *FAVOURITES])
        disturbance = self.random.choices((CALM, CANCELLED, FULL), (7, 2, 1))[0]
        self.done.append(name if disturbance == CALM else f"{name} ({disturbance})")
        history = self.session.history
        before, past, future = history.present, list(history.past), list(history.future)
        semantic = self.session.semantic
        dice = self.random.getstate()
        refusal, touched = self.attempt(name, disturbance)
        assert digest(before) == self._known(before), "a state was changed in place"
        self._known(history.present)
        if refusal is None:
            self.successes[name] += 1
            self.check_the_rest(before, name, touched)
        else:
            assert "\n" not in refusal
            assert history.present is before
            assert (history.past, history.future) == (past, future)
            assert self.session.semantic is semantic
        if name in ("undo", "redo", "adjust"):
            self.check_where_history_leads()
        elif refusal is None and history.present is not before:
            assert history.future == []
            self.check_undo(before)
            if disturbance != CALM and history.past[-1][1] is before:
                self.check_it_is_the_same_undisturbed(name, dice)
        assert all(notice and "\n" not in notice for notice in self.notices)
        self.check_how_far_back_history_leads()
        assert_sound(self.session)
        self.go_on_with_twin(name, refusal, dice)

    def attempt(self, name: str, disturbance: str = CALM) -> tuple[str | None, set[int]]:
        """Do an operation; return why it was refused, if it was, and the lesions it is about."""
        self.user.patience = None
        if disturbance == CANCELLED:
            self.user.patience = self.random.randint(0, 3)
        failing = self._full_memory() if disturbance == FULL else _nothing_else()
        try:
            with failing:
                touched = self.user.do(name)
        except (BadInput, Cancelled) as error:
            self.outcomes["cancelled" if isinstance(error, Cancelled) else "refused"] += 1
            return str(error), set()
        finally:
            self.user.patience = None
        self.outcomes["done"] += 1
        return None, touched

    @contextmanager
    def _full_memory(self) -> Iterator[None]:
        """Have a stage of the network run out of memory, once or as often as it is tried."""
        model = self.session.model
        stage = self.random.choice([stage for stage in STAGES if hasattr(model, stage)])
        after, times = self.random.randint(0, 3), self.random.choice([1, 1, 2, 10**6])
        error = MemoryError()
        if is_on_device(self.session):
            error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        works, calls = getattr(model, stage), Counter()

        def fails(*args, **kwargs):
            calls[stage] += 1
            if after < calls[stage] <= after + times:
                raise error
            return works(*args, **kwargs)

        setattr(model, stage, fails)
        try:
            yield
        finally:
            delattr(model, stage)

    # ---- what must hold ------------------------------------------------------------------------

    def _known(self, state: State) -> str:
        """The checksum of a state when it was first seen."""
        if state not in self.digests:
            self.digests[state] = digest(state)
        return self.digests[state]

    def check_the_rest(self, before: State, name: str, touched: set[int]) -> None:
        """Check that nothing changed but what the operation is about."""
        now = self.session.state
        if name in ("undo", "redo"):
            return
        if name in ("adjust", "prepare"):
            assert now is before
        rest = (before.lesions.keys() | now.lesions.keys()) - touched
        for lesion_id in rest:
            assert now.lesions.get(lesion_id) is before.lesions.get(lesion_id)
        if name not in ("add_exemplars", "clear_exemplars"):
            assert now.imported is before.imported
        assert now.last_id >= before.last_id
        assert now.next_click >= before.next_click
        assert now.clock >= before.clock
        chosen_by_user = ("new_lesion", "click", "clicks", "box", "set_mask", "add_lesions")
        new = now.lesions.keys() - before.lesions.keys()
        assert name in chosen_by_user or all(lesion_id > before.last_id for lesion_id in new)

    def check_undo(self, before: State) -> None:
        """Check that the last step can be taken back and done again, bit for bit."""
        session, after = self.session, self.session.state
        what, to = session.history.past[-1]
        assert session.undo() == what
        assert session.state is to
        assert digest(session.state) == self._known(to)
        assert session.redo() == what
        assert session.state is after
        assert digest(session.state) == self._known(after)
        budget = session.history.budget
        assert len(session.history.past) == 1 or session.history.nbytes <= budget

    def check_where_history_leads(self) -> None:
        state = self.session.state
        assert digest(state) == self._known(state)

    def check_how_far_back_history_leads(self) -> None:
        """Check that no step was forgotten without a budget that says so."""
        past = self.session.history.past
        oldest = past[0][1] if past else self.session.state
        assert oldest is self.start or self.session.settings.undo_budget is not None
        self.start = oldest

    def check_it_is_the_same_undisturbed(self, name: str, dice: object) -> None:
        """Check that an operation that memory was too small for at first came out the same."""
        after = digest(self.session.state)
        self.session.undo()
        refusal, _ = self._again(name, dice)
        assert refusal is None
        self._known(self.session.state)
        assert digest(self.session.state) == after
        self.outcomes["the same undisturbed"] += 1

    def _again(self, name: str, dice: object) -> tuple[str | None, set[int]]:
        """Do an operation again with the same arguments, in peace."""
        now, outcomes = self.random.getstate(), self.outcomes.copy()
        self.random.setstate(dice)
        disturbance = self.done[-1].removeprefix(name).strip(" ()")
        if disturbance == CANCELLED:
            self.random.randint(0, 3)
        elif disturbance == FULL:
            with self._full_memory():
                pass
        try:
            return self.attempt(name)
        finally:
            self.outcomes = outcomes
            self.random.setstate(now)

    def go_on_with_twin(self, name: str, refusal: str | None, dice: object) -> None:
        """Do the same on a session that was opened from a file; open one now and then."""
        if self.twin is not None:
            if name in ("undo", "redo") or self.done[-1] != name or self.random.random() < 0.1:
                self.twin = None
                return
            self.session, self.twin = self.twin, self.session
            self.user.session = self.session
            same, _ = self._again(name, dice)
            self.session, self.twin = self.twin, self.session
            self.user.session = self.session
            assert same == refusal
            assert digest(self.twin.state) == digest(self.session.state)
            self.outcomes["the same reopened"] += 1
        elif self.random.random() < (0.02 if self.is_large else 0.05):
            self.twin = assert_same_when_reopened(self.session)
            self.check_taking_back(assert_same_when_reopened(self.session))

    def check_taking_back(self, session: Session) -> None:
        """Check that a click that is taken back leaves no trace, on a copy of the session."""
        lesion_ids = [
            lesion.id
            for lesion in session.lesions
            if lesion.status is not Status.REJECTED
            and (
                any(click in lesion.prompts for click in lesion.clicks)
                or not (lesion.prompts or lesion.propagated)
            )
        ]
        place, positive = self.user.place(), self.random.random() < 0.6
        if lesion_ids and session.stack.contains(place):
            lesion_id = self.random.choice(lesion_ids)
            assert_taking_back_leaves_no_trace(session, lesion_id, place, positive)
            self.outcomes["taken back"] += 1

    def go_back_and_forth(self) -> None:
        """Undo everything and redo everything, bit for bit."""
        session, end = self.session, self.session.state
        ahead, steps = len(session.history.future), 0
        while session.undo():
            self.check_where_history_leads()
            steps += 1
        assert session.state is self.start
        for _ in range(steps):
            assert session.redo()
            self.check_where_history_leads()
        assert session.state is end
        assert len(session.history.future) == ahead
        assert_sound(session)


@contextmanager
def _nothing_else() -> Iterator[None]:
    yield

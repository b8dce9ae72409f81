"""Someone who does anything with a session, also what is not allowed, and looks at what came of it.

There is a method ``do_NAME`` for each operation ``NAME`` of `Session`. It returns the ids of the
lesions that the operation may have changed; all others must be the very same objects as before.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import numpy as np
from engine_fixtures import Block
from fuzz_scans import Case, any_budgets, any_case
from session_invariants import assert_search_is_sound

from mois_core.progress import CancelToken
from mois_core.session import NewClick, Session
from mois_core.session.components import connected_components
from mois_core.session.lesion import Status

LAST_ID = 65535

Touched = Iterable[int]


class GivesUp(CancelToken):
    """A token that is cancelled once it was looked at a number of times."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    def check(self) -> None:
        if self.looks == 0:
            self.cancel()
        self.looks -= 1
        super().check()


class AnyUser:
    """Does operations of a session with random arguments, mostly sensible ones."""

    def __init__(self, random: Random, session: Session, case: Case) -> None:
        self.random = random
        self.session = session
        self.case = case
        self.patience: int | None = None
        """How often the operation may look whether it is cancelled before it is."""
        self.handed_over: list[np.ndarray] = []
        """Arrays that were given to the session, which are the user's to write to again."""

    @staticmethod
    def operations() -> list[str]:
        """The names of the operations of `Session` that this user does."""
        return [name.removeprefix("do_") for name in dir(AnyUser) if name.startswith("do_")]

    def do(self, name: str) -> set[int]:
        """Do one operation, and then use the arrays that were handed over for something else."""
        self.handed_over.clear()
        try:
            return set(getattr(self, f"do_{name}")())
        finally:
            for array in self.handed_over:
                array[...] = 1 - array

    # ---- anything ------------------------------------------------------------------------------

    def perhaps(self, chance: float) -> bool:
        return self.random.random() < chance

    def place(self) -> np.ndarray:
        """Mostly in or near a lesion, sometimes anywhere, now and then outside."""
        random, kind = self.random, self.random.random()
        size = self.case.stack.array.shape
        if kind < 0.04:
            n, row, column = random.uniform(-3, size[0] + 3), -20, random.uniform(0, size[2])
        elif kind < 0.25:
            n, row, column = (random.uniform(-0.49, extent - 0.51) for extent in size)
        else:
            block = random.choice(self.case.blocks)
            n, row, column = (random.uniform(first, last - 1) for first, last in extents(block))
        return self.case.stack.point_to_ras(n, column, row)

    def lesion_id(self) -> int:
        """Mostly a lesion that is there, now and then nonsense."""
        known = list(self.session.state.lesions)
        if self.perhaps(0.03):
            return self.random.choice([-1, 0, LAST_ID + 1, 4000])
        return self.random.choice(known) if known else 1

    def lesion_or_new(self) -> int | None:
        return self.random.choice([None, self.lesion_id(), self.lesion_id()])

    def lesion_ids(self) -> list[int]:
        return [self.lesion_id() for _ in range(self.random.randint(0, 3))]

    def click_id(self) -> int:
        clicks = [c.id for lesion in self.session.lesions for c in lesion.clicks]
        return self.random.choice([*clicks, 0, 999] if self.perhaps(0.1) else clicks or [1])

    def mask(self) -> np.ndarray:
        """Some lesions, cut here and there, now and then on another grid."""
        stack = np.zeros(self.case.stack.array.shape, dtype=bool)
        for _ in range(self.random.randint(0, 3)):
            (s0, s1), (r0, r1), (c0, c1) = extents(self.random.choice(self.case.blocks))
            drop = self.random.randint(0, 3)
            stack[s0 : max(s1 - drop // 2, s0 + 1), r0 : r1 - drop, c0:c1] = True
        if self.perhaps(0.3):  # a hole
            n, r, c = (self.random.randrange(extent) for extent in stack.shape)
            stack[n, r : r + 2, c : c + 2] ^= True
        return self.handed(stack[1:] if self.perhaps(0.03) else stack)

    def handed(self, stack: np.ndarray, value: int = 1) -> np.ndarray:
        """Return a stack in the volume's own order: plain, of any type, or a view of another."""
        array = stack * self.random.choice([np.uint8, np.int16, np.uint16])(value)
        if value == 1 and self.perhaps(0.4):
            array = stack.copy()
        if array.shape == self.case.stack.array.shape:
            array = self.case.stack.to_volume(array)
        if self.perhaps(0.6):
            array = np.ascontiguousarray(array)
        self.handed_over.append(array)
        return array

    def painted_on(self, lesion_id: int | None) -> np.ndarray:
        """A lesion with a stroke of the brush or the eraser, or something else altogether."""
        if self.perhaps(0.3) or lesion_id not in self.session.state.lesions:
            return self.mask()
        if self.perhaps(0.1):
            return self.handed(np.zeros(self.case.stack.array.shape, dtype=bool))
        stack = self.case.stack.from_volume(self.session.mask(lesion_id)).copy()
        (s0, s1), (r0, r1), (c0, c1) = extents(self.random.choice(self.case.blocks))
        n, row, column = (self.random.randrange(a, b) for a, b in ((s0, s1), (r0, r1), (c0, c1)))
        is_brush = self.perhaps(0.6)
        stack[n : n + self.random.randint(1, 2), row - 2 : row + 3, column - 2 : column + 3] = (
            is_brush
        )
        return self.handed(stack)

    def how(self) -> dict:
        """How to follow an operation, and when to lose patience with it."""
        if self.patience is None:
            return {"progress": told_in_order} if self.perhaps(0.5) else {}
        return {"progress": told_in_order, "cancel": GivesUp(self.patience)}

    def spread(self) -> dict:
        return {"propagate": self.perhaps(0.8), **self.how()}

    # ---- prompts -------------------------------------------------------------------------------

    def do_new_lesion(self) -> Touched:
        name = self.random.choice(["", "one", "ä\n"])
        return {self.session.new_lesion(name, self.random.choice([None, None, self.lesion_id()]))}

    def do_click(self) -> Touched:
        lesion, place, positive = self.lesion_or_new(), self.place(), self.perhaps(0.7)
        return {self.session.click(place, positive, lesion, **self.spread())}

    def do_clicks(self) -> Touched:
        new = [
            NewClick(self.place(), self.perhaps(0.8), self.random.choice([None, lesion_id]))
            for lesion_id in self.lesion_ids()
        ]
        return self.session.clicks(new, **self.spread())

    def do_move_click(self) -> Touched:
        click, place = self.click_id(), self.place()
        lesion, _ = self.session.state.find_click(click)
        self.session.move_click(click, place, **self.spread())
        return {lesion.id}

    def do_delete_click(self) -> Touched:
        click = self.click_id()
        lesion, _ = self.session.state.find_click(click)
        self.session.delete_click(click, **self.spread())
        assert click not in {own.id for own in self.session.lesion(lesion.id).clicks}
        return {lesion.id}

    def do_delete_clicks(self) -> Touched:
        clicks = [self.click_id() for _ in range(self.random.randint(0, 3))]
        before = self.session.state
        touched = {before.find_click(click)[0].id for click in clicks}
        self.session.delete_clicks(clicks, keep_empty=self.perhaps(0.3), **self.spread())
        left = {own.id for lesion in self.session.lesions for own in lesion.clicks}
        assert left.isdisjoint(clicks)
        return touched

    def do_box(self) -> Touched:
        first, second = (self.session.stack.point_from_ras(self.place()) for _ in range(2))
        if self.perhaps(0.9):  # on the same slice
            second = (first[0], *second[1:])
        corners = [self.session.stack.point_to_ras(*corner) for corner in (first, second)]
        return {self.session.box(*corners, self.lesion_or_new(), **self.spread())}

    def do_set_mask(self) -> Touched:
        lesion = self.lesion_or_new()
        mask = self.painted_on(lesion)
        lesion = self.session.set_mask(lesion, mask)
        assert np.array_equal(self.session.mask(lesion), mask.astype(bool)), "not as painted"
        return {lesion}

    def do_add_lesions(self) -> Touched:
        mask, other = self.mask() != 0, self.mask() != 0
        values = mask * np.uint16(self.random.randint(1, 12))
        if mask.shape == other.shape:
            values[other & ~mask] = self.random.randint(1, 12)
        self.handed_over.append(values)
        lesion_ids = self.session.add_lesions(values, self.random.choice([None, {1: "first"}]))
        for lesion_id in lesion_ids:
            assert np.array_equal(self.session.mask(lesion_id), values == lesion_id)
        return lesion_ids

    def do_propagate(self) -> Touched:
        lesion_ids = self.random.choice([None, self.lesion_ids()])
        self.session.propagate(lesion_ids, joined=self.perhaps(0.3), **self.how())
        return self.session.state.lesions if lesion_ids is None else lesion_ids

    # ---- the list of lesions -------------------------------------------------------------------

    def decide(self, name: str) -> Touched:
        """Decide on lesions; nothing but their status may change."""
        lesion_ids = self.lesion_ids()
        before = self.session.state
        getattr(self.session, name)(*lesion_ids)
        for lesion_id in before.lesions:
            was, now = vars(before.lesion(lesion_id)), vars(self.session.lesion(lesion_id))
            assert {key for key in was if was[key] is not now[key]} <= {"status"}
        if name == "accept" and not lesion_ids:
            return [le.id for le in before.lesions.values() if le.status is Status.FOUND]
        return lesion_ids

    def do_accept(self) -> Touched:
        return self.decide("accept")

    def do_reject(self) -> Touched:
        return self.decide("reject")

    def do_reconsider(self) -> Touched:
        return self.decide("reconsider")

    def do_rename(self) -> Touched:
        lesion_id, name = self.lesion_id(), self.random.choice(["", "a", "ä\n"])
        self.session.rename(lesion_id, name)
        assert self.session.lesion(lesion_id).name == name
        return {lesion_id}

    def do_delete(self) -> Touched:
        lesion_ids = self.lesion_ids()[:2]
        self.session.delete(*lesion_ids)
        assert self.session.state.lesions.keys().isdisjoint(lesion_ids)
        return lesion_ids

    def do_merge(self) -> Touched:
        lesion_ids = self.lesion_ids()
        either = [self.session.mask(n) for n in lesion_ids if n in self.session.state.lesions]
        merged = self.session.merge(*lesion_ids)
        assert merged == min(lesion_ids)
        assert np.array_equal(self.session.mask(merged), np.logical_or.reduce(either))
        return lesion_ids

    def do_split(self) -> Touched:
        lesion_id = self.lesion_id()
        whole = self.session.mask(lesion_id) if lesion_id in self.session.state.lesions else None
        parts = self.session.split(lesion_id)
        masks = [self.session.mask(part) for part in parts]
        assert np.array_equal(np.add.reduce([mask.astype(int) for mask in masks]), whole)
        assert len(parts) == max(len(connected_components(whole)), 1)
        return parts

    # ---- exemplars and search ------------------------------------------------------------------

    def do_add_exemplars(self) -> Touched:
        before = self.session.state.imported
        if self.perhaps(0.5):
            labels, volume = self.mask() * np.uint8(self.random.randint(1, 3)), None
        else:
            other = any_case(self.random, is_large=len(self.case.stack.array) < 6)
            labels, volume = (other.stack.to_volume(other.stack.array > 100), other.volume)
        count = self.session.add_exemplars(labels, volume)
        assert self.session.state.imported[: len(before)] == before
        assert len(self.session.state.imported) == len(before) + count
        return ()

    def do_clear_exemplars(self) -> Touched:
        self.session.clear_exemplars()
        assert self.session.state.imported == ()
        return ()

    def do_find_similar(self) -> Touched:
        before = self.session.state
        regions = {name: self.mask() for name in ("inside", "outside") if self.perhaps(0.3)}
        if self.perhaps(0.5) and "outside" in regions:
            regions["inside"] = np.ones_like(self.case.volume.array, dtype=bool)
        found = self.session.find_similar(use_exemplars=self.perhaps(0.7), **regions, **self.how())
        assert_search_is_sound(self.session, before, found, **regions)
        return {*before.lesions, *found}

    # ---- everything else -----------------------------------------------------------------------

    def do_undo(self) -> Touched:
        for _ in range(self.random.choice([1, 1, 1, 2, 5, 100])):
            self.session.undo()
        return ()

    def do_redo(self) -> Touched:
        for _ in range(self.random.choice([1, 1, 1, 2, 5, 100])):
            self.session.redo()
        return ()

    def do_adjust(self) -> Touched:
        changes = {
            "propagation_slices": self.random.choice([None, 0, 1, 2, 3]),
            "propagation_mm": self.random.choice([0, 8, 24, -1]),
            "smallest_cm3": self.random.choice([0, 0.01, 0.1]),
            "exemplars": self.random.choice([0, 1, 3, 10]),
            **any_budgets(self.random),
        }
        if len(self.case.stack.array) < 6:
            changes["propagation_slices"] = self.random.choice([0, 1])
        chosen = self.random.sample(sorted(changes), self.random.randint(0, 3))
        self.session.adjust(**{name: changes[name] for name in chosen})
        return ()

    def do_prepare(self) -> Touched:
        self.session.prepare(self.random.randrange(self.session.stack.count), **self.how())
        return ()


def extents(block: Block) -> tuple[tuple[int, int], ...]:
    """The first and the last index of a block, along slices, rows and columns."""
    return block.slices, block.rows, block.columns


def told_in_order(done: int, total: int, what: str) -> None:
    assert 0 <= done <= total
    assert what

"""What a user can do with a scan: `Session`, the one implementation of what a click does.

The Slicer module, the command line, the evaluation and the tests all go through it.

Every operation either happens as a whole or not at all: it makes a new state from the present
one and commits it at the end. Cancelling, running out of memory and bad input therefore lose
nothing, and undo is a step back in a list.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from torch import Tensor

from mois_core.errors import BadInput
from mois_core.geometry import SliceStack, Volume
from mois_core.network.exemplar import MoisSam2
from mois_core.network.model import Sam2
from mois_core.network.model_info import ModelInfo
from mois_core.progress import CancelToken, Progress, silent
from mois_core.session.accepted import AcceptedExemplars
from mois_core.session.embeddings import Embeddings
from mois_core.session.exemplar_import import OutlinedScan, exemplars_from_labels
from mois_core.session.exemplars import Exemplar, candidates, choose, choose_as_published
from mois_core.session.findings import FindingRules, confident, lesions_after_search
from mois_core.session.history import History
from mois_core.session.intensity import normalise
from mois_core.session.lesion import BoxPrompt, Click, Lesion, Prompt, Status, painting_order
from mois_core.session.lesion_edits import LesionEditor, with_rest_of, without_clicks
from mois_core.session.masks import Mask
from mois_core.session.memory_guard import MemoryGuard
from mois_core.session.preprocess import model_input, published_input
from mois_core.session.prompt_notices import PromptNotices
from mois_core.session.prompting import Prompter
from mois_core.session.propagation import Propagator, Spread
from mois_core.session.search import Search
from mois_core.session.slice_decoder import SliceDecoder
from mois_core.session.state import MACHINE_SETTINGS, Settings, State
from mois_core.session.state_size import difference

Point = Sequence[float]
"""A place in the patient in RAS millimetres."""


class NewClick(NamedTuple):
    """One of several clicks that are made as one step; a ``lesion`` of None is a new one."""

    ras: Point
    positive: bool = True
    lesion: int | None = None


ADJUSTABLE = {
    *("propagation_mm", "propagation_slices", "smallest_cm3", "exemplars"),
    *MACHINE_SETTINGS,
}
"""The settings that can change in the middle of the work."""


LEAST_UNDO_BUDGET = 2**29
"""Bytes; more than a hundred corrections at the published network's size."""


class Session:
    """The lesions of one scan, and everything that a user can do to them."""

    def __init__(
        self,
        model: Sam2,
        volume: Volume,
        settings: Settings | None = None,
        reference: bool = False,
        model_info: ModelInfo | None = None,
    ) -> None:
        """With ``reference`` the published app's flow is followed from slice to mask."""
        self.reference = reference
        self.model_info = model_info or ModelInfo()
        self.model = model
        self.settings = (settings or Settings()).for_network(model.config, reference)
        self.volume = volume
        self.stack = SliceStack(volume, self.settings.axis)
        normalised = normalise(volume.array, self.settings.grey_window)
        self._normalised = self.stack.from_volume(normalised)
        self.embeddings = Embeddings(
            model,
            self._input,
            self.stack.count,
            self.settings.device_budget,
            self.settings.host_budget,
        )
        fill = self.settings.fill_holes and not reference
        self.decoder = SliceDecoder(self.embeddings, self.stack.shape, fill)
        self.search = Search(self.decoder, self.settings.gate)
        self.on_notice: Callable[[str], None] | None = None
        """Called with a sentence for the user when something worth knowing happens that stops
        nothing; on the thread that runs the operation."""
        self.guard = MemoryGuard(model, self.embeddings, self.search, self._tell)
        self.prompt_notices = PromptNotices(self.stack)
        self.accepted = AcceptedExemplars(self.decoder)
        heed, connected = self.settings.heed_clicks, self.settings.connected
        self.editor = LesionEditor(
            Prompter(self.decoder, heed and not reference, reference, connected and not reference),
            Propagator(self.decoder, reference, connected and not reference),
            self.settings.reach(self.stack.slice_spacing),
        )
        self.history = History(State(), self._undo_budget(), difference)
        self.semantic: np.ndarray | None = None
        """What the last search marked [slices, rows, columns], before it became lesions."""

    def adjust(self, **changes: object) -> None:
        """Change those settings that can change in the middle of the work, see `ADJUSTABLE`.

        What was done stays as it is, and no step can undo this. Settings that make no sense are
        refused as a whole.
        """
        unknown = changes.keys() - ADJUSTABLE
        if unknown:
            raise BadInput(f"{', '.join(sorted(unknown))} cannot change in the middle of the work")
        settings = replace(self.settings, **changes)
        self.settings = settings.for_network(self.model.config, self.reference)
        self.editor.propagation_slices = self.settings.reach(self.stack.slice_spacing)
        if not changes.keys().isdisjoint(MACHINE_SETTINGS):
            self.embeddings.set_budgets(self.settings.device_budget, self.settings.host_budget)
            self.history.budget = self._undo_budget()

    def _undo_budget(self) -> int:
        """Return the bytes that steps to be undone may take."""
        if self.settings.undo_budget is not None:
            return self.settings.undo_budget
        return max(self.embeddings.host_budget // 8, LEAST_UNDO_BUDGET)

    # ---- looking ---------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The present state."""
        return self.history.present

    @property
    def lesions(self) -> tuple[Lesion, ...]:
        """All lesions in the order of their ids, rejected ones included."""
        return tuple(self.state.lesions.values())

    def lesion(self, lesion_id: int) -> Lesion:
        """Return one lesion."""
        return self.state.lesion(lesion_id)

    def labels(self) -> np.ndarray:
        """Return label values (the lesions' ids) in the volume's own order [k, j, i].

        Where lesions overlap, what the user pointed at wins over what was found.
        """
        stack = np.zeros(self.stack.array.shape, dtype=np.uint16)
        for lesion in painting_order(self.lesions):
            lesion.mask.paint(stack, lesion.id)
        return self.stack.to_volume(stack)

    def mask(self, lesion_id: int) -> np.ndarray:
        """Return one lesion's mask in the volume's own order [k, j, i]."""
        stack = np.zeros(self.stack.array.shape, dtype=bool)
        self.lesion(lesion_id).mask.paint(stack, True)
        return self.stack.to_volume(stack)

    def exemplars_for(self, slice_index: int) -> list[Exemplar]:
        """Return the exemplars that a slice would be searched with now."""
        rule = choose_as_published if self.reference else choose
        offered = candidates(self.lesions, self.state.imported)
        if self.settings.accepted_as_exemplars and not self.reference:
            offered += self.guard.run(lambda: self.accepted.of(self.lesions))
        return rule(offered, slice_index, self.settings.exemplars)

    def prepare(
        self, start: int = 0, progress: Progress = silent, cancel: CancelToken | None = None
    ) -> None:
        """Encode all slices ahead of the clicks, nearest to ``start`` first."""
        self.guard.run(lambda: self.embeddings.prepare(start, progress, cancel))

    # ---- prompts ---------------------------------------------------------------------------

    def new_lesion(self, name: str = "", lesion_id: int | None = None) -> int:
        """Begin a lesion and return its id; it has no mask before the first click."""
        state = self.state
        lesion_id = state.next_id if lesion_id is None else lesion_id
        if lesion_id in state.lesions:
            raise BadInput(f"there is a lesion number {lesion_id} already")
        lesion = Lesion(lesion_id, Status.PROMPTED, Mask(self.stack.shape), name)
        self.history.commit("new lesion", state.with_lesions(lesion))
        return lesion_id

    def click(
        self,
        ras: Point,
        positive: bool = True,
        lesion: int | None = None,
        propagate: bool = True,
        progress: Progress = silent,
        cancel: CancelToken | None = None,
    ) -> int:
        """Point at a lesion, or at what does not belong to it; return the lesion's id.

        Without ``propagate`` only the clicked slice changes; call `propagate` for the neighbours.
        """
        return self.clicks([NewClick(ras, positive, lesion)], propagate, progress, cancel)[0]

    def clicks(
        self,
        new: Sequence[NewClick],
        propagate: bool = True,
        progress: Progress = silent,
        cancel: CancelToken | None = None,
    ) -> list[int]:
        """Make several clicks as one step; lesions that share a slice share the pass."""
        if not new:
            return []
        state = self.state.ticked()
        prompts: list[tuple[int, Prompt]] = []
        for click in new:
            slice_index, x, y = self._place(click.ras)
            state, lesion = self._with_lesion(state, click.lesion)
            state, click_id = state.next_prompt()
            prompts.append((lesion.id, Click(click_id, slice_index, x, y, click.positive)))
        what = "click" if len(new) == 1 else "clicks"
        self._prompt(what, state, prompts, Spread(propagate, progress, cancel))
        return [lesion_id for lesion_id, _ in prompts]

    def move_click(self, click: int, ras: Point, **how: object) -> None:
        """Drag a click elsewhere; the mask follows."""
        before = self.state
        lesion, old = before.find_click(click)
        slice_index, x, y = self._place(ras)
        moved = replace(old, slice=slice_index, x=x, y=y)
        if old not in lesion.prompts:
            raise BadInput(
                "this click was made before the lesion was merged or split; set a new one"
            )
        clicks = tuple(moved if own is old else own for own in lesion.clicks)
        changed = replace(lesion, clicks=clicks)
        run = partial(self._rebuilt, Spread(**how), before.ticked(), changed, click)
        self.history.commit("move click", self.guard.run(run))
        self._tell_of_prompts(before, [(lesion.id, moved)])

    def delete_click(self, click: int, **how: object) -> None:
        """Take a click back; the lesion is what it would be without it."""
        self.delete_clicks([click], keep_empty=True, **how)

    def delete_clicks(
        self, clicks: Collection[int], keep_empty: bool = False, **how: object
    ) -> None:
        """Take clicks back as one step, and lesions that have no prompt or voxel left with them."""
        if not clicks:
            return
        rebuilt = partial(self._rebuilt, Spread(**how))
        run = partial(without_clicks, self.state.ticked(), clicks, rebuilt, keep_empty)
        what = "delete click" if len(clicks) == 1 else "delete clicks"
        self.history.commit(what, self.guard.run(run))

    def box(self, first: Point, second: Point, lesion: int | None = None, **how: object) -> int:
        """Draw a rectangle around a lesion on one slice, given by two opposite corners.

        It takes the place of an earlier one on the slice. Return the lesion's id.
        """
        slice_index, x0, y0 = self._place(first)
        other, x1, y1 = self._place(second)
        if slice_index != other:
            raise BadInput("the corners of a box must lie on one slice")
        state, before = self._with_lesion(self.state.ticked(), lesion)
        state, order = state.next_prompt()
        corners = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
        drawn = BoxPrompt(slice_index, *corners, order)
        self._prompt("box", state, [(before.id, drawn)], Spread(**how))
        return before.id

    def set_mask(self, lesion: int | None, mask: np.ndarray) -> int:
        """Take over a painted mask in the volume's own order [k, j, i]; return the lesion's id.

        Slices that differ from before count as prompted, exactly as painted.
        """
        stack = self._mask_stack(mask)
        state, before = self._with_lesion(self.state.ticked(), lesion)
        state, order = state.next_prompt()
        paintings = self.editor.paintings_in(before, stack, order)
        prompts: list[tuple[int, Prompt]] = [(before.id, painting) for painting in paintings]
        self._prompt("paint", state, prompts, Spread(propagate=False))
        return before.id

    def add_lesions(
        self,
        labels: np.ndarray,
        names: Mapping[int, str] | None = None,
        uids: Mapping[int, str] | None = None,
    ) -> list[int]:
        """Take over lesions that were outlined elsewhere; return their ids.

        Each value in ``labels``, in the volume's own order [k, j, i], becomes the lesion with this
        id, outlined exactly so, and an exemplar on each of its slices. No search adds to it before
        a click or a box corrects it. Names, and the UIDs that they were known by, are kept by id.
        """
        stack = self._whole_stack(np.asarray(labels))
        state, order = self.state.ticked().next_prompt()
        paintings = self.editor.paintings_of(stack, order)
        lesion_ids = list(dict.fromkeys(lesion_id for lesion_id, _ in paintings))
        if not lesion_ids:
            raise BadInput("there is no outlined lesion to begin with")
        taken = [lesion_id for lesion_id in lesion_ids if lesion_id in state.lesions]
        if taken:
            raise BadInput(f"there is a lesion number {taken[0]} already")
        empty = Mask(self.stack.shape)
        for lesion_id in lesion_ids:
            name, uid = ((known or {}).get(lesion_id, "") for known in (names, uids))
            new = Lesion(lesion_id, Status.PROMPTED, empty, name, changed=state.clock, uid=uid)
            state = state.with_lesions(new)
        self._prompt("add lesions", state, paintings, Spread(propagate=False))
        return lesion_ids

    def propagate(
        self,
        lesion_ids: Iterable[int] | None = None,
        progress: Progress = silent,
        cancel: CancelToken | None = None,
        joined: bool = True,
        whole_volume: bool = False,
    ) -> None:
        """Propagate lesions to their neighbouring slices (all lesions if none are named).

        With ``joined`` this is part of the step before it, so one undo takes back both. With
        ``whole_volume`` lesions are followed until they are lost, however far the settings reach.
        """
        state = self.state
        lesions = [state.lesion(n) for n in (state.lesions if lesion_ids is None else lesion_ids)]
        # One whose last click is gone has nothing to be propagated from, but slices to be emptied.
        changing = [lesion.id for lesion in lesions if lesion.prompted or lesion.propagated]
        if not changing:
            return
        how = (progress, cancel, self.stack.count if whole_volume else None)
        propagated = self.guard.run(lambda: self._propagated(state, changing, *how))
        if joined and self.history.past:
            self.history.amend(propagated)
        else:
            self.history.commit("propagate", propagated)

    def _prompt(
        self, what: str, state: State, prompts: Sequence[tuple[int, Prompt]], spread: Spread
    ) -> None:
        """Commit a state with prompts added, as one step."""
        before = self.state
        lesion_ids = list(dict.fromkeys(lesion_id for lesion_id, _ in prompts))

        def run() -> State:
            prompted = self.editor.add_prompts(state, prompts)
            return self._spread(prompted, lesion_ids, spread)

        self.history.commit(what, self.guard.run(run))
        self._tell_of_prompts(before, prompts)

    def _rebuilt(self, spread: Spread, state: State, lesion: Lesion, since: int) -> State:
        """Return a state with a lesion as its prompts make it, after one or more of them changed.

        ``since`` is the number of the first of these.
        """
        lesion = replace(lesion, changed=state.clock)

        def propagate(present: State) -> State:
            return self._spread(present, [lesion.id], spread)

        state = self.editor.rebuilt(state, lesion, propagate)
        rebuilt = with_rest_of(lesion, state.lesion(lesion.id), since, spread.propagate)
        return state.with_lesions(rebuilt)

    def _spread(self, state: State, lesion_ids: Sequence[int], spread: Spread) -> State:
        if not spread.propagate:
            return state
        return self._propagated(state, lesion_ids, spread.progress, spread.cancel)

    def _propagated(
        self,
        state: State,
        lesion_ids: Sequence[int],
        progress: Progress,
        cancel: CancelToken | None,
        slices: int | None = None,
    ) -> State:
        most = self.settings.exemplars
        return self.editor.propagated(state, lesion_ids, most, progress, cancel, slices)

    # ---- the list of lesions ---------------------------------------------------------------

    def accept(self, *lesion_ids: int) -> None:
        """Agree with findings; without ids, with all that are undecided."""
        undecided = [le.id for le in self.lesions if le.status is Status.FOUND]
        self._set_status("accept", lesion_ids or undecided, Status.ACCEPTED)

    def reject(self, *lesion_ids: int) -> None:
        """Disagree with findings: they no longer count, and no search finds them again."""
        self._set_status("reject", lesion_ids, Status.REJECTED)

    def reconsider(self, *lesion_ids: int) -> None:
        """Make accepted or rejected findings undecided again."""
        self._set_status("reconsider", lesion_ids, Status.FOUND)

    def _set_status(self, what: str, lesion_ids: Iterable[int], status: Status) -> None:
        state = self.state
        changed = []
        for lesion in (state.lesion(lesion_id) for lesion_id in lesion_ids):
            new = status if lesion.is_finding or not status.counts else Status.PROMPTED
            if new is not lesion.status:
                changed.append(replace(lesion, status=new))
        if changed:
            self.history.commit(what, state.with_lesions(*changed))

    def rename(self, lesion_id: int, name: str) -> None:
        """Give a lesion a name."""
        renamed = replace(self.lesion(lesion_id), name=name)
        self.history.commit("rename", self.state.with_lesions(renamed))

    def delete(self, *lesion_ids: int) -> None:
        """Remove lesions; a later search may find them again."""
        for lesion_id in lesion_ids:
            self.lesion(lesion_id)
        if lesion_ids:
            self.history.commit("delete", self.state.without_lesions(*lesion_ids))

    def merge(self, *lesion_ids: int) -> int:
        """Make several lesions one, under the lowest of their ids, and return it."""
        state = self.state.ticked()
        lesions = [state.lesion(lesion_id) for lesion_id in sorted(set(lesion_ids))]
        if len(lesions) < 2:
            raise BadInput("at least two lesions are needed to merge")
        state, order = state.next_prompt()
        merged = self.guard.run(lambda: self.editor.merged(lesions, order, state.clock))
        kept = state.without_lesions(*(lesion.id for lesion in lesions)).with_lesions(merged)
        self.history.commit("merge", kept)
        return merged.id

    def split(self, lesion_id: int) -> list[int]:
        """Make each connected component of a lesion a lesion, and return their ids.

        The largest keeps the id.
        """
        state, order = self.state.ticked().next_prompt()
        components = self.guard.run(
            lambda: self.editor.split(state.lesion(lesion_id), state.next_id, order, state.clock)
        )
        if len(components) > 1:
            self.history.commit("split", state.with_lesions(*components))
        return [component.id for component in components]

    # ---- exemplars and search --------------------------------------------------------------

    def add_exemplars(self, labels: np.ndarray, volume: Volume | None = None) -> int:
        """Import lesions that were outlined elsewhere; return how many exemplars they make.

        ``labels`` is in the own order of ``volume``, an earlier scan say, or of this scan.
        """
        state = self.state.ticked()
        first_id = min((exemplar.lesion for exemplar in state.imported), default=1) - 1

        def run() -> tuple[Exemplar, ...]:
            other = self if volume is None else self._beside(volume)
            source = OutlinedScan(other.stack, other.decoder)
            return exemplars_from_labels(labels, source, self.stack, first_id, state.clock)

        imported = self.guard.run(run)
        self.history.commit("add exemplars", replace(state, imported=(*state.imported, *imported)))
        return len(imported)

    def clear_exemplars(self) -> None:
        """Forget the imported exemplars."""
        if self.state.imported:
            self.history.commit("clear exemplars", replace(self.state, imported=()))

    @property
    def can_search(self) -> bool:
        """Whether the network can search for what is like its exemplars."""
        return isinstance(self.model, MoisSam2)

    def find_similar(
        self,
        progress: Progress = silent,
        cancel: CancelToken | None = None,
        inside: np.ndarray | None = None,
        outside: np.ndarray | None = None,
        use_exemplars: bool = True,
    ) -> list[int]:
        """Search the whole scan for lesions like the exemplars; return the findings' ids.

        ``inside`` and ``outside`` limit the search, as masks in the volume's own order. Earlier
        findings that nobody has decided on are replaced. Without ``use_exemplars`` the network
        is asked for what it takes for lesions by itself.
        """
        if not self.can_search:
            raise BadInput("this model cannot search; choose a MOIS-SAM2 model")
        if use_exemplars and not self.exemplars_for(0):
            raise BadInput("there is nothing to search for yet; click on a lesion first")
        allowed = self._allowed(inside, outside)
        slices = [n for n in range(self.stack.count) if allowed is None or allowed[n].any()]
        choice = self.exemplars_for if use_exemplars else None
        judgement = None if self.reference else self.model.config.exemplars.judgement
        how = self.settings, self.stack, judgement, use_exemplars, self.reference
        rules = FindingRules.of(*how)
        state = self.state

        def run() -> tuple[np.ndarray, State, list[Lesion]]:
            marked = self.search.run(slices, choice, progress, cancel)
            if allowed is not None:
                marked = marked.inside(allowed)
            marked = confident(marked, state.lesions.values(), self.embeddings, rules, cancel)
            how = (self.editor, rules, progress, cancel)
            return marked.found, *lesions_after_search(marked, allowed, state, *how)

        self.semantic, state, findings = self.guard.run(run)
        self.history.commit("find similar", state)
        return [finding.id for finding in findings]

    def _allowed(self, inside: np.ndarray | None, outside: np.ndarray | None) -> np.ndarray | None:
        if inside is None and outside is None:
            return None
        allowed = np.ones(self.stack.array.shape, dtype=bool)
        if inside is not None:
            allowed &= self._mask_stack(inside)
        if outside is not None:
            allowed &= ~self._mask_stack(outside)
        if not allowed.any():
            raise BadInput("the region leaves nothing of the scan to search")
        return allowed

    # ---- undo ------------------------------------------------------------------------------

    def undo(self) -> str | None:
        """Take back the last step and return its name, or None if there is none."""
        return self.history.undo()

    def redo(self) -> str | None:
        """Redo the step that was taken back last and return its name, or None if there is none."""
        return self.history.redo()

    # ---- helpers ---------------------------------------------------------------------------

    def _tell(self, text: str) -> None:
        if self.on_notice is not None:
            self.on_notice(text)

    def _tell_of_prompts(self, before: State, prompts: Sequence[tuple[int, Prompt]]) -> None:
        """Tell what seems wrong with prompts that were just made, if anyone listens."""
        if self.on_notice is not None:
            for text in self.prompt_notices.notices(before, self.state, prompts):
                self.on_notice(text)

    def _with_lesion(self, state: State, lesion_id: int | None) -> tuple[State, Lesion]:
        """The state with a lesion that is being prompted, which may be a new one."""
        lesion_id = state.next_id if lesion_id is None else lesion_id
        new = Lesion(lesion_id, Status.PROMPTED, Mask(self.stack.shape))
        lesion = replace(state.lesions.get(lesion_id, new), changed=state.clock)
        return state.with_lesions(lesion), lesion

    def _beside(self, volume: Volume) -> Session:
        """Return a session on another scan with the same network and settings."""
        return type(self)(self.model, volume, self.settings, self.reference)

    def _place(self, ras: Point) -> tuple[int, float, float]:
        """Return slice, x and y of a point; one between two slices belongs to the nearer slice."""
        point = np.asarray(ras, dtype=np.float64)
        if point.shape != (3,) or not np.isfinite(point).all() or not self.stack.contains(point):
            shown = ", ".join(f"{value:g}" for value in point.ravel()[:3])
            raise BadInput(f"the point ({shown}) lies outside the scan")
        position, x, y = self.stack.point_from_ras(point)
        return int(np.floor(position + 0.5)), float(x), float(y)

    def _mask_stack(self, mask: np.ndarray) -> np.ndarray:
        """Return a mask in the volume's own order as [slices, rows, columns]."""
        return self._whole_stack(np.asarray(mask, dtype=bool))

    def _whole_stack(self, array: np.ndarray) -> np.ndarray:
        """Return an array in the volume's own order as [slices, rows, columns]."""
        if array.shape != self.volume.array.shape:
            raise BadInput(
                f"the mask has {array.shape} voxels and the scan has {self.volume.array.shape}; "
                "they must be on the same grid"
            )
        # A view that runs backwards through memory is of no use to the network.
        return np.ascontiguousarray(self.stack.from_volume(array))

    def _input(self, slice_index: int) -> Tensor:
        """Return a slice as the network's input, (1, *image_size)."""
        make = published_input if self.reference else model_input
        return make(self._normalised[slice_index], self.model.config.image_size)

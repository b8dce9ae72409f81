"""What the lesions of a session are known by in all scans of a patient, once that is found out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mois_core.session import Session
from mois_core.session.lesion import Lesion
from mois_core.session.state import State


def identify(session: Session, uids: Mapping[int, str]) -> None:
    """Note the UIDs of lesions, by their ids.

    It is no step, and none takes it back: whatever undo and redo lead to knows it too. Within one
    history a number is always that of the same lesion.
    """
    replaced: dict[int, Lesion] = {}
    kept: list[Lesion] = []  # so that no id() is given to another object meanwhile

    def known(lesion: Lesion) -> Lesion:
        uid = uids.get(lesion.id, lesion.uid)
        if lesion.uid == uid:
            return lesion
        if id(lesion) not in replaced:
            replaced[id(lesion)] = replace(lesion, uid=uid)
            kept.append(lesion)
        return replaced[id(lesion)]

    def identified(state: State) -> State:
        return state.with_lesions(*(known(lesion) for lesion in state.lesions.values()))

    history = session.history
    history.present = identified(history.present)
    for steps in (history.past, history.future):
        steps[:] = [(what, identified(state)) for what, state in steps]

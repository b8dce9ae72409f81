"""Two days of work on a session, for tests of what is kept from one to the next."""

from __future__ import annotations

import numpy as np
from engine_fixtures import FIRST, OTHER_KIND, SECOND, THIRD, painted
from stub_sessions import click_on, ras

from mois_core.session import Session


def a_day_of_work(session: Session) -> Session:
    """Do a little of everything that a session file has to hold."""
    click_on(session, FIRST)
    session.click(ras(session, 4, 8, 7), positive=False, lesion=1)
    session.box(ras(session, 5, 18, 18), ras(session, 5, 28, 28))
    session.set_mask(None, session.stack.to_volume(painted(THIRD, session.stack.count)))
    labels = painted(SECOND, session.stack.count).astype(np.uint8)
    session.add_exemplars(session.stack.to_volume(labels))
    if session.model.config.exemplars:
        session.find_similar()
    session.rename(3, "Nöt só „klein“")
    session.new_lesion("nothing yet")
    session.delete(2)
    return session


def the_next_day(session: Session) -> Session:
    """Do what a user might do with the session of `a_day_of_work` on the next day."""
    session.click(ras(session, 6, 10, 9), positive=False, lesion=1)
    session.click(ras(session, 10, 10, 24), lesion=3)
    session.propagate()
    if session.model.config.exemplars:
        session.find_similar()
        session.accept()
    click_on(session, OTHER_KIND)
    session.delete_click(session.lesion(1).clicks[0].id)
    session.undo()
    return session

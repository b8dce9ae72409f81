"""What a user can do with a scan: clicks, propagation, search, undo; `Session` is the way in."""

from mois_core.session.session import NewClick, Point, Session

__all__ = ["NewClick", "Point", "Session"]

"""The verdicts that were given in this session, the last one first to be taken back."""

from __future__ import annotations

from flask import session as cookie
from sqlalchemy.orm import Session

from cxrscreen import readings
from cxrscreen.readings import Act

ACTS = "acts"
KEPT = 20  # they lie in a cookie, which must stay small


def last(session: Session) -> Act | None:
    """The last verdict that can still be taken back."""
    for kind, number in reversed(cookie.get(ACTS, [])):
        if found := readings.act(session, kind, number):
            return found
    return None


def remember(done: Act) -> None:
    cookie[ACTS] = [*cookie.get(ACTS, []), [done.kind, done.id]][-KEPT:]


def forget(kind: str, number: int) -> None:
    cookie[ACTS] = [act for act in cookie.get(ACTS, []) if act != [kind, number]]

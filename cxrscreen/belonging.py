"""One store, one database: a mark in both, so that nobody clears a store by the rows of another database."""

from __future__ import annotations

import secrets

from sqlalchemy import select
from sqlalchemy.orm import Session

from cxrscreen import db
from cxrscreen.blobs import Blobs
from cxrscreen.tables import StoreMark


def is_ours(store: Blobs) -> bool:
    """The store carries this database's mark. One that carries none yet gets it."""
    with db.write() as session:
        ours = _ours(session)
    there = store.mark()
    if there is None:
        store.set_mark(ours)
        there = store.mark()  # of two databases that come to a new store at once, one has it
    return there == ours


def _ours(session: Session) -> str:
    found = session.scalar(select(StoreMark.mark).order_by(StoreMark.made_at, StoreMark.mark).limit(1))
    if found is None:
        found = secrets.token_hex(16)
        session.add(StoreMark(mark=found))
    return found

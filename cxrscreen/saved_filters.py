"""Saved filters: a worklist that a person gave a name, kept as the query of its address."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from cxrscreen import db, worklist_filters
from cxrscreen.errors import NotFound, UsageError
from cxrscreen.tables import SavedFilter, User, now
from cxrscreen.worklist_filters import Filters

NAME_LENGTH = 60
MOST = 50  # of one person


def save(session: Session, user: User, name: str, query: str) -> Filters:
    """Keep a query under a name; the same name again takes the new query. Returns what the query asks for.

    Raises UsageError for a name that is empty or too long, a query that is none, and one name too many.
    """
    name = name.strip()
    if not name or len(name) > NAME_LENGTH:
        raise UsageError(f"A saved filter needs a name of at most {NAME_LENGTH} characters.")
    asked = worklist_filters.read(dict(parse_qsl(query)))
    others = select(func.count()).where(SavedFilter.user_id == user.id, SavedFilter.name != name)
    if (session.scalar(others) or 0) >= MOST:
        raise UsageError(f"You have {MOST} saved filters; remove one first.")
    kept = urlencode(asked.address())  # what a query holds beside filters is not kept
    insert = db.insert_for(session, SavedFilter).values(user_id=user.id, name=name, query=kept, created_at=now())
    session.execute(insert.on_conflict_do_update(index_elements=["user_id", "name"], set_={"query": kept}))
    return asked


def remove(session: Session, user: User, filter_id: int) -> str:
    """Forget one of a person's own; its name. Raises NotFound for anybody else's."""
    mine = delete(SavedFilter).where(SavedFilter.id == filter_id, SavedFilter.user_id == user.id)
    name = session.execute(mine.returning(SavedFilter.name)).scalar()
    if name is None:
        raise NotFound("There is no such saved filter of yours.")
    return name

"""Who did what, when. Rows are only ever added."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from cxrscreen.tables import AuditEvent, User


def record(session: Session, actor: User | str, action: str, subject: str, **detail: Any) -> None:
    """Add an event to the caller's transaction, so that it stands if and only if the deed does."""
    name, user_id = (actor, None) if isinstance(actor, str) else (actor.name, actor.id)
    session.add(AuditEvent(actor=name, user_id=user_id, action=action, subject=subject, detail=detail))

"""Who did what, when. Rows are only ever added."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cxrscreen.tables import AuditEvent, User


def record(session: Session, actor: User | str, action: str, subject: str, **detail: Any) -> None:
    """Add an event to the caller's transaction, so that it stands if and only if the deed does."""
    name, user_id = (actor, None) if isinstance(actor, str) else (actor.name, actor.id)
    session.add(AuditEvent(actor=name, user_id=user_id, action=action, subject=subject, detail=detail))


def page(
    session: Session, *, action: str = "", actor: str = "", before: int | None = None, limit: int = 100
) -> list[AuditEvent]:
    """Events, the newest first; `action` may be the beginning of one ("model")."""
    query = select(AuditEvent).order_by(AuditEvent.id.desc()).limit(limit)
    if action:
        query = query.where(AuditEvent.action.startswith(action, autoescape=True))
    if actor:
        query = query.where(AuditEvent.actor == actor)
    if before is not None:
        query = query.where(AuditEvent.id < before)
    return list(session.scalars(query))


def count_since(session: Session, action: str, subject: str, since: datetime, actor: str | None = None) -> int:
    query = select(func.count()).where(
        AuditEvent.at > since, AuditEvent.action == action, AuditEvent.subject == subject
    )
    if actor is not None:
        query = query.where(AuditEvent.actor == actor)
    return session.scalar(query) or 0


def last_at(session: Session, action: str, subject: str, since: datetime, actor: str) -> datetime | None:
    """When this actor last did something after `since`."""
    return session.scalar(
        select(func.max(AuditEvent.at)).where(
            AuditEvent.at > since,
            AuditEvent.action == action,
            AuditEvent.subject == subject,
            AuditEvent.actor == actor,
        )
    )

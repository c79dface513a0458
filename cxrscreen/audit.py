"""Who did what, when, and who looked at what. Rows are only ever added."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import func, insert, select, tuple_
from sqlalchemy.orm import Session

from cxrscreen.tables import AuditEvent, User, midnight

# Every deed that is recorded, by its noun, in words; a view or an export is one, too.
ACTIONS: dict[str, dict[str, str]] = {
    "auth": {"sign-in": "signed in", "failed": "sign-in refused"},
    "study": {
        "view": "looked at a study",
        "review": "gave a verdict",
        "reading": "read blind",
        "undo": "took a verdict back",
        "assign": "assigned a study",
        "delete": "deleted a study",
    },
    "image": {"view": "looked at an image"},
    "worklist": {"view": "looked at the worklist"},
    "job": {
        "create": "opened a job",
        "pause": "paused a job",
        "resume": "let a job go on",
        "cancel": "cancelled a job",
        "retry": "tried files again",
        "clear": "cleared uploaded files",
        "entries": "looked at a job's files",
        "export": "exported a job",
    },
    "quarantine": {"view": "looked at the quarantine", "export": "exported the quarantine"},
    "reviewed": {"export": "exported the reviewed set"},
    "upload": {"terminate": "broke an upload off"},
    "model": {
        "register": "registered a model",
        "activate": "activated a model",
        "rollback": "rolled a model back",
        "threshold": "set an operating point",
    },
    "schedule": {"set": "set a schedule", "remove": "removed a schedule", "run": "ran a schedule by hand"},
    "alert": {"seen": "saw an alert"},
    "user": {
        "add": "added a user",
        "role": "gave a role",
        "active": "let a user in again",
        "inactive": "kept a user out",
        "password": "set a password",
        "link": "made a sign-in link",
        "token": "made a token",
        "token-end": "ended a token",
    },
    "database": {"key": "took another key of pseudonyms"},
    "audit": {"view": "looked at the audit log"},
}


@dataclass(frozen=True)
class Asked:
    """Which events: `action` is a noun or one deed ("study", "study.view"), `subject` is whole ("study 12")."""

    action: str = ""
    actor: str = ""
    subject: str = ""
    since: date | None = None
    until: date | None = None


def words(action: str) -> str:
    """What was done, as a person says it; a deed that the list does not know stands for itself."""
    noun, _, deed = action.partition(".")
    return ACTIONS.get(noun, {}).get(deed, action)


def record(session: Session, actor: User | str, action: str, subject: str, **detail: Any) -> None:
    """Add an event to the caller's transaction, so that it stands if and only if the deed does."""
    name, user_id = (actor, None) if isinstance(actor, str) else (actor.name, actor.id)
    session.add(AuditEvent(actor=name, user_id=user_id, action=action, subject=subject, detail=detail))


def looked(session: Session, person: User, action: str, seen: dict[str, dict[str, Any]]) -> None:
    """Somebody saw these subjects, each with what the address asked for, whatever its words; one statement."""
    who = {"actor": person.name, "user_id": person.id, "action": action}
    rows = [{**who, "subject": subject, "detail": detail} for subject, detail in seen.items()]
    session.connection().execute(insert(AuditEvent).values(rows))


def page(session: Session, asked: Asked, *, before: int | None = None, limit: int = 100) -> list[AuditEvent]:
    """Events, the newest first, a page at a time; `before` is the number of the last one seen."""
    query = select(AuditEvent).order_by(AuditEvent.at.desc(), AuditEvent.id.desc()).limit(limit)
    if asked.action:
        noun, _, deed = asked.action.partition(".")
        deeds = (deed,) if deed else tuple(ACTIONS.get(noun, {}))
        query = query.where(AuditEvent.action.in_([f"{noun}.{one}" for one in deeds]))
    if asked.actor:
        query = query.where(AuditEvent.actor == asked.actor)
    if asked.subject:
        query = query.where(AuditEvent.subject == asked.subject)
    if asked.since:
        query = query.where(AuditEvent.at >= midnight(asked.since))
    if asked.until:
        query = query.where(AuditEvent.at < midnight(asked.until + timedelta(days=1)))
    last = session.get(AuditEvent, before) if before is not None else None
    if last is not None:
        query = query.where(tuple_(AuditEvent.at, AuditEvent.id) < tuple_(last.at, last.id))
    return list(session.scalars(query))


def count_since(session: Session, action: str, subject: str | None, since: datetime, actor: str | None = None) -> int:
    query = select(func.count()).where(AuditEvent.at > since, AuditEvent.action == action)
    if subject is not None:
        query = query.where(AuditEvent.subject == subject)
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

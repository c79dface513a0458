"""Tokens: what a program shows to ask in a person's name. Shown once when made; the database has its hash alone."""

from __future__ import annotations

import secrets
from datetime import timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from cxrscreen import audit, users
from cxrscreen.errors import Conflict, NotFound, UsageError
from cxrscreen.tables import ApiToken, Role, User, now

PREFIX = "cxr_"  # so that whoever finds one in a log or a repository knows what it is
NAME_LENGTH = 60
DAYS, MOST_DAYS = 365, 3650
MOST = 20  # of one person
# When it was used last is kept no finer: a program that asks every second must not write every second.
NOTED_EVERY = timedelta(hours=1)


def make(session: Session, user: User, name: str, role: Role, days: int, actor: User | str) -> str:
    """A new token of this person; it may do what `role` may, and never more than the person.

    Raises UsageError for a name, a role or a time that is none, Conflict where the name is taken.
    """
    name = name.strip()
    if not name or len(name) > NAME_LENGTH:
        raise UsageError(f"A token needs a name of at most {NAME_LENGTH} characters: what it is for.")
    if not users.may(user, role):
        raise UsageError(f"{user.name} is no {role.value}, so no token of theirs can be.")
    if not 1 <= days <= MOST_DAYS:
        raise UsageError(f"A token is good for 1 to {MOST_DAYS} days.")
    session.refresh(user, with_for_update=True)  # of two that are made at once, the second counts the first
    held = of_user(session, user.id)
    if any(one.name == name for one in held):
        raise Conflict(f"There is already a token named {name!r}; revoke it first, or take another name.")
    if len(held) >= MOST:
        raise Conflict(f"{user.name} has {MOST} tokens; revoke one that is no longer used.")
    secret = PREFIX + secrets.token_urlsafe(32)
    moment = now()
    row = ApiToken(
        user_id=user.id,
        name=name,
        token_hash=users.digest(secret),
        role=role,
        created_at=moment,
        expires_at=moment + timedelta(days=days),
    )
    session.add(row)
    audit.record(session, actor, "user.token", f"user {user.id}", name=user.name, token=name, role=role.value)
    return secret


def of_user(session: Session, user_id: int) -> list[ApiToken]:
    return list(session.scalars(select(ApiToken).where(ApiToken.user_id == user_id).order_by(ApiToken.name)))


def revoke(session: Session, user: User, name: str, actor: User | str) -> None:
    """End a token at once. Raises NotFound where this person has none of the name."""
    row = session.scalar(select(ApiToken).where(ApiToken.user_id == user.id, ApiToken.name == name))
    if row is None:
        raise NotFound(f"{user.name} has no token named {name!r}.")
    session.delete(row)
    audit.record(session, actor, "user.token-end", f"user {user.id}", name=user.name, token=name)


def holder(session: Session, secret: str) -> tuple[User, ApiToken] | None:
    """Whose token this is, where it is good and its person may sign in."""
    query = select(User, ApiToken).join(ApiToken, ApiToken.user_id == User.id)
    row = session.execute(query.where(ApiToken.token_hash == users.digest(secret))).one_or_none()
    if row is None:
        return None
    user, token = row
    return (user, token) if user.active and token.expires_at > now() else None


def is_noted(token: ApiToken) -> bool:
    """Whether its use is known already, to the hour."""
    return token.last_used_at is not None and now() - token.last_used_at < NOTED_EVERY


def note_use(session: Session, token_id: int) -> None:
    session.execute(update(ApiToken).where(ApiToken.id == token_id).values(last_used_at=now()))

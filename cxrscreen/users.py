"""People: passwords as Argon2 hashes, roles, and links that sign in once. There is no default password."""

from __future__ import annotations

import base64
import hashlib
import secrets
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from cxrscreen import audit
from cxrscreen.errors import Conflict, NotFound, UsageError
from cxrscreen.tables import AuditEvent, Role, SignInLink, User, now
from cxrscreen.tables.people import new_mark

PASSWORD_LENGTH = 10  # NIST SP 800-63B asks for length, not for rules of composition
LINK_LIFETIME = timedelta(hours=1)

_hasher = PasswordHasher()


def _hash_of_nobody() -> str:
    """As costly to verify as any of `_hasher`'s, with a digest that is drawn: programs start without computing one."""
    salt, digest = (
        base64.b64encode(secrets.token_bytes(length)).decode().rstrip("=")
        for length in (_hasher.salt_len, _hasher.hash_len)
    )
    return f"$argon2id$v=19$m={_hasher.memory_cost},t={_hasher.time_cost},p={_hasher.parallelism}${salt}${digest}"


# Verified when a name is unknown, so that the answer takes as long as for a known one.
_NOBODY = _hash_of_nobody()

# What a role may do includes what the roles before it may.
RANK = {Role.OPERATOR: 0, Role.READER: 1, Role.ADMIN: 2}


def may(user: User, role: Role) -> bool:
    return RANK[user.role] >= RANK[role]


def add(
    session: Session, name: str, role: Role, password: str | None = None, *, actor: User | str | None = None
) -> User:
    name = need_free(session, name)
    user = User(name=name, role=role, active=True)
    if password is not None:
        set_password(user, password)
    session.add(user)
    session.flush()
    audit.record(session, actor or user, "user.add", f"user {user.id}", name=user.name, role=role.value)
    return user


def need_free(session: Session, name: str) -> str:
    """The name as it is kept. Raises UsageError where there is none, Conflict where somebody has it."""
    name = name.strip()
    if not name:
        raise UsageError("A user needs a name.")
    if find(session, name):
        raise Conflict(f"There is already a user named {name!r}.")
    return name


def every(session: Session) -> list[User]:
    return list(session.scalars(select(User).order_by(User.name)))


def last_sign_ins(session: Session) -> dict[int, datetime]:
    """When each person signed in last, by the person's number; who never did is not in it."""
    query = select(AuditEvent.user_id, func.max(AuditEvent.at)).where(AuditEvent.action == "auth.sign-in")
    rows = session.execute(query.where(AuditEvent.user_id.is_not(None)).group_by(AuditEvent.user_id))
    return {user_id: at for user_id, at in rows if user_id is not None}


def by_id(session: Session, user_id: int) -> User:
    user = session.get(User, user_id)
    if user is None:
        raise NotFound(f"There is no user {user_id}.")
    return user


def find(session: Session, name: str) -> User | None:
    return session.scalar(select(User).where(User.name == name))


def get(session: Session, name: str) -> User:
    user = find(session, name)
    if user is None:
        raise NotFound(f"There is no user named {name!r}; `cxrscreen users add` makes one.")
    return user


def end_sessions(user: User) -> None:
    """Whoever holds a copy of one of this user's session cookies is a stranger from now on."""
    user.session_mark = new_mark()


def set_role(session: Session, user: User, role: Role, actor: User | str) -> None:
    """Change a role. Raises Conflict where nobody would be left to administer."""
    if role != Role.ADMIN:
        _require_another_admin(session, user)
    if role != user.role:
        end_sessions(user)
    user.role = role
    audit.record(session, actor, "user.role", f"user {user.id}", name=user.name, role=role.value)


def set_active(session: Session, user: User, active: bool, actor: User) -> None:
    """Let a person in or keep them out; what they did stays theirs, so users are never deleted."""
    if not active:
        _require_another_admin(session, user)
        session.execute(delete(SignInLink).where(SignInLink.user_id == user.id, SignInLink.used_at.is_(None)))
    user.active = active
    end_sessions(user)
    audit.record(session, actor, "user.active" if active else "user.inactive", f"user {user.id}", name=user.name)


def _require_another_admin(session: Session, user: User) -> None:
    # Held until the commit: of two who step back at once the second waits, and then sees that the first has.
    admins = select(User.id).where(User.role == Role.ADMIN, User.active.is_(True)).order_by(User.id)
    if set(session.scalars(admins.with_for_update(key_share=True))) == {user.id}:
        raise Conflict(f"{user.name} is the last administrator; make another one first.")


def set_password(user: User, password: str) -> None:
    if len(password) < PASSWORD_LENGTH:
        raise UsageError(f"A password needs at least {PASSWORD_LENGTH} characters.")
    user.password_hash = _hasher.hash(password)
    end_sessions(user)


def verify(session: Session, name: str, password: str) -> User | None:
    """The user, if the name is known, active, and the password right."""
    user = find(session, name)
    known = user is not None and user.active and user.password_hash is not None
    try:
        _hasher.verify(user.password_hash if known and user and user.password_hash else _NOBODY, password)
    except (VerificationError, InvalidHashError):
        return None
    return user if known else None


def make_link(session: Session, user: User) -> str:
    """A token that signs this user in once, within the hour."""
    token = secrets.token_urlsafe(32)
    session.add(SignInLink(token_hash=digest(token), user_id=user.id, expires_at=now() + LINK_LIFETIME, used_at=None))
    return token


def use_link(session: Session, token: str) -> User | None:
    """Use up a link: of two that come at once, the compare-and-set lets one in."""
    used = session.execute(
        update(SignInLink)
        .where(
            SignInLink.token_hash == digest(token),
            SignInLink.used_at.is_(None),
            SignInLink.expires_at > now(),
        )
        .values(used_at=now())
        .returning(SignInLink.user_id)
    ).scalar()
    user = session.get(User, used) if used is not None else None
    return user if user and user.active else None


def digest(token: str) -> str:
    """What is kept of a secret that was drawn: with 256 bits of chance in it, a slow hash would protect nothing."""
    return hashlib.sha256(token.encode()).hexdigest()

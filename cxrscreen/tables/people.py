"""People: who signs in, what they keep, and what was done."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from cxrscreen.tables.base import Base, Key, now
from cxrscreen.tables.words import Role


def new_mark() -> str:
    return secrets.token_hex(8)


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    role: Mapped[Role]
    password_hash: Mapped[str | None] = mapped_column(String(200))
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    last_seen_at: Mapped[datetime | None]
    # What a session has to carry to be one of this user's; another one ends them all.
    session_mark: Mapped[str] = mapped_column(String(16), default=new_mark, server_default="")


class SignInLink(Base):
    """A link that signs in once; only the hash of its secret is kept."""

    __tablename__ = "sign_in_links"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class ApiToken(Base):
    """What a program shows to ask in a person's name; only the hash of its secret is kept."""

    __tablename__ = "api_tokens"
    __table_args__ = (UniqueConstraint("user_id", "name"),)

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(60))  # what it is for
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[Role]  # it may do no more than this, whatever its person may
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]  # to the hour


class SavedFilter(Base):
    """A worklist that a person named: the filters and the sort, as they stand in its address."""

    __tablename__ = "saved_filters"
    __table_args__ = (UniqueConstraint("user_id", "name"),)

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(60))
    query: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=now)


class AuditEvent(Base):
    """What was done or looked at. Views are many: each way of asking for events has an index in their order."""

    __tablename__ = "audit_events"
    __table_args__ = tuple(
        Index(f"ix_audit_events_{name}_at_id", name, "at", "id") for name in ("actor", "action", "subject")
    )

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now, index=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    actor: Mapped[str] = mapped_column(String(100))  # a user's name, or the part of the system
    action: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(100))  # "study 12", "model 3"
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)

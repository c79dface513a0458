"""The store's side, whose it is and what is to go because no row names it; and whose pseudonyms are in the rows."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from cxrscreen.tables.base import Base, now


class Condemned(Base):
    """A blob on its way out (docs/decisions/0020). Whoever commits a row that names it looks here first."""

    __tablename__ = "condemned"

    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    found_at: Mapped[datetime] = mapped_column(default=now, index=True)  # nothing named it then
    going_at: Mapped[datetime | None]  # it may be gone at any moment from now on
    gone_at: Mapped[datetime | None]  # it was gone by then


class StoreMark(Base):
    """What stands in the store's file `database` too: a sweep clears only a store that is its own database's."""

    __tablename__ = "store_marks"

    mark: Mapped[str] = mapped_column(String(32), primary_key=True)
    made_at: Mapped[datetime] = mapped_column(default=now)


class KeyMark(Base):
    """Which key a database's pseudonyms were made with: a fingerprint of it, never the key."""

    __tablename__ = "key_marks"

    purpose: Mapped[str] = mapped_column(String(20), primary_key=True)  # one row for each, whoever comes first
    fingerprint: Mapped[str] = mapped_column(String(16))
    since: Mapped[datetime] = mapped_column(default=now)

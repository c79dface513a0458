"""What every table stands on: names of constraints, times with a zone, numbers that count up by themselves."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Enum, Integer, LargeBinary, MetaData, TypeDecorator
from sqlalchemy.orm import DeclarativeBase

from cxrscreen.tables.words import (
    Band,
    BatchState,
    Draw,
    EntryStatus,
    JobKind,
    JobState,
    ModelPolicy,
    ModelState,
    NightState,
    Role,
    Verdict,
    Way,
)


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetimes in and out; SQLite, which knows no zones, holds them as UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _words(kind: type[StrEnum]) -> Enum:
    """A column of one of the words above, kept as text: a new word needs no migration of a native type."""
    return Enum(kind, native_enum=False, length=16, values_callable=lambda words: [word.value for word in words])


def now() -> datetime:
    return datetime.now(UTC)


def midnight(day: date) -> datetime:
    """The moment at which a day begins, in UTC."""
    return datetime.combine(day, time(), UTC)


# SQLite counts up by itself only in a column whose type is spelled INTEGER.
Key = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime(),
        dict[str, Any]: JSON(),
        list[Any]: JSON(),
        bytes: LargeBinary(),
        Role: _words(Role),
        JobKind: _words(JobKind),
        JobState: _words(JobState),
        EntryStatus: _words(EntryStatus),
        BatchState: _words(BatchState),
        ModelState: _words(ModelState),
        ModelPolicy: _words(ModelPolicy),
        NightState: _words(NightState),
        Band: _words(Band),
        Verdict: _words(Verdict),
        Way: _words(Way),
        Draw: _words(Draw),
    }

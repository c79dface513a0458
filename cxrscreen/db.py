"""Engine and sessions. `read()` never writes; `write()` commits at its end or rolls back as a whole."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, Insert, create_engine, event, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    DBAPIError,
    DisconnectionError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from cxrscreen.settings import get_settings
from cxrscreen.tables import Base, UtcDateTime, now

SQLITE_BUSY_MS = 60_000
# A connection that served so lately is taken at its word; one that rested longer is asked first whether it stands.
FRESH_SECONDS = 0.5
# PostgreSQL's words for it: serialization_failure, deadlock_detected, lock_not_available.
BUSY_STATES = ("40001", "40P01", "55P03")
OVERTAKEN_STATES = ("23505", "23503")  # a key that is there already, or one that is pointed at and gone


def make_engine(url: str) -> Engine:
    """An engine for SQLite in WAL mode or for PostgreSQL (psycopg 3)."""
    parsed = make_url(url)
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() != "sqlite":
        return _with_pings(create_engine(parsed, pool_use_lifo=True))
    engine = create_engine(parsed, connect_args={"check_same_thread": False})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _with_pings(engine: Engine) -> Engine:
    """What `pool_pre_ping` does, but for connections that rested: a page takes several in a row, and each ping is a
    round trip. The last one that came back goes out first, so that few are busy and the others may rest."""

    def came_back(_connection: Any, record: Any) -> None:
        record.info["rested_since"] = time.monotonic()

    def goes_out(connection: Any, record: Any, _proxy: Any) -> None:
        since = record.info.get("rested_since")
        if since is None or time.monotonic() - since < FRESH_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise DisconnectionError(str(error)) from error  # the pool opens another one in its place

    event.listen(engine, "checkin", came_back)
    event.listen(engine, "checkout", goes_out)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transaction handling is switched off: it begins too late for SELECT-then-UPDATE.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={SQLITE_BUSY_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the lock at once: a reader that becomes a writer midway is refused without waiting (SQLITE_BUSY).
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@lru_cache(maxsize=4)
def engine_for(url: str) -> Engine:
    return make_engine(url)


def get_engine() -> Engine:
    return engine_for(get_settings().database)


@contextmanager
def read() -> Iterator[Session]:
    """A session for queries; whatever it holds is dropped at its end."""
    with Session(get_engine(), expire_on_commit=False) as session:
        yield session


@contextmanager
def write() -> Iterator[Session]:
    """A session in one transaction. Enqueue nothing inside it: commit first, then submit (law 1)."""
    engine = get_engine().execution_options(writes=True)
    with Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def single(*, writes: bool = False) -> Iterator[Session]:
    """A session for one statement. PostgreSQL makes a transaction of it by itself: no round trips for its two ends."""
    engine = get_engine()
    if engine.dialect.name != "postgresql":
        with write() if writes else read() as session:
            yield session
        return
    with Session(engine.execution_options(isolation_level="AUTOCOMMIT"), expire_on_commit=False) as session:
        yield session


def is_away(error: SQLAlchemyError) -> bool:
    """The database does not answer, cut us off or could not serve us now; not an error in what it was asked."""
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout):
        return True
    return isinstance(error, DBAPIError) and error.connection_invalidated


def is_busy(error: SQLAlchemyError) -> bool:
    """Others stood in the way: a deadlock that this one lost, a lock or a connection that did not come in time."""
    cause = getattr(error, "orig", None)
    stood = getattr(cause, "sqlstate", None) in BUSY_STATES or "database is locked" in str(cause)
    return stood or isinstance(error, PoolTimeout)


def is_overtaken(error: IntegrityError) -> bool:
    """Somebody else was first: the same was made, or what this stands on removed, since it was looked for."""
    cause = error.orig
    said = str(cause)
    return getattr(cause, "sqlstate", None) in OVERTAKEN_STATES or said.startswith(("UNIQUE ", "FOREIGN KEY "))


def clock(session: Session) -> datetime:
    """The one clock that leases are measured by: the database server's, so a worker whose own clock is off harms
    nobody. SQLite has no server; its users share a machine and so a clock."""
    if session.get_bind().dialect.name != "postgresql":
        return now()
    told: datetime = session.execute(select(func.clock_timestamp(type_=UtcDateTime()))).scalar_one()
    return told


def numbers(session: Session, table: type[Base], count: int) -> list[int] | None:
    """The next numbers of a table's rows, taken in advance; None on SQLite, whose one writer needs none."""
    if session.get_bind().dialect.name != "postgresql":
        return None
    sequence = func.pg_get_serial_sequence(table.__tablename__, "id")
    drawn = select(func.nextval(sequence)).select_from(func.generate_series(1, count))
    return sorted(session.scalars(drawn))


def insert_for(session: Session, table: Any) -> postgresql.Insert | sqlite.Insert:
    """The INSERT of this session's database that knows `on_conflict_do_update`."""
    dialect: Dialect = session.get_bind().dialect
    made: Insert = postgresql.insert(table) if dialect.name == "postgresql" else sqlite.insert(table)
    assert isinstance(made, postgresql.Insert | sqlite.Insert)
    return made

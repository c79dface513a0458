"""Two transactions that meet: one is stopped at a place of its own, the other one comes in until it waits for a lock.

PostgreSQL only: SQLite has one writer at a time. The first goes on once the second waits or has ended, so nothing hangs
on how fast either of them is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from cxrscreen import db
from cxrscreen.tables import Base

SCANS = tuple(f"enable_{how} = off" for how in ("indexscan", "indexonlyscan", "bitmapscan"))
BLOCKED = "cardinality(pg_blocking_pids(pid)) > 0"
WAITING = f"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND {BLOCKED}"


def in_heap_order() -> None:
    """Whoever looks for several rows finds them as they lie in the table, not as an index has them.

    And of two that wait in one thread of ours PostgreSQL knows nothing: where that is for ever the test fails too.
    """
    with db.single(writes=True) as session:
        name = session.scalar(text("SELECT current_database()"))
        for setting in ("lock_timeout = 30000", *SCANS):
            session.execute(text(f'ALTER DATABASE "{name}" SET {setting}'))
    db.get_engine().dispose()


@contextmanager
def beside(do: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Gives what lets `do` come in: it runs in a thread, until it waits for a lock or has ended.

    The end of the block waits for its end, and raises what it raised.
    """
    raised: list[BaseException] = []

    def run() -> None:
        try:
            do()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)

    def comes() -> None:
        thread.start()
        with db.single() as session:
            while thread.is_alive() and not session.scalar(text(WAITING)):
                time.sleep(0.01)

    try:
        yield comes
    finally:
        if thread.ident is not None:
            thread.join()
    assert thread.ident is not None, "the two never met"
    if raised:
        raise raised[0]


def stops(monkeypatch: pytest.MonkeyPatch, where: object, name: str, *comes: Callable[[], None]) -> None:
    """Whoever is about to call this function lets the other come in first: the first caller the first of them."""
    before, left = getattr(where, name), list(comes)

    def after(*args: object, **named: object) -> object:
        if left:
            left.pop(0)()
        return before(*args, **named)

    monkeypatch.setattr(where, name, after)


def lies_last(session: Session, table: type[Base], number: int) -> None:
    """A row that was written anew lies behind those that came after it."""
    key = table.__table__.c.id
    session.execute(update(table.__table__).where(key == number).values(id=number))


def lock(session: Session, table: type[Base], number: int) -> None:
    """Hold a row as who changes it does."""
    key = table.__table__.c.id
    session.execute(select(key).where(key == number).with_for_update(key_share=True))

"""Connections to PostgreSQL that died while they rested, and sessions for one statement."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy import func, select

from cxrscreen import audit, db, users
from cxrscreen.settings import Settings
from cxrscreen.tables import AuditEvent, Role


def backend() -> int:
    with db.read() as session:
        return session.scalars(select(func.pg_backend_pid())).one()


def test_a_connection_that_died_while_it_rested_is_replaced(
    postgres_database: Settings, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "FRESH_SECONDS", 0.0)
    first = backend()
    assert backend() == first
    with psycopg.connect(postgres, autocommit=True) as administrator:
        administrator.execute("SELECT pg_terminate_backend(%s, 10000)", [first])
    assert backend() != first


def test_only_what_rested_is_asked_whether_it_stands(
    postgres_database: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend()
    dialect, asked = db.get_engine().dialect, []
    ping = dialect.do_ping
    monkeypatch.setattr(dialect, "do_ping", lambda connection: asked.append(connection) or ping(connection))
    monkeypatch.setattr(db, "FRESH_SECONDS", 3600.0)
    backend()
    assert asked == []
    monkeypatch.setattr(db, "FRESH_SECONDS", 0.0)
    backend()
    assert len(asked) == 1


def test_a_single_statement_stands_by_itself(database: Settings) -> None:
    with db.write() as session:
        person = users.add(session, "reader", Role.READER)
    with db.single(writes=True) as session:
        audit.looked(session, person, "study.view", {"study 1": {"beside": "2"}, "study 2": {"beside": "1"}})
    with db.single() as session:
        seen = select(AuditEvent.subject).where(AuditEvent.action == "study.view").order_by(AuditEvent.subject)
        assert list(session.scalars(seen)) == ["study 1", "study 2"]

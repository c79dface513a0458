"""The revisions lead to the tables, down and up again, on both databases."""

from __future__ import annotations

from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from cxrscreen import db, nights, registry, schedules, schema
from cxrscreen.settings import Settings
from cxrscreen.tables import Base

REVISIONS = [script.revision for script in ScriptDirectory(str(schema.SCRIPTS)).walk_revisions()][::-1]


def test_head_is_what_the_tables_say(empty_database: Settings) -> None:
    engine = db.get_engine()
    assert schema.differences(engine), "an empty database must differ, or the comparison sees nothing"
    schema.upgrade(engine)
    assert schema.differences(engine) == []
    assert schema.current(engine) == schema.head()


def test_every_revision_goes_down_and_up_again(empty_database: Settings) -> None:
    engine = db.get_engine()
    for revision in REVISIONS:
        schema.upgrade(engine, revision)
        schema.downgrade(engine, "-1")
        schema.upgrade(engine, revision)
    schema.downgrade(engine, "base")
    assert set(inspect(engine).get_table_names()) <= {"alembic_version"}
    schema.upgrade(engine)
    assert set(inspect(engine).get_table_names()) == {*Base.metadata.tables, "alembic_version"}


def test_upgrade_twice_is_once(empty_database: Settings) -> None:
    schema.upgrade(db.get_engine())
    schema.upgrade(db.get_engine())
    assert schema.current(db.get_engine()) == schema.head()


def test_old_schedules_and_their_nights_are_carried_over_and_back(empty_database: Settings) -> None:
    engine = db.get_engine()
    schema.upgrade(engine, "0002")
    at = "'2026-11-20 21:05:00'"
    with engine.begin() as connection:
        for statement in (
            f"INSERT INTO model_versions (id, name, sha256, state, phantom, record, created_at, activated_at) "
            f"VALUES (1, 'm1', 'x', 'active', false, '{{}}', {at}, {at})",
            f"INSERT INTO schedules (id, name, at, timezone, enabled, created_at) "
            f"VALUES (1, 'Nightly', '22:05', 'Europe/Minsk', true, {at}), (2, 'Early', '00:30', 'UTC', false, {at})",
            "INSERT INTO jobs (id, kind, state, priority, title, sources, scope, model_version_id, schedule_id, "
            '"window", listed, attempts, created_at) VALUES '
            f"(1, 'nightly', 'done', 1, 'n', '[]', '{{}}', 1, 1, '2026-11-20', true, 1, {at}), "
            f"(2, 'nightly', 'running', 1, 'n', '[]', '{{}}', 1, 1, '2026-11-21', true, 1, {at})",
            "INSERT INTO entries (job_id, name, frame, frames, status, attempts) VALUES (2, 'e', 0, 1, 'waiting', 0)",
        ):
            connection.execute(text(statement))
    schema.upgrade(engine)
    with db.read() as session:
        first, second = schedules.every(session)
        assert (first.cron, first.timezone, first.window_from, first.enabled) == (
            "5 22 * * *",
            "Europe/Minsk",
            None,
            True,
        )
        assert (second.cron, second.enabled, second.scope, second.policy) == ("30 0 * * *", False, {}, "active")
        assert first.armed_at == first.created_at
        told = [(night.window, night.state, night.job_id) for night, _, _ in nights.listed(session, 9)][::-1]
        assert sorted(told) == [("2026-11-20T22:05", "done", 1), ("2026-11-21T22:05", "open", 2)]
        assert [version.name for _, version in registry.activations(session)] == ["m1"]
        assert session.scalars(text("SELECT count(*) FROM entries")).one() == 1, (
            "nothing that stands on a job went along"
        )
    schema.downgrade(engine, "0002")
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT name, at FROM schedules ORDER BY id")).all()
        assert [tuple(row) for row in rows] == [("Nightly", "22:05"), ("Early", "00:30")]
        assert connection.execute(text('SELECT "window" FROM jobs ORDER BY id')).scalars().all() == [
            "2026-11-20",
            "2026-11-21",
        ]
        assert connection.execute(text("SELECT count(*) FROM entries")).scalar() == 1


def triggers(connection: Connection) -> list[tuple[object, ...]]:
    """The triggers of a database and what they run, as it tells them itself."""
    if connection.dialect.name == "sqlite":
        told = "SELECT sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name"
    else:
        told = (
            "SELECT pg_get_triggerdef(pg_trigger.oid), pg_get_functiondef(tgfoid) FROM pg_trigger "
            "WHERE NOT tgisinternal ORDER BY tgname"
        )
    return [tuple(row) for row in connection.execute(text(told))]


def test_the_triggers_of_the_revisions_are_those_of_the_tables(empty_database: Settings) -> None:
    engine = db.get_engine()
    schema.upgrade(engine)
    with engine.connect() as connection:
        upgraded = triggers(connection)
    schema.downgrade(engine, "base")
    with engine.connect() as connection:
        assert triggers(connection) == []
    Base.metadata.create_all(engine)
    with engine.connect() as connection:
        assert triggers(connection) == upgraded != []

"""The revisions lead to the tables, down and up again, on both databases."""

from __future__ import annotations

from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from cxrscreen import db, schema
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

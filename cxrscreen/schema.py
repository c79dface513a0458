"""The state of the schema: upgrade, check, back up and restore."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from cxrscreen.errors import UsageError
from cxrscreen.tables import Base

SCRIPTS = Path(__file__).resolve().parent.parent / "migrations"


def config(connection: Connection) -> Config:
    made = Config()
    made.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    made.set_main_option("path_separator", "os")
    made.attributes["connection"] = connection
    return made


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the database to a revision. Two that start together queue up: the second finds nothing left to do."""
    if engine.dialect.name == "sqlite" and engine.url.database:
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
    with engine.execution_options(writes=True).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(840017)")
        _know(connection)
        command.upgrade(config(connection), revision)


def _know(connection: Connection) -> None:
    found = MigrationContext.configure(connection).get_current_revision()
    if found is not None and found not in {script.revision for script in _scripts().walk_revisions()}:
        raise UsageError(
            f"The database was made by a newer cxrscreen (revision {found}; this one knows {head()}): "
            "install that version, or put back a backup of before (`cxrscreen db restore`)."
        )


def downgrade(engine: Engine, revision: str) -> None:
    with engine.execution_options(writes=True).begin() as connection:
        command.downgrade(config(connection), revision)


def current(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def head() -> str:
    found = _scripts().get_current_head()
    assert found is not None
    return found


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(SCRIPTS))


def differences(engine: Engine) -> list[object]:
    """What the database has other than the tables say; empty where they agree."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found = context.get_current_revision()
        revision = [] if found == head() else [f"revision {found}, where this version's is {head()}"]
        return [*revision, *compare_metadata(context, Base.metadata)]


def backup(engine: Engine, target: Path) -> None:
    """A whole copy of the embedded SQLite database, taken while it is in use."""
    source = _sqlite_file(engine)
    if target.exists():
        raise UsageError(f"{target} exists already; name another file.")
    if not source.exists():
        raise UsageError(f"There is no database in {source.parent} yet.")
    with closing(sqlite3.connect(source)) as origin, closing(sqlite3.connect(target)) as copy:
        origin.backup(copy)


def restore(engine: Engine, source: Path) -> None:
    """Put a backup in the place of the embedded database; what stood there is kept beside it."""
    target = _sqlite_file(engine)
    with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as origin:
        try:
            if origin.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
                raise UsageError(f"{source} is damaged; nothing was changed.")
            origin.execute("SELECT version_num FROM alembic_version")
        except sqlite3.DatabaseError as error:
            raise UsageError(f"{source} is no backup of cxrscreen: {error}.") from None
        if target.exists():
            with (
                closing(sqlite3.connect(target)) as old,
                closing(sqlite3.connect(target.with_suffix(".before-restore.db"))) as kept,
            ):
                old.backup(kept)
        engine.dispose()
        with closing(sqlite3.connect(target)) as copy:
            origin.backup(copy)


def _sqlite_file(engine: Engine) -> Path:
    if engine.dialect.name != "sqlite" or not engine.url.database:
        raise UsageError("This is for the embedded SQLite database; use pg_dump and pg_restore for PostgreSQL.")
    return Path(engine.url.database)

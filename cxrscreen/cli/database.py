"""`db`: the schema, copies of the database, and whose pseudonyms are in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cxrscreen.cli.common import open_database
from cxrscreen.cli.later import later
from cxrscreen.cli.targets import TargetFile
from cxrscreen.cli.terminal import out
from cxrscreen.errors import UsageError

if TYPE_CHECKING:
    from cxrscreen import db, keymark, local, schema
    from cxrscreen.cli import serve
else:
    db, keymark, local, schema, serve = later("db", "keymark", "local", "schema", "cli.serve")


@click.group("db")
def db_group() -> None:
    """Upgrade, check, back up and restore the database."""


@db_group.command()
@click.option("--first-start", is_flag=True, help="Give an empty one the model in the box and a nightly schedule, too.")
def upgrade(first_start: bool) -> None:
    """Bring the schema to this version's.

    The embedded SQLite is upgraded by itself; PostgreSQL only by this.
    """
    schema.upgrade(db.get_engine())
    if first_start:
        serve.first_start(people=False)
    out.print(f"revision {schema.current(db.get_engine())}")


@db_group.command()
def check() -> None:
    """See whether the schema is this version's.

    Exit status 1 where it is not.
    """
    found = schema.differences(db.get_engine())
    for difference in found:
        out.print(str(difference), markup=False)
    out.print("The schema is as the tables say." if not found else "Run `cxrscreen db upgrade`.")
    raise click.exceptions.Exit(1 if found else 0)


@db_group.command()
@click.argument("target", type=TargetFile(), metavar="FILE")
def backup(target: Path) -> None:
    """Copy the embedded database to FILE, while it is in use.

    Rows only: pictures and models are in the store, and the keys of pseudonyms under secrets/ of the data folder.
    """
    schema.backup(db.get_engine(), target)
    out.print(f"Backup: {target}", markup=False)


@db_group.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def restore(source: Path) -> None:
    """Put a backup back; the stack must not run.

    What stood there before is kept beside it. Nothing starts on it without the key of its pseudonyms, which lay under
    secrets/ of the data folder that it was made from.
    """
    if local.is_running():
        raise UsageError("The stack runs: end it first.")
    schema.restore(db.get_engine(), source)
    out.print(f"The database is as in {source}; what stood there before lies beside it.", markup=False)


@db_group.command("accept-key")
@click.option("--yes", is_flag=True, help="Do not ask.")
def accept_key(yes: bool) -> None:
    """Make this machine's pseudonym key the database's.

    For a key that is lost for good, and only for that: a study is known by a hash under the key, so one that comes
    again becomes a new study beside the old one, and watched folders are read anew. Every program has to be ended
    first; machines that have the former key are refused from then on.
    """
    open_database()
    if local.is_running() or local.worker_seen("ingest") or local.worker_seen("screen"):
        raise UsageError(
            "Programs run on this database, or did half a minute ago, and would go on with the key they have: "
            "end them on every machine first."
        )
    with db.read() as session:
        if keymark.standing(session) is keymark.Standing.OURS:
            out.print("The database has this machine's key already; nothing was changed.")
            return
    if not yes:
        click.confirm(
            "Studies that come again will be new ones beside the old, whose verdicts stay with the old. "
            "Take this machine's key all the same?",
            abort=True,
        )
    with db.write() as session:
        keymark.accept(session, "command line")
    out.print("The database has this machine's key from now on. Copy secrets/pseudonym.key to the other machines.")

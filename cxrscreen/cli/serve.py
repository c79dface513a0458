"""`up` and `doctor`: the embedded stack, and what stands in its way."""

from __future__ import annotations

import importlib
import shutil
import sys
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from cxrscreen.cli.common import check_device, install_shipped, open_database
from cxrscreen.cli.later import later
from cxrscreen.cli.terminal import NOTICE, err, out

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from cxrscreen import blobs, db, keymark, local, programs, queue, registry, schedules, schema, tables, users
    from cxrscreen.settings import Settings
else:
    blobs, db, keymark, local = later("blobs", "db", "keymark", "local")
    programs, queue = later("programs", "queue")
    registry, schedules, schema, tables, users = later("registry", "schedules", "schema", "tables", "users")


def get_settings() -> Settings:
    from cxrscreen.settings import get_settings

    return get_settings()


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port of the dashboard; 0 takes a free one; default: that of CXRSCREEN_PORT.",
)
def up(port: int | None) -> None:
    """Run the dashboard and its workers on this machine.

    Redis, ingest and screening workers, the clock of the schedules and the dashboard, in the foreground; Ctrl-C ends
    all of it, and what was not done goes on with the next `up`. The first start prints a link that signs you in once.
    """
    settings = get_settings()
    stack = local.Stack(settings, port=port)
    if local.is_running(settings):
        stack.start()  # says who holds the folder
    check_device()
    local.need_broker(settings)
    open_database(keyed=True)
    first_start()
    with stack.heed_signals():
        stack.start()
        try:
            with err.status("Starting"):
                stack.wait_ready()
            out.print(f"Dashboard: {stack.address}", markup=False)
            greet(stack.address)
            out.print(f"Files: {settings.data_dir.absolute()}   Logs: {stack.logs}   Ctrl-C ends it.", markup=False)
            out.print(NOTICE, style="dim")
            stack.supervise()
        finally:
            with err.status("Ending: workers finish the batch in hand"):
                stack.stop()


def first_start(*, shipped: bool = True, people: bool = True) -> None:
    """What an empty database gets: the shipped model, one nightly schedule, an administrator without a password."""
    from sqlalchemy import select

    settings = get_settings()
    with db.write() as session:
        if shipped:
            install_shipped(session)
        if session.scalar(select(tables.Schedule.id).limit(1)) is None:
            hour, _, minute = settings.nightly_at.partition(":")
            cron = f"{minute or 0} {hour} * * *"
            schedules.add(session, schedules.Wish("Nightly", cron, settings.timezone), "first start")
        if people and session.scalar(select(tables.User.id).limit(1)) is None:
            users.add(session, "admin", tables.Role.ADMIN)


def greet(address: str) -> None:
    """Print a one-time link while the administrator has no password yet."""
    from sqlalchemy import select

    user = tables.User
    with db.write() as session:
        admin = session.scalar(
            select(user).where(user.role == tables.Role.ADMIN, user.active.is_(True)).order_by(user.id).limit(1)
        )
        if admin is not None and admin.password_hash is None:
            token = users.make_link(session, admin)
            out.print(f"Sign in once as {admin.name}, within the hour: {address}/enter/{token}", markup=False)
        version = registry.active(session)
    if version is None:
        out.print("There is no active model yet: `cxrscreen models register FOLDER --activate`.")
    elif version.phantom:
        out.print(f"The active model, {version.name}, is a phantom model: for demonstration only.", markup=False)


@click.command()
def doctor() -> None:
    """Look at what a run needs, and say what to mend.

    Exit status 1 where something is to be mended.
    """
    checks: list[tuple[str, Callable[[], str]]] = [
        ("Python", lambda: sys.version.split()[0]),
        ("database", _database),
        ("key", _key),
        ("store", _store),
        ("disk", _disk),
        ("redis-server", lambda: (get_settings().redis_url and "another machine's") or programs.redis_server()),
        ("broker", _broker),
        ("torch", _torch),
        ("model", _model),
    ]
    bad = 0
    for name, check in checks:
        try:
            said, mark = check(), "[green]ok[/]  "
        except Exception as error:
            bad += 1
            said, mark = str(error).splitlines()[0] if str(error) else repr(error), "[red]MEND[/]"
        out.print(f"{mark} {name:13}", end="")
        out.print(said, markup=False)
    raise click.exceptions.Exit(1 if bad else 0)


def _database() -> str:
    from sqlalchemy import text

    open_database()
    engine = db.get_engine()
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    if differences := schema.differences(engine):
        raise RuntimeError(f"the schema differs from the tables in {len(differences)} places: cxrscreen db upgrade")
    return f"{engine.url.render_as_string()}, revision {schema.current(engine)}"


def _key() -> str:
    with db.read() as session:
        found = keymark.standing(session)
    if found is keymark.Standing.ANOTHER:
        raise RuntimeError(keymark.ANOTHER)
    if found is keymark.Standing.UNASKED:
        return "identifiers are kept (CXRSCREEN_KEEP_IDENTIFIERS), so that no study is known by it"
    return "the database's" if found is keymark.Standing.OURS else "the database has none yet; the first start gives it"


def _store() -> str:
    store = blobs.store()
    key = store.put("originals", b"cxrscreen doctor was here")
    try:
        if store.get("originals", key) != b"cxrscreen doctor was here":
            raise RuntimeError("the store gives other bytes than it was given")
    finally:
        store.delete("originals", key)
    return get_settings().store


def _disk() -> str:
    free = shutil.disk_usage(get_settings().data_dir if get_settings().data_dir.exists() else tempfile.gettempdir())
    if free.free < 2e9:
        raise RuntimeError(f"only {free.free / 1e9:.1f} GB are free in {get_settings().data_dir.absolute()}")
    return f"{free.free / 1e9:.0f} GB free"


def _broker() -> str:
    if not get_settings().broker:
        return "no stack has run here yet; `cxrscreen up` starts one"
    if queue.answers():
        return f"answers; {queue.length(queue.INGEST)} ingest and {queue.length(queue.SCREEN)} screen messages wait"
    if get_settings().redis_url:
        raise RuntimeError(f"{queue.place()} does not answer; see CXRSCREEN_REDIS_URL")
    if local.is_running():
        raise RuntimeError("a stack runs but its Redis does not answer; see the log folder")
    return "not running; `cxrscreen up` starts it"


def _torch() -> str:
    torch = importlib.import_module("torch")
    check_device()
    importlib.import_module("models.bundle")  # torchvision and timm with it
    device = "CUDA" if torch.cuda.is_available() else "CPU only"
    return f"{torch.__version__}, {device}, {torch.get_num_threads()} threads"


def _model() -> str:
    def told(session: Session) -> str:
        version = registry.active(session) or install_shipped(session)
        if version is None:
            return "none yet: `cxrscreen train`, then `cxrscreen models register`"
        registry.fetch(blobs.store(), version)
        return version.name + (" (phantom: for demonstration only)" if version.phantom else "")

    with db.write() as session:
        return told(session)

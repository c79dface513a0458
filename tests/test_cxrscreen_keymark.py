"""A database knows the key of its pseudonyms: the first process gives it, and nobody runs on it with another."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import select
from stack_fixtures import PATIENCE_SECONDS, Done

from cxrscreen import db, keymark, programs, schema, starting
from cxrscreen.errors import UsageError
from cxrscreen.settings import Settings
from cxrscreen.tables import AuditEvent, KeyMark, Worker, now

Configure = Callable[..., Settings]

# Waits for the others, so that all come to the database in the same moment.
FIRST = """
import sys, time
from pathlib import Path
from cxrscreen import errors, keymark
Path(sys.argv[1] + ".ready").touch()
while not Path(sys.argv[2]).exists():
    time.sleep(0.001)
try:
    keymark.need_ours()
except errors.UsageError:
    sys.exit(2)
"""


def kept() -> list[str]:
    with db.read() as session:
        return list(session.scalars(select(KeyMark.fingerprint)))


def refused(done: Done, status: int = 2) -> str:
    said = done.stderr.strip()
    assert done.returncode == status and "Traceback" not in said + done.stdout, said
    assert len(said.splitlines()) == 1, said
    return said


def run_role(role: str, settings: Settings, **env: str) -> Done:
    command = programs.command(role, settings, "127.0.0.1:0")
    settings.run_dir.mkdir(exist_ok=True)
    return subprocess.run(
        command, env={**os.environ, **env}, cwd=programs.ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )


def test_the_first_process_gives_a_database_its_key_and_another_key_is_refused(
    database: Settings, configure: Configure
) -> None:
    configure(pseudonym_key="the first")
    keymark.need_ours()
    keymark.need_ours()
    assert kept() == [keymark.fingerprint()] and "first" not in kept()[0]
    configure(pseudonym_key="another")
    with pytest.raises(UsageError, match=r"pseudonym\.key.*CXRSCREEN_PSEUDONYM_KEY.*accept-key"):
        keymark.need_ours()
    configure(pseudonym_key="the first")
    keymark.need_ours()


def test_where_identifiers_are_kept_no_key_is_asked_for_and_none_is_noted(
    database: Settings, configure: Configure
) -> None:
    configure(pseudonym_key="the first", keep_identifiers=True)
    keymark.need_ours()
    assert kept() == []
    configure(pseudonym_key="another", keep_identifiers=False)
    keymark.need_ours()
    configure(pseudonym_key="the first", keep_identifiers=True)
    keymark.need_ours()


def test_a_database_without_a_place_for_it_is_told_as_one_that_is_to_be_upgraded(database: Settings) -> None:
    schema.downgrade(db.get_engine(), "0010")
    with pytest.raises(UsageError, match="db upgrade"):
        keymark.need_ours()


def test_of_several_first_processes_one_key_wins_and_all_agree(
    database: Settings, configure: Configure, tmp_path: Path
) -> None:
    go, keys = tmp_path / "go", [f"key {n % 2}" for n in range(4)]
    places = [tmp_path / f"{n}" for n in range(len(keys))]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", FIRST, str(place), str(go)],
            env={**os.environ, "CXRSCREEN_PSEUDONYM_KEY": key},
            cwd=programs.ROOT,
        )
        for key, place in zip(keys, places, strict=True)
    ]
    while not all(place.with_suffix(".ready").exists() for place in places):
        assert all(process.poll() is None for process in running)
        time.sleep(0.01)
    go.touch()
    status = [process.wait(PATIENCE_SECONDS) for process in running]
    (mark,) = kept()
    prints = []
    for key in keys:
        configure(pseudonym_key=key)
        prints.append(keymark.fingerprint())
    assert mark in prints
    assert status == [0 if one == mark else 2 for one in prints]


@pytest.mark.stack
@pytest.mark.parametrize("role", ["web", "ingest", "screen", "beat"])
def test_a_role_with_another_key_ends_at_once_and_says_why(database: Settings, configure: Configure, role: str) -> None:
    configure(pseudonym_key="the first")
    keymark.need_ours()
    done = run_role(role, database, CXRSCREEN_PSEUDONYM_KEY="another")
    assert refused(done) == f"cxrscreen: {keymark.ANOTHER}"


@pytest.mark.stack
@pytest.mark.parametrize("role", ["web", "beat"])
def test_a_role_with_a_wrong_setting_ends_with_one_line(sqlite_database: Settings, role: str) -> None:
    done = run_role(role, sqlite_database, CXRSCREEN_SWEEP_SECONDS="soon")
    assert "CXRSCREEN_SWEEP_SECONDS" in refused(done)


def test_a_database_that_is_not_there_yet_is_waited_for(
    postgres_database: Settings, postgres: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = db.get_engine().url.database

    def let_in(allowed: bool) -> None:
        with psycopg.connect(postgres, autocommit=True) as administrator:
            administrator.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {allowed}'.encode())

    let_in(False)
    monkeypatch.setattr(starting, "PATIENCE_SECONDS", 0.0)
    with pytest.raises(SystemExit) as end, starting.one_line():
        starting.look()
    assert end.value.code == 1 and "the database says" in capsys.readouterr().err
    monkeypatch.setattr(starting, "PATIENCE_SECONDS", 3600.0)
    monkeypatch.setattr(starting.time, "sleep", lambda _seconds: let_in(True))
    starting.look()
    assert "waiting" in capsys.readouterr().err and kept() == [keymark.fingerprint()]


@pytest.mark.parametrize("command", [("up",), ("screen", "."), ("rescreen",)], ids=lambda words: words[0])
def test_commands_that_make_pseudonyms_are_refused_and_others_are_not(
    stacked: Settings, configure: Configure, cli_here: Callable[..., Done], command: tuple[str, ...]
) -> None:
    assert cli_here("jobs").returncode == 0 and kept() == [], "who only looks gives no key"
    configure(pseudonym_key="the first")
    keymark.need_ours()
    configure(pseudonym_key="another")
    assert "accept-key" in refused(cli_here(*command))
    assert cli_here("jobs").returncode == 0


def told(cli_here: Callable[..., Done]) -> str:
    (line,) = [line for line in cli_here("doctor").stdout.splitlines() if line.split()[1] == "key"]
    return line


def test_the_doctor_tells_how_the_key_stands_and_gives_none(
    stacked: Settings, configure: Configure, cli_here: Callable[..., Done]
) -> None:
    configure(pseudonym_key="the first")
    assert "none yet" in told(cli_here) and kept() == []
    keymark.need_ours()
    assert told(cli_here).endswith("the database's")
    configure(pseudonym_key="another")
    assert told(cli_here).startswith("MEND") and "accept-key" in told(cli_here)
    configure(keep_identifiers=True)
    assert told(cli_here).startswith("ok") and "CXRSCREEN_KEEP_IDENTIFIERS" in told(cli_here)


def test_another_key_is_accepted_once_a_person_says_so(
    database: Settings, configure: Configure, cli_here: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(pseudonym_key="the first")
    keymark.need_ours()
    before = kept()
    configure(pseudonym_key="another")
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    asked = cli_here("db", "accept-key")
    assert asked.returncode == 130 and "new ones" in asked.stdout and kept() == before
    assert cli_here("db", "accept-key", "--yes").returncode == 0
    keymark.need_ours()
    assert kept() == [keymark.fingerprint()] != before
    assert "already" in cli_here("db", "accept-key").stdout
    with db.read() as session:
        event = session.scalars(select(AuditEvent).where(AuditEvent.action == "database.key")).one()
        assert event.detail == {"from": before[0], "to": kept()[0]}
    configure(pseudonym_key="the first")
    with pytest.raises(UsageError):
        keymark.need_ours()


def test_no_key_is_accepted_under_programs_that_run(
    database: Settings, configure: Configure, cli_here: Callable[..., Done]
) -> None:
    configure(pseudonym_key="the first")
    keymark.need_ours()
    with db.write() as session:
        session.add(Worker(name="elsewhere", role="screen", pid=1, doing="", done=0, started_at=now(), seen_at=now()))
    configure(pseudonym_key="another")
    before = kept()
    assert "end them" in refused(cli_here("db", "accept-key", "--yes"))
    assert kept() == before

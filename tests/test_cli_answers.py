"""What the command line says before it works: help that stands by itself, and one line for what cannot be."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest
import seed
from dashboard_fixtures import done_job
from stack_fixtures import Done
from test_docs import commands

from cxrscreen import db, users
from cxrscreen.cli import cli
from cxrscreen.cli.targets import TargetFile, TargetFolder
from cxrscreen.errors import UsageError
from cxrscreen.settings import Settings, get_settings
from cxrscreen.tables import AuditEvent, Entry, EntryStatus, Role

EVERY = commands(cli)
SHORT = 62  # letters that stand beside a name where a terminal is 80 wide


@pytest.mark.parametrize(("path", "command"), EVERY, ids=[" ".join(path) for path, _ in EVERY])
def test_every_command_and_option_explains_itself(path: tuple[str, ...], command: click.Command) -> None:
    assert command.help and not command.get_short_help_str(SHORT).endswith("..."), path
    for option in command.params:
        assert not isinstance(option, click.Option) or option.help, (path, option.name)


@pytest.mark.parametrize(
    "arguments",
    [
        ("screen", "a.png", "--out"),
        ("rescreen", "--out"),
        ("job", "1", "--retry", "--out"),
        ("index", "a.csv", "--out"),
        ("train", "a.csv", "--out"),
        ("pretrain", "a.csv", "--out"),
        ("holdout", "a.csv", "--out"),
        ("evaluate", ".", "a.csv", "--out"),
        ("evaluate", ".", "a.csv", "--report"),
        ("study", "ablation", "a.csv", "--out"),
        ("db", "backup"),
    ],
    ids=" ".join,
)
def test_where_nothing_can_be_written_is_said_before_any_work(
    configure: Callable[..., Settings],
    cli_here: Callable[..., Done],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "a.png", "file"):
        Path(name).touch()
    Path("closed").mkdir()
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path).name != "closed")
    for target in ("file/r.csv", "closed/r.csv"):
        refused(cli_here(*arguments, target), "cannot be written")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.png", "closed", "file"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("job", "1", "--cancel", "--pause"), "--cancel and --pause"),
        (("job", "one"), "not a valid integer"),
        (("train", "nowhere.csv", "--out", "b"), "does not exist"),
        (("models", "register", "nowhere"), "cxrscreen models register --help"),
        (("screen",), "PATH"),
        (("sceen",), "No such command"),
        (("users", "password", "nobody"), "nobody"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_is_one_line_and_changes_nothing(
    sqlite_database: Settings, cli_here: Callable[..., Done], arguments: tuple[str, ...], words: str
) -> None:
    with db.write() as session:
        users.add(session, "ann", Role.ADMIN)
    refused(cli_here(*arguments), words)
    with db.read() as session:
        assert [user.role for user in users.every(session)] == [Role.ADMIN]


def test_nobody_is_added_twice_and_the_last_administrator_stays(
    sqlite_database: Settings, cli_here: Callable[..., Done]
) -> None:
    with db.write() as session:
        users.add(session, "ann", Role.ADMIN)
    refused(cli_here("users", "add", "ann"), "already", 1)  # before a password is asked for
    refused(cli_here("users", "role", "ann", "reader"), "last administrator", 1)
    with db.read() as session:
        assert [user.role for user in users.every(session)] == [Role.ADMIN]


def refused(done: Done, words: str, status: int = 2) -> None:
    assert done.returncode == status, done
    assert len(done.stderr.strip().splitlines()) == 1 and "Traceback" not in done.stderr
    assert words in done.stderr


def test_a_role_changed_by_hand_ends_the_sessions(sqlite_database: Settings, cli_here: Callable[..., Done]) -> None:
    with db.write() as session:
        before = users.add(session, "ann", Role.OPERATOR).session_mark
    assert cli_here("users", "role", "ann", "reader").returncode == 0
    with db.read() as session:
        ann = users.get(session, "ann")
        assert ann.role == Role.READER and ann.session_mark != before


def test_a_data_folder_that_we_make_is_closed_to_others(
    configure: Callable[..., Settings], cli_here: Callable[..., Done]
) -> None:
    assert cli_here("jobs").returncode == 0
    assert stat.S_IMODE(get_settings().data_dir.stat().st_mode) == 0o700


def test_no_cell_of_a_table_is_a_formula(
    sqlite_database: Settings, cli_here: Callable[..., Done], tmp_path: Path
) -> None:
    with db.write() as session:
        job = done_job(session, seed.model(session))
        names = ['=HYPERLINK("http://evil.example")', "@SUM(A1)", "\n=1+1", "plain.png"]
        session.add_all(Entry(job_id=job.id, name=name, status=EntryStatus.FAILED) for name in names)
    target = tmp_path / "r.csv"
    assert cli_here("job", str(job.id), "--out", str(target)).returncode == 0
    with target.open(newline="") as file:
        assert [row["file"] for row in csv.DictReader(file)] == [*(f"'{name}" for name in names[:3]), "plain.png"]


def test_people_are_listed_with_what_a_keeper_asks_for(
    sqlite_database: Settings, cli_here: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Nobody yet" in cli_here("users", "list").stdout
    monkeypatch.setattr("sys.stdin", io.StringIO("a long enough one\n"))
    assert cli_here("users", "add", "ann [b]", "--role", "admin").returncode == 0
    refused(cli_here("users", "add", "bob"), "standard input", 2)
    with db.write() as session:
        ann = users.get(session, "ann [b]")
        assert users.verify(session, ann.name, "a long enough one")
        for days in (9, 2):
            event = AuditEvent(actor=ann.name, user_id=ann.id, action="auth.sign-in", subject="address 127.0.0.1")
            event.at = datetime(2026, 11, 30 - days, 7, 30, tzinfo=UTC)
            session.add(event)
        users.set_active(session, users.add(session, "bob", Role.READER), False, ann)
    first, second = json.loads(cli_here("users", "list", "--json").stdout)
    assert (first["name"], first["role"], first["active"]) == ("ann [b]", "admin", True)
    assert first["last_sign_in"] == "2026-11-28T07:30:00+00:00" and first["password"] is True
    assert (second["name"], second["active"], second["last_sign_in"]) == ("bob", False, None)
    told = cli_here("users", "list").stdout.splitlines()
    assert "2026-11-28 07:30:00" in told[1] and "ann [b]" in told[1]
    assert "never" in told[2] and "kept out, no password yet" in told[2]


@pytest.mark.parametrize("columns", ["20", "80", "300"])
def test_a_table_that_goes_to_a_file_is_whole(
    sqlite_database: Settings, cli_here: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    title = "a very long title of an archive that somebody uploaded, " * 3
    with db.write() as session:
        done_job(session, seed.model(session), title)
    lines = cli_here("jobs").stdout.splitlines()
    assert len(lines) == 2 and title.strip() in lines[1]


@pytest.mark.parametrize(
    ("target", "parameter"), [(TargetFile(".csv"), "closed/in/r.csv"), (TargetFolder(), "closed/in")]
)
def test_a_folder_that_may_not_be_entered_is_told_like_one_that_may_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: click.Path, parameter: str
) -> None:
    """The tests run as an administrator, to whom no folder is closed: so the question is answered as for others."""
    look = Path.stat

    def closed(path: Path, **more: bool) -> os.stat_result:
        if "closed" in path.parts[:-1]:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return look(path, **more)

    (tmp_path / "closed").mkdir()
    monkeypatch.setattr(Path, "stat", closed)
    with pytest.raises(UsageError, match=r"cannot be written: a folder above it is closed to you\.$"):
        target.convert(tmp_path / parameter, None, None)

"""The command line, run as a person runs it: good requests end well, bad ones in one clear line."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image as Picture
from sqlalchemy import func, select, text
from stack_fixtures import PATIENCE_SECONDS, Done, register, run_cli

from cxrscreen import db, local, programs, registry
from cxrscreen.cli.common import SHIPPED
from cxrscreen.imaging import phantoms
from cxrscreen.settings import Settings, get_settings
from cxrscreen.tables import Entry, Schedule, User

pytestmark = pytest.mark.stack


@pytest.fixture
def bare(stacked: Settings, phantom_bundle: Path) -> Settings:
    """A data folder with an active model and nothing that runs."""
    register(phantom_bundle)
    return stacked


def one_line(done: Done, status: int, *words: str) -> None:
    said = done.stderr.strip()
    assert done.returncode == status, said
    assert "Traceback" not in said + done.stdout
    assert len(said.splitlines()) == 1, said
    for word in words:
        assert word in said, said


def test_screen_writes_a_row_for_every_entry(bare: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "night"
    folder.mkdir()
    for n in range(3):
        Picture.fromarray(phantoms.phantom("normal", seed=n, side=160)).save(folder / f"{n}.png")
    (folder / "notes.txt").write_text("nothing to see")
    with zipfile.ZipFile(folder / "empty.zip", "w"):
        pass
    (folder / "text.zip").write_text("no archive at all")
    done = run_cli("screen", str(folder), "--out", str(tmp_path / "r.csv"), "--json")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "r.csv").open()))
    assert {row["file"]: row["status"] for row in rows} == {
        f"{folder}/0.png": "scored",
        f"{folder}/1.png": "scored",
        f"{folder}/2.png": "scored",
        f"{folder}/empty.zip": "rejected",
        f"{folder}/notes.txt": "rejected",
        f"{folder}/text.zip": "rejected",
    }
    for row in rows:
        assert bool(row["score"]) == (row["status"] == "scored") != bool(row["reason"])
        if row["score"]:
            assert sum(float(row[f"p_{name}"]) for name in ("covid", "normal", "pneumonia")) == pytest.approx(
                1, abs=1e-4
            )
            assert float(row["score"]) == pytest.approx(float(row["p_covid"]), abs=1e-4)
    summary = json.loads(done.stdout)
    assert (summary["found"], summary["scored"], summary["rejected"]) == (6, 3, 3)
    assert summary["phantom"] is True
    again = run_cli("screen", str(folder / "0.png"), str(tmp_path / "gone"), "--out", str(tmp_path / "r.parquet"))
    assert again.returncode == 1 and "gone cannot be opened" in again.stderr
    table = pq.read_table(tmp_path / "r.parquet").to_pylist()
    assert [row["score"] for row in table] == [pytest.approx(float(rows[0]["score"]), abs=0)]


def test_with_an_empty_registry_the_shipped_model_counts(stacked: Settings, tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    Picture.fromarray(phantoms.phantom("normal", seed=1, side=160)).save(picture)
    # How fast its network runs is not asked here, and to measure that takes long.
    done = run_cli("screen", str(picture), "--json", CXRSCREEN_ENGINE="torch")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    shipped = [json.loads(path.read_text())["name"] for path in SHIPPED.glob("*/bundle.json")]
    assert [summary["model"]] == shipped and not summary["phantom"]
    # A phantom is no patient: scored or refused as unlike anything seen, but answered for.
    assert summary["scored"] + summary["rejected"] == summary["found"] == 1


@pytest.mark.parametrize("arguments", [("screen", "/nowhere/at/all"), ("screen", "not-here", "nor-here")])
def test_nothing_to_open(bare: Settings, cli_here: Callable[..., Done], arguments: tuple[str, ...]) -> None:
    done = cli_here(*arguments)
    assert done.returncode == 1 and "cannot be opened" in done.stderr


def test_bad_requests_are_one_line(
    bare: Settings, cli_here: Callable[..., Done], tmp_path: Path, phantom_bundle: Path
) -> None:
    picture = tmp_path / "a.png"
    Picture.fromarray(phantoms.phantom("normal", seed=1, side=160)).save(picture)
    one_line(run_cli("screen", str(picture), "--out", str(tmp_path / "r.xlsx")), 2, ".csv")
    one_line(cli_here("screen", str(picture), "--out", str(tmp_path / "no" / "r.csv")), 2, "cannot be written")
    one_line(cli_here("screen", str(picture), "--model", "nobody"), 2, "nobody")
    other = tmp_path / "other"
    other.mkdir()
    one_line(cli_here("screen", str(picture), "--model", str(other)), 2, "bundle.json")
    (other / "bundle.json").write_text('{"format": "another/9"}')
    one_line(cli_here("models", "register", str(other)), 2, "another/9")
    one_line(cli_here("models", "activate", "nobody"), 2, "nobody")
    one_line(cli_here("job", "99"), 2, "99")
    one_line(cli_here("db", "restore", str(picture)), 2, "no backup")
    one_line(cli_here("db", "backup", str(tmp_path / "no" / "b.db")), 2, "does not exist")
    one_line(cli_here("schedules", "add", "Late", "--cron", "0 25 * * *"), 2, "no cron expression")
    index = tmp_path / "index.csv"
    index.write_text("path,label,patient,source,split\na.png,covid,1,x,train\n")
    one_line(cli_here("train", str(index), "--out", str(tmp_path / "b")), 2, "file")
    assert not (tmp_path / "b").exists()
    one_line(cli_here("evaluate", str(phantom_bundle), str(index)), 2, "file")


@pytest.mark.parametrize(
    ("name", "value", "status", "words"),
    [
        ("port", "many", 2, "valid integer"),
        ("database_url", "nonsense:secret-word", 2, "SQLAlchemy URL"),
        ("redis_url", "http://secret-word@here", 2, "URL of a Redis"),
        ("redis_url", "redis://:secret-word@127.0.0.1:1/0", 1, "Redis at 127.0.0.1:1 does not answer"),
        ("engine", "steam", 2, "'openvino'"),
        ("device", "gpu", 2, "should match"),
        ("device", "cuda:99", 2, "There is no device 'cuda:99'"),
        ("nightly_at", "25:00", 2, "should match"),
        ("data_dir", "/dev/null", 2, "one you may write"),
    ],
)
def test_settings_that_cannot_be_are_named_before_anything_runs(
    bare: Settings,
    cli_here: Callable[..., Done],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    value: str,
    status: int,
    words: str,
) -> None:
    picture = tmp_path / "a.png"
    Picture.fromarray(phantoms.phantom("normal", seed=1, side=160)).save(picture)
    monkeypatch.setenv(f"CXRSCREEN_{name.upper()}", value)
    get_settings.cache_clear()
    done = cli_here("screen", str(picture))
    one_line(done, status, f"CXRSCREEN_{name.upper()}", words)
    assert "secret-word" not in done.stderr


def test_a_database_of_a_newer_version_is_left_alone(bare: Settings, cli_here: Callable[..., Done]) -> None:
    with db.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for arguments in (("jobs",), ("db", "upgrade")):
        one_line(cli_here(*arguments), 2, "newer cxrscreen", "9999")
    assert cli_here("db", "check").returncode == 1


def test_a_first_start_without_up(stacked: Settings, cli_here: Callable[..., Done]) -> None:
    """As the compose file begins: the model in the box is active and people are not made up."""
    for _ in range(2):
        assert cli_here("db", "upgrade", "--first-start").returncode == 0
    with db.read() as session:
        assert registry.active(session) is not None
        assert [schedule.name for schedule in session.scalars(select(Schedule))] == ["Nightly"]
        assert session.scalar(select(func.count(User.id))) == 0


def test_a_port_in_use_and_a_second_stack(bare: Settings, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        one_line(run_cli("up", "--port", str(port)), 1 + 1, str(port), "--port")
    assert not local.is_running(get_settings())


@pytest.fixture
def ups() -> Iterator[list[subprocess.Popen[str]]]:
    """Every `up` that a test starts; what still runs at its end is killed."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


def start_up(ups: list[subprocess.Popen[str]]) -> tuple[subprocess.Popen[str], str]:
    """`cxrscreen up` in the background, and the address it printed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cxrscreen", "up", "--port", "0"],
        env={**os.environ, "CXRSCREEN_DATA_DIR": str(get_settings().data_dir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    ups.append(process)
    assert process.stdout
    for line in process.stdout:
        if line.startswith("Sign in once"):
            return process, line.split()[-1]
    raise AssertionError("up ended before it was up")


def test_up_is_found_by_others_and_ctrl_c_ends_all_of_it(
    bare: Settings, phantom_archive: Path, tmp_path: Path, ups: list[subprocess.Popen[str]]
) -> None:
    process, link = start_up(ups)
    run = get_settings().run_dir
    try:
        assert "/enter/" in link
        pids = {role: local.read_pid(run, role) for role in programs.ROLES}
        assert all(pids.values()), pids
        second = run_cli("up", "--port", "0")
        one_line(second, 2, "already runs", str(process.pid))
        done = run_cli("screen", str(phantom_archive), "--out", str(tmp_path / "r.csv"))
        assert done.returncode == 0, done.stderr
        assert {role: local.read_pid(run, role) for role in programs.ROLES} == pids, "the running stack was used"
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) == 0
    assert not any(local._runs_ours(pid) for pid in pids.values() if pid)
    assert not local.is_running(get_settings())
    assert [path.name for path in run.glob("*.pid")] == []


def test_a_stack_that_was_killed_leaves_nobody_and_starts_again(
    bare: Settings, ups: list[subprocess.Popen[str]]
) -> None:
    process, _ = start_up(ups)
    pids = [local.read_pid(get_settings().run_dir, role) for role in programs.ROLES]
    process.kill()
    process.wait()
    until = time.monotonic() + PATIENCE_SECONDS
    while any(local._runs_ours(pid) for pid in pids if pid):
        assert time.monotonic() < until
        time.sleep(0.2)
    again, _ = start_up(ups)
    again.send_signal(signal.SIGINT)
    assert again.wait(PATIENCE_SECONDS) == 0


def all_found(count: int) -> bool:
    with db.read() as session:
        return session.scalar(select(func.count()).select_from(Entry)) == count


def test_an_interrupted_screen_says_how_to_go_on(
    bare: Settings, tmp_path: Path, configure: Callable[..., Settings]
) -> None:
    folder = tmp_path / "night"
    folder.mkdir()
    for n in range(40):
        Picture.fromarray(phantoms.phantom("normal", seed=n, side=256)).save(folder / f"{n}.png")
    process = subprocess.Popen(
        [sys.executable, "-m", "cxrscreen", "screen", str(folder)],
        env={**os.environ, "CXRSCREEN_DATA_DIR": str(get_settings().data_dir)},
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + PATIENCE_SECONDS
    while not all_found(40):
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE_SECONDS)
    if process.returncode != 0:  # it may have ended just before
        assert process.returncode == 130 and "nothing is lost" in said.replace("\n", " ")
    assert "Traceback" not in said
    state = json.loads(run_cli("job", "1", "--json").stdout)
    assert state["found"] == state["scored"] + state["waiting"]


def test_help_tells_every_command() -> None:
    done = run_cli("--help")
    assert done.returncode == 0 and "not a medical device" in done.stdout
    for command in ("demo", "up", "screen", "jobs", "job", "train", "evaluate", "models", "rescreen", "schedules"):
        assert f"\n  {command} " in done.stdout, command


def test_people_and_models_by_hand(bare: Settings, cli_here: Callable[..., Done]) -> None:
    done = cli_here("users", "add", "ann", "--role", "reader", "--link")
    assert done.returncode == 0 and "/enter/" in done.stdout
    assert cli_here("users", "role", "ann", "admin").returncode == 0
    listed = json.loads(cli_here("models", "list", "--json").stdout)
    assert [row["state"] for row in listed] == ["active"] and listed[0]["phantom"]
    assert "PHANTOM" in cli_here("models", "list").stdout
    assert cli_here("db", "check").returncode == 0
    backup = get_settings().data_dir / "backup.db"
    assert cli_here("db", "backup", str(backup)).returncode == 0
    one_line(cli_here("db", "backup", str(backup)), 2, "exists")
    assert cli_here("db", "restore", str(backup)).returncode == 0
    doctor = run_cli("doctor")
    assert doctor.returncode == 0, doctor.stdout

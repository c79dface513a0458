"""A watched folder: each night takes what is new, once, and says what it left out."""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from s3_fixtures import BUSY, Bucket, passes
from sqlalchemy import select
from test_worker_nightly import model, moment, schedule, told

from cxrscreen import db, ingests, jobs, schedules
from cxrscreen.arrivals import Arrivals
from cxrscreen.cli import cli
from cxrscreen.imaging import archives, folders
from cxrscreen.settings import Settings
from cxrscreen.tables import Entry, Job, JobState, NightState, WatchedFile, now
from worker import ingest, nightly


def write(path: Path, text: str, age: float = 3600) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (time.time() - age, time.time() - age))


def watch(place: str) -> None:
    model()
    schedule(armed="2026-11-24 12:00", scope={"folder": place, "watch": True})


def night(day: int) -> tuple[list[str], int | None, int | None]:
    """What the night of a day took in, and how many files it left out as unchanged and as unsettled."""
    nightly.run(moment(f"2026-11-{day} 22:00"))
    with db.read() as session:
        job = session.scalars(select(Job).order_by(Job.id.desc())).first()
    assert job is not None
    ingest.run(job.id)
    nightly.run(moment(f"2026-11-{day} 22:01"))
    return taken(job.id)


def taken(job_id: int) -> tuple[list[str], int | None, int | None]:
    with db.read() as session:
        job = jobs.get(session, job_id)
        names = session.scalars(select(Entry.name).where(Entry.job_id == job.id).order_by(Entry.name))
        state = jobs.progress(session, job)
        return [name.removeprefix(job.sources[0]["label"]) for name in names], state["unchanged"], state["unsettled"]


def test_each_file_is_taken_once_for_each_time_it_changes(database: Settings, tmp_path: Path) -> None:
    hot, other = tmp_path / "hot", tmp_path / "other"
    write(hot / "a", "a")
    write(hot / "deep" / "b", "b")
    write(other / "secret", "not for us")
    (hot / "way-out").symlink_to(other / "secret")
    with zipfile.ZipFile(hot / "z.zip", "w") as archive:
        archive.writestr("m", "m")
        archive.writestr("n", "n")
    os.utime(hot / "z.zip", (0, 0))
    watch(str(hot))
    assert night(24) == (["/a", "/deep/b", "/way-out", "/z.zip/m", "/z.zip/n"], 0, 0)
    assert night(25) == ([], 4, 0)
    write(hot / "a", "a", age=60)  # the same bytes at another time
    write(hot / "deep" / "b", "longer")
    write(hot / "deep" / "c", "c")
    assert night(26) == (["/a", "/deep/b", "/deep/c"], 2, 0)
    assert night(27) == ([], 5, 0)
    assert {state for _, state, _ in told()} == {NightState.DONE}
    with db.read() as session:
        rows = session.scalars(select(WatchedFile)).all()
    assert len(rows) == 5
    assert all(len(key) == 32 and int(key, 16) for row in rows for key in (row.folder, row.file))


def test_what_is_still_written_to_waits_for_the_next_night(database: Settings, tmp_path: Path) -> None:
    write(tmp_path / "hot" / "done", "+")
    write(tmp_path / "hot" / "growing", "+", age=1)
    write(tmp_path / "hot" / "a clock ahead", "+", age=-5)
    watch(str(tmp_path / "hot"))
    assert night(24) == (["/done"], 0, 2)
    for name in ("growing", "a clock ahead"):
        write(tmp_path / "hot" / name, "whole")
    assert night(25) == (["/a clock ahead", "/growing"], 1, 0)


def test_a_file_that_grew_since_the_walk_came_to_it_waits(database: Settings, tmp_path: Path) -> None:
    hot = tmp_path / "hot"
    write(hot / "a", "+")
    write(hot / "b", "+")
    watch(str(hot))
    found = list(folders.files(hot, "f"))
    write(hot / "b", "++")
    seen = Arrivals(1, 1)
    assert [file.name for file in seen.fresh(found)] == ["f/a"] and seen.unsettled == 1


def test_what_a_cancelled_job_took_is_new_again(database: Settings, tmp_path: Path) -> None:
    write(tmp_path / "hot" / "a", "+")
    watch(str(tmp_path / "hot"))
    assert night(24) == (["/a"], 0, 0)
    with db.write() as session:
        session.scalars(select(Job)).one().state = JobState.CANCELLED
    assert night(25) == (["/a"], 0, 0)
    assert night(26) == ([], 1, 0)


def test_what_could_not_be_read_stays_new(database: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "hot" / "a", "+")
    write(tmp_path / "hot" / "b", "+")
    plain = archives.open_plain

    def locked(path: Path) -> object:
        if path.name == "b":
            raise PermissionError(13, "Permission denied")
        return plain(path)

    watch(str(tmp_path / "hot"))
    with monkeypatch.context() as patch:
        patch.setattr(archives, "open_plain", locked)
        assert night(24) == (["/a", "/b"], 0, 0)
        assert night(25) == (["/b"], 1, 0)
    assert night(26) == (["/b"], 1, 0)
    assert night(27) == ([], 2, 0)


def test_an_interrupted_night_takes_the_rest_and_leaves_what_changed_for_the_next(
    database: Settings, configure: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(batch_size=2)
    for name in "abcdef":
        write(tmp_path / "hot" / name, name)
    watch(str(tmp_path / "hot"))
    holds, progressed = ingests.hold, []

    def lose(session: object, job_id: int, worker: str, **more: bool) -> bool:
        progressed.append(more.get("progressed", False))
        return sum(progressed) < 3 and holds(session, job_id, worker, **more)  # type: ignore[arg-type]

    nightly.run(moment("2026-11-24 22:00"))
    with monkeypatch.context() as patch:
        patch.setattr(ingests, "hold", lose)
        ingest.run(1)
    with db.read() as session:
        assert session.query(WatchedFile).count() == 4
        assert not jobs.get(session, 1).listed
    with db.write() as session:
        jobs.get(session, 1).lease_until = now()
    write(tmp_path / "hot" / "a", "another")
    ingest.run(1)
    assert taken(1) == (["/a", "/b", "/c", "/d", "/e", "/f"], 0, 1)
    assert night(25) == (["/a"], 5, 0)


def test_a_folder_that_is_gone_is_a_failed_night_and_forgets_nothing(database: Settings, tmp_path: Path) -> None:
    hot = tmp_path / "hot"
    write(hot / "a", "+")
    write(tmp_path / "elsewhere" / "b", "+")
    watch(str(hot))
    assert night(24) == (["/a"], 0, 0)
    hot.rename(tmp_path / "away")
    nightly.run(moment("2026-11-25 22:00"))
    hot.symlink_to(tmp_path / "elsewhere")
    nightly.run(moment("2026-11-26 22:00"))
    hot.unlink()
    (tmp_path / "away").rename(hot)
    assert night(27) == ([], 1, 0)
    (_, first, _), (_, gone, missing), (_, link, moved), (_, last, _) = told()
    assert (first, gone, link, last) == (NightState.DONE, NightState.FAILED, NightState.FAILED, NightState.DONE)
    assert "does not exist" in missing and "leads to" in moved


def test_a_watched_prefix(database: Settings, bucket: Bucket) -> None:
    bucket.put("hot/a", b"+")
    watch(f"{bucket.url}/hot")
    assert night(24) == (["/a"], 0, 0)
    bucket.put("hot/a", b"another")
    bucket.put("hot/b", b"+")
    bucket.service.fault = lambda _method, _path: BUSY
    nightly.run(moment("2026-11-25 22:00"))
    assert len(told()) == 1, "a store that does not answer costs no night: the next look tries again"
    bucket.service.fault = passes
    assert night(25) == (["/a", "/b"], 0, 0)
    assert night(26) == ([], 2, 0)


def test_a_job_whose_schedule_is_gone_takes_nothing_new(database: Settings, tmp_path: Path) -> None:
    write(tmp_path / "hot" / "a", "+")
    watch(str(tmp_path / "hot"))
    assert night(24) == (["/a"], 0, 0)
    with db.write() as session:
        schedules.remove(session, schedules.by_id(session, 1), "a test")
    with db.read() as session:
        assert session.query(WatchedFile).count() == 0
    write(tmp_path / "hot" / "b", "+")
    with db.write() as session:
        job = jobs.get(session, 1)
        job.listed, job.state = False, JobState.RUNNING
    ingest.run(1)
    assert taken(1)[0] == ["/a"]


def test_a_watch_is_made_from_the_command_line(database: Settings, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")

    def run(*words: str) -> str:
        done = CliRunner().invoke(cli, ["schedules", *words])
        return done.output or str(done.exception)

    assert "Name the folder" in run("add", "Hot", "--watch")
    assert "looks like s3://bucket/folder" in run("add", "Hot", "--folder", "ftp://a/b", "--watch")
    assert "does not exist" in run("add", "Hot", "--folder", str(tmp_path / "gone"), "--watch")
    assert "next" in run("add", "Hot", "--folder", str(tmp_path / "link"), "--watch")

    def scope() -> dict[str, object]:
        with db.read() as session:
            return schedules.by_name(session, "Hot").scope

    assert scope() == {"folder": str(tmp_path / "real"), "watch": True}
    assert "next" in run("edit", "Hot", "--whole") and scope() == {"folder": str(tmp_path / "real")}
    assert "next" in run("edit", "Hot", "--watch") and "next" in run("edit", "Hot", "--folder", "none")
    assert scope() == {}

"""The night: opened once, at its hour on the wall, late but not too late; and what it finds to do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import seed
from sqlalchemy import func, select

from cxrscreen import db, jobs, schedules
from cxrscreen.settings import Settings
from cxrscreen.tables import Entry, Job, JobKind, JobState, ModelState, Result, Schedule
from worker import ingest, nightly, sweep

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def schedule(at: str = "22:00", zone: str = "UTC") -> Schedule:
    with db.write() as session:
        made = Schedule(name="Nightly", at=at, timezone=zone, enabled=True, created_at=LONG_AGO)
        session.add(made)
        session.flush()
    return made


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "at", "now", "due"),
    [
        ("UTC", "22:00", "2026-11-24 22:00", "2026-11-24 22:00"),
        ("UTC", "22:00", "2026-11-25 03:00", "2026-11-24 22:00"),
        ("Europe/Berlin", "22:00", "2026-07-01 20:30", "2026-07-01 20:00"),
        ("Europe/Berlin", "22:00", "2026-12-01 20:30", "2026-11-30 21:00"),
        # Clocks go forward: 02:30 is left out that night and is read as 03:30 summer time.
        ("Europe/Berlin", "02:30", "2026-03-29 04:00", "2026-03-29 01:30"),
        # Clocks go back: 02:30 comes twice and counts the first time.
        ("Europe/Berlin", "02:30", "2026-10-25 04:00", "2026-10-25 00:30"),
        ("UTC", "22:00", "2028-02-29 23:00", "2028-02-29 22:00"),
        ("Pacific/Kiritimati", "00:10", "2026-01-01 00:00", "2025-12-31 10:10"),
    ],
)
def test_the_hour_on_the_wall(zone: str, at: str, now: str, due: str) -> None:
    row = Schedule(name="n", at=at, timezone=zone, enabled=True)
    assert schedules.last_due(row, moment(now)) == moment(due)


def test_each_night_of_a_year_is_opened_once(database: Settings) -> None:
    """A look every twenty minutes from the eve of one change of clocks over the other."""
    row = schedule("02:30", "Europe/Berlin")
    with db.write() as session:
        seed.model(session)
    opened = 0
    for day in ("2026-03-28", "2026-10-24"):
        at = moment(f"{day} 12:00")
        for step in range(3 * 72):
            opened += nightly.open_night(row, at + timedelta(minutes=20 * step)) is not None
    assert opened == 6
    with db.read() as session:
        windows = session.scalars(select(Job.window).order_by(Job.id)).all()
    assert windows == ["2026-03-29", "2026-03-30", "2026-03-31", "2026-10-25", "2026-10-26", "2026-10-27"]


def test_two_beats_open_one_night(database: Settings) -> None:
    row = schedule()
    with db.write() as session:
        seed.model(session)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: nightly.open_night(row, moment("2026-11-24 22:01")), range(8)))
    assert sum(job is not None for job in made) == 1


def test_a_night_is_not_opened_before_its_schedule_or_far_too_late(database: Settings) -> None:
    row = schedule()
    with db.write() as session:
        seed.model(session)
    assert nightly.open_night(row, moment("2026-11-24 21:59")) is None
    assert nightly.open_night(row, moment("2026-11-25 12:00")) is None
    row.created_at = moment("2026-11-24 22:30")
    assert nightly.open_night(row, moment("2026-11-24 23:00")) is None


def test_without_an_active_model_there_is_no_night(database: Settings) -> None:
    row = schedule()
    with db.write() as session:
        seed.model(session, state=ModelState.CANDIDATE)
    assert nightly.open_night(row, moment("2026-11-24 22:01")) is None


def test_a_night_lists_what_the_version_has_not_answered_for(database: Settings) -> None:
    with db.write() as session:
        version = seed.model(session)
        images = seed.images(session, 7)
        for image in images[:3]:
            session.add(Result(image_id=image.id, model_version_id=version.id, **seed.result()))
        job_id = jobs.create(session, JobKind.NIGHTLY, "n", version.id).id
    ingest.run(job_id)
    with db.read() as session:
        listed = session.scalars(select(Entry.image_id).where(Entry.job_id == job_id).order_by(Entry.id)).all()
        assert listed == [image.id for image in images[3:]]
        assert jobs.get(session, job_id).listed


def test_a_night_with_nothing_to_do_ends(database: Settings) -> None:
    with db.write() as session:
        job_id = jobs.create(session, JobKind.NIGHTLY, "n", seed.model(session).id).id
    ingest.run(job_id)
    with db.read() as session:
        assert jobs.get(session, job_id).state == JobState.DONE


def test_a_rescreen_since_a_day_leaves_out_what_came_before(database: Settings) -> None:
    with db.write() as session:
        version = seed.model(session)
        old, new = seed.images(session, 2)
        old.created_at, new.created_at = moment("2026-01-01 00:00"), moment("2026-02-01 00:00")
        scope = {"since": moment("2026-01-15 00:00").isoformat()}
        job_id = jobs.create(session, JobKind.RESCREEN, "n", version.id, scope=scope).id
    ingest.run(job_id)
    with db.read() as session:
        assert session.scalars(select(Entry.image_id)).all() == [new.id]


def test_a_sweep_without_a_broker_changes_nothing_but_settles(database: Settings) -> None:
    with db.write() as session:
        version = seed.model(session)
        job = seed.running_job(session, version, 0)
        waiting = seed.running_job(session, version, 2)
    sweep.run()
    with db.read() as session:
        assert jobs.get(session, job.id).state == JobState.DONE
        assert jobs.get(session, waiting.id).state == JobState.RUNNING
        assert session.scalar(select(func.count()).where(Entry.status == "waiting")) == 2

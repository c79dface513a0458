"""How long a job may still take, between two bounds, and what happened to it when."""

from __future__ import annotations

from datetime import datetime, timedelta
from unittest.mock import patch

import pytest
import seed
from sqlalchemy import select, update

from cxrscreen import batches, db, ingests, jobs, outlook, timeline
from cxrscreen.batches import Answer
from cxrscreen.settings import Settings
from cxrscreen.tables import Batch, BatchState, Entry, EntryStatus, JobKind, now


def start(count: int, batch: int) -> int:
    with db.write() as session:
        job = seed.running_job(session, seed.model(session), count, batch=batch)
        job.started_at = now() - timedelta(seconds=100)
        return job.id


def work_through(job_id: int, gaps: list[float]) -> datetime:
    """Say that the first batches were done so many seconds after one another, the last of them now; answers when."""
    at = now() - timedelta(seconds=sum(gaps))
    with db.write() as session:
        for batch, gap in zip(session.scalars(select(Batch).order_by(Batch.id)), gaps, strict=False):
            at += timedelta(seconds=gap)
            batch.state, batch.finished_at = BatchState.DONE, at
            session.execute(update(Entry).where(Entry.batch_id == batch.id).values(status=EntryStatus.SCORED))
    return at


def told(job_id: int, at: datetime | None = None) -> dict[str, object]:
    """What is said of a job, now or at that moment."""
    with db.read() as session, patch.object(db, "clock", return_value=at or db.clock(session)):
        return jobs.progress(session, jobs.get(session, job_id))


def test_an_even_pace_has_narrow_bounds(database: Settings) -> None:
    job_id = start(200, 5)
    progress = told(job_id, work_through(job_id, [1.0] * 20))
    assert progress["seconds_left"] == pytest.approx(20, abs=2)
    assert progress["seconds_left_low"] == pytest.approx(20, abs=2)
    assert progress["seconds_left_high"] == pytest.approx(20, abs=2)


def test_an_uneven_pace_has_wide_ones(database: Settings) -> None:
    job_id = start(200, 5)
    at = work_through(job_id, [0.2, 0.2, 0.2, 3.4] * 5)
    with db.read() as session:
        found = outlook.left(session, jobs.get(session, job_id), 100, 1.0, at)
    assert found and found.low < 0.9 * found.likely and found.high > 1.1 * found.likely


def test_the_latest_pace_counts_and_a_standstill_shows(database: Settings) -> None:
    job_id = start(200, 5)
    at = work_through(job_id, [1.0] * 20)
    with db.read() as session:
        job = jobs.get(session, job_id)
        fresh = outlook.left(session, job, 100, 1.0, at)
        late = outlook.left(session, job, 100, 1.0, at + timedelta(seconds=60))
    assert fresh and late and late.likely > 3 * fresh.likely


def test_few_batches_say_little_and_a_job_that_does_not_run_nothing(database: Settings) -> None:
    job_id = start(20, 5)
    assert told(job_id)["seconds_left"] is None, "nothing is done yet"
    progress = told(job_id, work_through(job_id, [1.0]))
    assert progress["seconds_left"] == pytest.approx(300, rel=0.05)
    assert progress["seconds_left_low"] == pytest.approx(150, rel=0.05)
    assert progress["seconds_left_high"] == pytest.approx(600, rel=0.05)
    with db.write() as session:
        jobs.pause(session, job_id, "a test")
    assert told(job_id)["seconds_left"] is None


def test_the_time_line_tells_deeds_steps_and_what_was_set_aside(database: Settings) -> None:
    with db.write() as session:
        job = jobs.create(session, JobKind.FOLDER, "a night", seed.model(session).id)
    with db.write() as session:
        ingests.claim(session, job.id, "w")
        jobs.pause(session, job.id, "ann")
        jobs.resume(session, job.id, "ann")
        ingests.close_listing(session, job.id, "w")
    with db.read() as session:
        events = timeline.events(session, jobs.get(session, job.id))
    assert [event.what for event in events] == ["job.create", "job.start", "job.pause", "job.resume", "job.end"]
    assert [event.actor for event in events] == ["folder", "", "ann", "ann", ""]


def test_the_time_line_names_an_image_that_was_set_aside(database: Settings) -> None:
    job_id = start(2, 1)
    with db.read() as session:
        name = session.scalars(select(Entry.name).order_by(Entry.id)).first()
        deadly = session.scalars(select(Entry.image_id).order_by(Entry.id)).first()
    for number in range(9):
        with db.write() as session:
            work = batches.claim(session, f"w{number}")
            if work and work.images[0].id != deadly:
                answers = [Answer(image.id, seed.result(0.5)) for image in work.images]
                batches.finish(session, work, f"w{number}", answers)
            session.execute(
                update(Batch).where(Batch.lease_until.is_not(None)).values(lease_until=now() - timedelta(seconds=1))
            )
    with db.read() as session:
        events = timeline.events(session, jobs.get(session, job_id))
    assert [event.what for event in events if event.what in ("job.first", "job.aside", "job.end")]
    aside = [event for event in events if event.what == "job.aside"]
    assert len(aside) == 1 and name and name in aside[0].detail and "3 workers" in aside[0].detail


def test_the_states_of_a_job_stand_side_by_side_without_a_gap(database: Settings) -> None:
    with db.write() as session:
        job = jobs.create(session, JobKind.FOLDER, "a folder", seed.model(session).id)
        begin = job.created_at = now() - timedelta(seconds=100)
        job.started_at = begin + timedelta(seconds=20)
    told = [
        timeline.Event(begin + timedelta(seconds=after), what, "", "")
        for after, what in (
            (0, "job.create"),
            (20, "job.start"),
            (30, "job.first"),
            (50, "job.pause"),
            (90, "job.resume"),
        )
    ]
    found = timeline.phases(job, told, begin + timedelta(seconds=100))
    assert [phase.state.value for phase in found] == ["waiting", "running", "paused", "running"]
    assert [(round(phase.begin, 3), round(phase.width, 3)) for phase in found] == [
        (0.0, 0.2),
        (0.2, 0.3),
        (0.5, 0.4),
        (0.9, 0.1),
    ]
    assert timeline.phases(job, told, begin) == []


@pytest.mark.parametrize(
    ("left", "said"),
    [
        ((None, None, None), ""),
        ((20, 20, 20), "about 20 s left"),
        ((170, 300, 200), "about 3 min 20 s left (2 min 50 s to 5 min 00 s)"),
        ((3500, 9000, 7200), "about 2 h 00 min left (58 min 20 s to 2 h 30 min)"),
    ],
)
def test_the_outlook_in_words(left: tuple[float | None, float | None, float | None], said: str) -> None:
    assert outlook.said(*left) == said

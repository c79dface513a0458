"""Jobs and entries: the account, the legal changes of state, and the rows that people take away."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import seed
from sqlalchemy import func, select

from cxrscreen import audit, batches, db, entries, ingests, jobs, queue, retries
from cxrscreen.batches import Answer
from cxrscreen.errors import Conflict
from cxrscreen.imaging.reasons import Reason
from cxrscreen.settings import Settings
from cxrscreen.tables import AuditEvent, Entry, EntryStatus, Job, JobKind, JobState, Schedule


def new_job(kind: JobKind = JobKind.FOLDER) -> int:
    with db.write() as session:
        return jobs.create(session, kind, "a folder", seed.model(session).id).id


def test_one_worker_ingests_a_job(database: Settings) -> None:
    job_id = new_job()
    with db.write() as session:
        assert ingests.claim(session, job_id, "one")
    with db.write() as session:
        assert ingests.claim(session, job_id, "two") is None
        assert not ingests.hold(session, job_id, "two")
        assert ingests.hold(session, job_id, "one")
        ingests.release(session, job_id, "one")
    with db.write() as session:
        again = ingests.claim(session, job_id, "two")
        assert again and again.attempts == 2
        ingests.close_listing(session, job_id, "two")
    with db.read() as session:
        assert jobs.get(session, job_id).state == JobState.DONE


def test_a_paused_or_cancelled_job_is_not_held(database: Settings) -> None:
    job_id = new_job()
    with db.write() as session:
        assert ingests.claim(session, job_id, "one")
        jobs.pause(session, job_id, "a test")
        assert not ingests.hold(session, job_id, "one")
        jobs.resume(session, job_id, "a test")
        assert ingests.hold(session, job_id, "one")
        jobs.cancel(session, job_id, "a test")
        assert not ingests.hold(session, job_id, "one")


@pytest.mark.parametrize("change", [jobs.pause, jobs.resume, jobs.cancel])
def test_a_job_that_ended_changes_no_more(database: Settings, change: Callable[..., None]) -> None:
    job_id = new_job()
    with db.write() as session:
        jobs.cancel(session, job_id, "a test")
    with pytest.raises(Conflict, match="cancelled"), db.write() as session:
        change(session, job_id, "a test")


def test_failing_a_job_accounts_for_what_waited(database: Settings) -> None:
    with db.write() as session:
        job_id = seed.running_job(session, seed.model(session), 5).id
        jobs.fail(session, job_id, "the model is damaged", Reason.INTERNAL)
    with db.read() as session:
        assert jobs.account(session, job_id) == jobs.Account(failed=5, reasons={Reason.INTERNAL: 5})
        assert jobs.get(session, job_id).error == "the model is damaged"


def test_retry_lets_what_failed_wait_again(database: Settings) -> None:
    with db.write() as session:
        job_id = seed.running_job(session, seed.model(session), 3).id
    with db.write() as session:
        work = batches.claim(session, "w")
        assert work
        answers = [Answer(image.id, reason=Reason.INTERNAL, failed=True) for image in work.images[:2]]
        batches.finish(session, work, "w", [*answers, Answer(work.images[2].id, seed.result())])
    with db.write() as session:
        assert retries.failed(session, job_id, "a test").by_job == {job_id: 2}
        account = jobs.account(session, job_id)
        assert (account.scored, account.waiting, account.failed, account.reasons) == (1, 2, 0, {})
        assert len(entries.stranded(session, job_id)) == 2
        entries.cut_batches(session, job_id, entries.stranded(session, job_id), 32)
        assert entries.stranded(session, job_id) == []


def test_whoever_read_a_job_before_it_was_tried_again_holds_it_no_more(database: Settings) -> None:
    job_id = new_job()
    with db.write() as session:
        assert ingests.claim(session, job_id, "one")
        jobs.cancel(session, job_id, "a test")
        retries.failed(session, job_id, "a test")
        assert not ingests.hold(session, job_id, "one")
        assert ingests.claim(session, job_id, "two")
        ingests.close_listing(session, job_id, "one")
        ingests.release(session, job_id, "one")
        assert ingests.hold(session, job_id, "two")


def test_a_night_is_opened_once(database: Settings) -> None:
    from sqlalchemy.exc import IntegrityError

    with db.write() as session:
        version = seed.model(session)
        schedule = Schedule(name="Nightly", cron="0 22 * * *", timezone="UTC", enabled=True)
        session.add(schedule)
        session.flush()
        jobs.create(session, JobKind.NIGHTLY, "n", version.id, schedule_id=schedule.id, window="2026-11-24")
    with pytest.raises(IntegrityError), db.write() as session:
        jobs.create(session, JobKind.NIGHTLY, "n", version.id, schedule_id=schedule.id, window="2026-11-24")


def test_the_account_is_the_sum(database: Settings) -> None:
    with db.write() as session:
        job = seed.running_job(session, seed.model(session), 6)
        for status, entry in zip(EntryStatus, session.scalars(select(Entry).order_by(Entry.id)), strict=True):
            entry.status = status
        session.flush()
        account = jobs.account(session, job.id)
        found = session.scalar(select(func.count()).select_from(Entry))
    assert account.found == found == 6
    assert account.settled == 5
    said = {account.scored, account.rejected, account.duplicate, account.failed, account.cancelled, account.waiting}
    assert said == {1}


def test_rows_carry_results_reasons_and_twins(database: Settings) -> None:
    with db.write() as session:
        version = seed.model(session, threshold=0.6)
        job_id = seed.running_job(session, version, 3).id
    with db.write() as session:
        work = batches.claim(session, "w")
        assert work
        ids = [image.id for image in work.images]
        answers = [Answer(ids[0], seed.result(0.75)), Answer(ids[1], seed.result(0.55))]
        batches.finish(session, work, "w", [*answers, Answer(ids[2], reason=Reason.UNLIKE_TRAINING, detail="far")])
        first, third = session.scalars(select(Entry).where(Entry.image_id.in_([ids[0], ids[2]])).order_by(Entry.id))
        for name, twin in (("copy.png", first), ("copy of the far one.png", third)):
            copy = Entry(job_id=job_id, name=name, frame=0, frames=2, attempts=0, duplicate_of=twin.id)
            copy.image_id, copy.status, copy.sha256 = twin.image_id, EntryStatus.DUPLICATE, twin.sha256
            session.add(copy)
    with db.read() as session:
        rows = list(entries.rows(session, job_id))
    assert list(rows[0]) == [
        *("file", "study", "image_sha256", "status", "reason", "label", "subclass", "score", "flagged", "model"),
        *("p_covid", "p_normal", "p_pneumonia"),
    ]
    assert [row["status"] for row in rows] == ["scored", "scored", "rejected", "duplicate", "duplicate"]
    assert [row["score"] for row in rows] == [0.75, 0.55, None, 0.75, None]
    assert [row["flagged"] for row in rows] == [True, False, None, True, None]
    assert rows[0]["p_covid"] == pytest.approx(0.75) and rows[0]["p_normal"] == pytest.approx(0.25)
    assert rows[2]["reason"].startswith("unlike_training: ") and rows[2]["reason"].endswith("(far)")
    assert rows[4]["reason"] == rows[2]["reason"]
    assert rows[3]["file"] == "copy.png#0"


def test_progress_tells_rate_and_time_left(database: Settings) -> None:
    with db.write() as session:
        job = seed.running_job(session, seed.model(session), 4, batch=2)
        before = jobs.progress(session, job)
    assert (before["found"], before["waiting"], before["share"]) == (4, 4, 0.0)
    assert before["seconds_left"] is None
    with db.write() as session:
        work = batches.claim(session, "w")
        assert work
        batches.finish(session, work, "w", [Answer(image.id, seed.result()) for image in work.images])
    with db.read() as session:
        after = jobs.progress(session, jobs.get(session, job.id))
    assert after["share"] == 0.5 and after["rate"] > 0 and after["seconds_left"] is not None


def test_a_broker_that_is_away_stops_nobody(configure: Callable[..., Settings]) -> None:
    assert queue.submit(queue.INGEST, 1) is False
    assert queue.length(queue.INGEST) == 0
    assert queue.answers() is False


def test_the_trail_stands_with_the_deed(database: Settings) -> None:
    with pytest.raises(RuntimeError), db.write() as session:
        job_id = jobs.create(session, JobKind.FOLDER, "a folder", seed.model(session).id).id
        audit.record(session, "a test", "job.look", f"job {job_id}")
        raise RuntimeError("the deed fails")
    with db.read() as session:
        assert session.scalar(select(func.count()).select_from(AuditEvent)) == 0
        assert session.scalar(select(func.count()).select_from(Job)) == 0

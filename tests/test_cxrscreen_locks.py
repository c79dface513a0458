"""Work on one job meets over the same rows in one order, so that nobody's is ended as a deadlock (`meetings`)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
import seed
from meetings import beside, in_heap_order, lies_last, lock, stops
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from cxrscreen import assignments, batches, db, deletion, features, ingests, jobs, studies
from cxrscreen.batches import Answer, Work
from cxrscreen.imaging import Member, Reason
from cxrscreen.settings import Settings
from cxrscreen.tables import Batch, BatchState, Entry, EntryStatus, Image, Job, JobState, Role, Study, User, now
from worker import accepted, sweep
from worker.leaves import Leaf


@pytest.fixture(autouse=True)
def database(postgres_database: Settings) -> None:
    in_heap_order()


def start(count: int, batch: int) -> int:
    with db.write() as session:
        return seed.running_job(session, seed.model(session), count, batch=batch).id


def claim() -> Work:
    with db.write() as session:
        work = batches.claim(session, "w")
    assert work
    return work


def finish(work: Work) -> None:
    with db.write() as session:
        assert batches.finish(session, work, "w", [Answer(image.id, seed.result()) for image in work.images])


def ends(job_id: int) -> tuple[JobState, jobs.Account]:
    with db.read() as session:
        account = jobs.account(session, job_id)
        assert account.found == session.scalar(select(func.count()).where(Entry.job_id == job_id))
        return jobs.get(session, job_id).state, account


def test_who_loses_a_deadlock_is_busy_and_a_database_that_is_away_is_not() -> None:
    start(2, 1)
    with db.read() as session:
        first, second = session.scalars(select(Entry.id).order_by(Entry.id))

    def lock(session: Session, entry_id: int) -> None:
        session.execute(select(Entry.id).where(Entry.id == entry_id).with_for_update())

    def other_way() -> None:
        with db.write() as session:
            lock(session, second)
            lock(session, first)

    with pytest.raises(OperationalError) as lost, beside(other_way) as comes, db.write() as session:
        lock(session, first)
        comes()
        lock(session, second)
    assert db.is_busy(lost.value)
    with pytest.raises(OperationalError) as away:
        db.make_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing").connect()
    assert not db.is_busy(away.value)


def cancel(session: Session, job_id: int) -> None:
    jobs.cancel(session, job_id, "a test")


def fail(session: Session, job_id: int) -> None:
    jobs.fail(session, job_id, "the model is damaged", Reason.INTERNAL)


def lose_source(session: Session, job_id: int) -> None:
    ingests.close_listing(session, job_id, "reader", "The upload is gone.")


@pytest.mark.parametrize("end", [cancel, fail, lose_source])
def test_a_job_ends_while_a_batch_of_it_is_written(
    monkeypatch: pytest.MonkeyPatch, end: Callable[[Session, int], None]
) -> None:
    job_id = start(12, batch=4)
    with db.write() as session:
        jobs.get(session, job_id).worker = "reader"
    one, two = claim(), claim()

    def ends_it() -> None:
        with db.write() as session:
            end(session, job_id)

    with beside(ends_it) as comes:
        # The entries of both batches are written, the job is not looked at yet.
        stops(monkeypatch, studies, "refresh", lambda: finish(two), comes)
        finish(one)
    state, account = ends(job_id)
    assert account.scored == 8 and account.cancelled + account.failed == 4
    assert state == (JobState.CANCELLED if end is cancel else JobState.FAILED)


@pytest.mark.parametrize("end", [cancel, fail])
def test_a_job_ends_while_a_batch_is_cut_anew(
    monkeypatch: pytest.MonkeyPatch, end: Callable[[Session, int], None]
) -> None:
    """A claim sets an image aside that three workers died with, and then looks whether that was the job's last."""
    job_id = start(2, batch=1)
    with db.write() as session:
        session.execute(text("UPDATE batches SET attempts = 3 WHERE id = (SELECT min(id) FROM batches)"))

    def ends_it() -> None:
        with db.write() as session:
            end(session, job_id)

    with beside(ends_it) as comes:
        stops(monkeypatch, jobs, "settle", comes)
        claim()
    state, account = ends(job_id)
    assert account.reasons[Reason.QUARANTINED] == 1 and account.failed + account.cancelled == 2
    assert state == (JobState.CANCELLED if end is cancel else JobState.FAILED)


def another(session: Session, study_id: int, name: str) -> None:
    """One more image of a study, as an ingest writes it."""
    facts = {"width": 8, "height": 8, "facts": {}}
    session.add(Image(study_id=study_id, sha256=name, frame=0, frames=1, name=name, derivative=name, **facts))
    session.flush()


def test_more_of_a_study_comes_in_while_some_of_it_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = start(4, batch=4)
    with db.write() as session:
        job = jobs.get(session, job_id)
        job.listed, job.worker = False, "reader"
    work = claim()

    def takes_in() -> None:
        with db.write() as session:
            assert ingests.hold(session, job_id, "reader")
            another(session, work.images[0].study_id, "another")

    with beside(takes_in) as comes:
        stops(monkeypatch, jobs, "settle", comes)
        finish(work)
    assert ends(job_id) == (JobState.RUNNING, jobs.Account(scored=4))


def test_a_study_is_deleted_while_it_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = start(4, batch=4)
    work = claim()

    def deletes() -> None:
        with db.write() as session:
            deletion.delete_study(session, work.images[0].study_id, "a test")

    with beside(deletes) as comes:
        stops(monkeypatch, features, "keep", comes)  # the results are written, their studies are not looked at yet
        finish(work)
    assert ends(job_id) == (JobState.DONE, jobs.Account(scored=4))
    with db.read() as session:
        assert session.get(Study, work.images[0].study_id) is None


def test_a_study_is_deleted_while_it_comes_in_again_with_more() -> None:
    with db.write() as session:
        known = seed.images(session, 1)
        study_id = known[0].study_id

    def deletes() -> None:
        with db.write() as session:
            deletion.delete_study(session, study_id, "a test")

    leaf = Leaf(Member("again.png", 1), 1)
    leaf.known = known
    with beside(deletes) as comes, db.write() as session:
        accepted.expect_known(session, [leaf])
        comes()
        another(session, study_id, "another")
    with db.read() as session:
        assert session.scalar(select(func.count()).select_from(Image)) == 0


def test_cases_are_assigned_while_more_of_them_comes_in() -> None:
    with db.write() as session:
        person = User(name="Ann", role=Role.READER)
        session.add(person)
        first, second = (image.study_id for image in seed.images(session, 2))

    def assigns() -> None:
        with db.write() as session:
            assert assignments.assign(session, person, [first, second], person) == 2

    with beside(assigns) as comes, db.write() as session:
        another(session, second, "more of the second")
        comes()
        another(session, first, "more of the first")


def test_a_sweep_holds_one_job_at_a_time() -> None:
    with db.write() as session:
        version = seed.model(session)
        first, second = (seed.running_job(session, version, 1, prefix=name).id for name in ("a", "b"))
        for entry in session.scalars(select(Entry)):
            entry.status = EntryStatus.SCORED

    with beside(sweep.run) as comes, db.write() as session:
        lock(session, Job, second)
        comes()
        lock(session, Job, first)
    assert ends(first)[0] == ends(second)[0] == JobState.DONE


def test_a_claim_ends_jobs_by_their_numbers() -> None:
    """One claim may find several batches with nothing left to score, of jobs in any order."""
    with db.write() as session:
        version = seed.model(session)
        first, second = (seed.running_job(session, version, 1, prefix=name).id for name in ("a", "b"))
        jobs.get(session, second).priority = 9
        session.execute(text("UPDATE batches SET attempts = 3"))

    def claims() -> None:
        with db.write() as session:
            assert batches.claim(session, "w") is None

    with beside(claims) as comes, db.write() as session:
        lock(session, Job, first)
        comes()
        lock(session, Job, second)
    assert ends(first) == ends(second) == (JobState.DONE, jobs.Account(failed=1, reasons={Reason.QUARANTINED: 1}))


@pytest.mark.parametrize("table", [Batch, Job])
def test_leases_are_reined_in_while_others_have_them(table: type[Batch] | type[Job]) -> None:
    with db.write() as session:
        version = seed.model(session)
        for name in ("a", "b"):
            seed.running_job(session, version, 1, prefix=name).lease_until = now() + timedelta(days=1)
        session.execute(update(Batch).values(state=BatchState.LEASED, lease_until=now() + timedelta(days=1)))
        first, second = session.scalars(select(table.id).order_by(table.id))
        lies_last(session, table, first)

    def reins_in() -> None:
        with db.write() as session:
            batches.rein_in(session)

    def ahead() -> list[int]:
        with db.read() as session:
            return list(session.scalars(select(table.id).where(table.lease_until > now() + timedelta(hours=12))))

    with beside(reins_in) as comes, db.write() as session:
        lock(session, table, first)
        comes()
        lock(session, table, second)
    assert ahead() == [first], "whoever has it renews or ends it; the next sweep looks again"
    reins_in()
    assert ahead() == []

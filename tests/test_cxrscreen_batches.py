"""Law 2: leases by compare-and-set, splitting, quarantine; law 3: upserts. On SQLite and on PostgreSQL."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import seed
from sqlalchemy import func, select, update

from cxrscreen import batches, counts, db, jobs
from cxrscreen.batches import Answer, Work
from cxrscreen.imaging.reasons import Reason
from cxrscreen.settings import Settings
from cxrscreen.tables import Batch, BatchState, Entry, EntryStatus, Job, JobState, Rejection, Result, StudyResult, now


def start(count: int, batch: int = 32) -> int:
    with db.write() as session:
        return seed.running_job(session, seed.model(session), count, batch=batch).id


def claim(worker: str) -> Work | None:
    with db.write() as session:
        return batches.claim(session, worker)


def finish(work: Work, worker: str, score: float = 0.9) -> bool:
    with db.write() as session:
        answers = [Answer(image.id, seed.result(score)) for image in work.images]
        return batches.finish(session, work, worker, answers)


def die() -> None:
    """What a worker's death looks like from here: its lease runs out."""
    with db.write() as session:
        session.execute(
            update(Batch).where(Batch.lease_until.is_not(None)).values(lease_until=now() - timedelta(seconds=1))
        )


def test_ten_workers_race_for_one_batch(database: Settings) -> None:
    start(4)
    with ThreadPoolExecutor(10) as pool:
        won = [work for work in pool.map(claim, [f"w{n}" for n in range(10)]) if work]
    assert len(won) == 1


def test_ten_workers_share_a_job_without_overlap(database: Settings) -> None:
    job_id = start(40, batch=4)

    def work_on(worker: str) -> list[int]:
        seen = []
        while work := claim(worker):
            seen += [image.id for image in work.images]
            assert finish(work, worker)
        return seen

    with ThreadPoolExecutor(10) as pool:
        seen = [image for part in pool.map(work_on, [f"w{n}" for n in range(10)]) for image in part]
    assert len(seen) == len(set(seen)) == 40
    with db.read() as session:
        assert jobs.get(session, job_id).state == JobState.DONE
        assert jobs.account(session, job_id) == jobs.Account(scored=40)
        assert session.scalar(select(func.count()).select_from(Result)) == 40
        assert session.scalar(select(func.count()).select_from(StudyResult)) == 40


def race(count: int, run: Callable[[int], object]) -> list[object]:
    """Call `run(n)` in so many processes at once; answers what each gave."""
    fork = multiprocessing.get_context("fork")
    gate, answers = fork.Barrier(count), fork.SimpleQueue()

    def compete(number: int) -> None:
        db.get_engine().dispose(close=False)  # the parent's connections are not ours
        gate.wait(120)
        answers.put(run(number))

    runners = [fork.Process(target=compete, args=[number]) for number in range(count)]
    for runner in runners:
        runner.start()
    found = [answers.get() for _ in runners]
    for runner in runners:
        runner.join(120)
        assert runner.exitcode == 0
    return found


def test_ten_processes_race_for_one_batch(database: Settings) -> None:
    start(4)
    won = race(10, lambda number: (work := claim(f"w{number}")) and work.batch_id)
    assert len([batch for batch in won if batch]) == 1
    with db.read() as session:
        assert session.scalar(select(Batch.attempts)) == 1


def test_ten_processes_race_for_a_batch_whose_worker_died(database: Settings) -> None:
    start(8, batch=8)
    assert claim("dead")
    die()
    won = race(10, lambda number: (work := claim(f"w{number}")) and len(work.images))
    # One has the first half of it, and one the second where it looked after the first had committed.
    assert [images for images in won if images] in ([4], [4, 4])


def test_two_sweepers_and_ten_workers_at_once(database: Settings) -> None:
    from worker import sweep

    job_id = start(40, batch=4)
    assert claim("dead")
    die()

    def compete(number: int) -> list[int]:
        if number < 2:
            sweep.run()
            return []
        seen = []
        while work := claim(f"w{number}"):
            seen += [image.id for image in work.images]
            assert finish(work, f"w{number}")
        return seen

    seen = [image for part in race(12, compete) for image in part]  # type: ignore[attr-defined]
    assert len(seen) == len(set(seen)) == 40
    sweep.run()
    with db.read() as session:
        assert jobs.account(session, job_id) == jobs.Account(scored=40)
        assert jobs.get(session, job_id).state == JobState.DONE


def test_a_lost_lease_voids_the_work(database: Settings) -> None:
    start(1)
    slow = claim("slow")
    assert slow and claim("other") is None
    die()
    other = claim("other")
    assert other
    with db.write() as session:
        assert not batches.renew(session, slow.batch_id, "slow")
    assert not finish(slow, "slow", score=0.1)
    assert finish(other, "other", score=0.7)
    assert not finish(slow, "slow", score=0.1)
    with db.read() as session:
        assert [row.score for row in session.scalars(select(Result))] == [0.7]


def test_a_renewed_lease_is_held(database: Settings) -> None:
    start(1)
    work = claim("one")
    assert work
    die()
    with db.write() as session:
        assert batches.renew(session, work.batch_id, "one")
    assert claim("two") is None


def test_a_deadly_image_is_found_and_its_neighbours_are_scored(database: Settings) -> None:
    size = 32
    job_id = start(size)
    with db.read() as session:
        deadly = session.scalars(select(Entry.image_id).order_by(Entry.id)).all()[20]
    deaths = 0
    while work := claim(f"w{deaths}"):
        if deadly in [image.id for image in work.images]:
            deaths += 1
            die()
        else:
            finish(work, f"w{deaths}")
    assert 0 < deaths <= math.log2(size) + 5
    with db.read() as session:
        assert jobs.account(session, job_id) == jobs.Account(scored=size - 1, failed=1, reasons={Reason.QUARANTINED: 1})
        assert session.scalar(select(Rejection.image_id)) == deadly
        assert jobs.get(session, job_id).state == JobState.DONE


def test_a_batch_that_is_given_back_counts_no_death(database: Settings) -> None:
    start(8)
    for _ in range(6):
        work = claim("patient")
        assert work and len(work.images) == 8
        with db.write() as session:
            batches.release(session, work.batch_id, "patient")


def test_urgent_jobs_go_first_and_paused_ones_not_at_all(database: Settings) -> None:
    with db.write() as session:
        version = seed.model(session)
        night = seed.running_job(session, version, 4, prefix="night")
        person = seed.running_job(session, version, 4, prefix="person")
        night.priority, person.priority = 1, 7
        third = seed.running_job(session, version, 4, prefix="third")
        third.priority = 9
        jobs.pause(session, third.id, "a test")
    order = []
    while work := claim("w"):
        order.append(work.job_id)
        finish(work, "w")
    assert order == [person.id, night.id]


def test_cancel_ends_at_once_and_a_late_batch_changes_nothing(database: Settings) -> None:
    job_id = start(8, batch=4)
    work = claim("w")
    assert work
    with db.write() as session:
        jobs.cancel(session, job_id, "a test")
    finish(work, "w")
    with db.read() as session:
        assert jobs.account(session, job_id) == jobs.Account(cancelled=8)
        assert jobs.get(session, job_id).state == JobState.CANCELLED
    assert claim("w") is None


def test_one_answer_of_each_kind_is_accounted_for(database: Settings) -> None:
    job_id = start(3)
    work = claim("w")
    assert work
    ids = [image.id for image in work.images]
    with db.write() as session:
        answers = [
            Answer(ids[0], seed.result(0.2)),
            Answer(ids[1], reason=Reason.UNLIKE_TRAINING),
            Answer(ids[2], reason=Reason.INTERNAL, failed=True),
        ]
        assert batches.finish(session, work, "w", answers)
    with db.read() as session:
        account = jobs.account(session, job_id)
        assert (account.scored, account.rejected, account.failed, account.found) == (1, 1, 1, 3)
        statuses = session.scalars(select(Entry.status).order_by(Entry.id)).all()
        assert statuses == [EntryStatus.SCORED, EntryStatus.REJECTED, EntryStatus.FAILED]


def test_what_is_refused_again_has_its_last_reason_only(database: Settings) -> None:
    job_id = start(4)
    work = claim("w")
    assert work
    for reason, failed in ((Reason.INTERNAL, True), (Reason.UNLIKE_TRAINING, False)):
        with db.write() as session:
            session.execute(update(Entry).values(status=EntryStatus.WAITING))
            session.execute(update(Batch).values(state=BatchState.LEASED, worker="w"))
            session.execute(update(Job).values(state=JobState.RUNNING))
            answers = [Answer(image.id, reason=reason, detail="seen", failed=failed) for image in work.images]
            assert batches.finish(session, work, "w", answers)
    with db.read() as session:
        assert jobs.account(session, job_id) == jobs.Account(rejected=4, reasons={Reason.UNLIKE_TRAINING: 4})
        assert {row.model_version_id for row in session.scalars(select(Rejection))} == {work.model_version_id}
    assert counts.wrong() == []

"""The ingest of a job: which one is to be read next, and the lease of the process that reads its sources."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, update
from sqlalchemy.orm import Session

from cxrscreen import batches, db, jobs, turns
from cxrscreen.imaging.reasons import Reason
from cxrscreen.settings import get_settings
from cxrscreen.tables import Entry, EntryStatus, Job, JobState

GONE = "It left its source before it was read, or is an archive whose members were found this time."


def claim(session: Session, job_id: int, worker: str) -> Job | None:
    """Lease the ingest of a job; None where it is done, held by a living worker, paused or ended."""
    moment = db.clock(session)
    claimed = session.execute(
        update(Job)
        .where(Job.id == job_id, turns.unread(moment))
        .values(
            state=JobState.RUNNING,
            worker=worker,
            lease_until=_lease_end(moment),
            claimed_at=moment,
            attempts=Job.attempts + 1,
            started_at=func.coalesce(Job.started_at, moment),
        )
        .returning(Job.id)
    ).scalar()
    return jobs.get(session, claimed) if claimed is not None else None


def claim_next(session: Session, worker: str) -> Job | None:
    """Lease the ingest whose turn it is; None where no job's sources are to be read.

    One that has to wait for room comes after those that need not, whatever its turn.
    """
    in_turn = turns.reading(session, db.clock(session))
    for job_id in sorted(in_turn, key=lambda job_id: not has_room(session, job_id)):
        if (job := claim(session, job_id, worker)) is not None:
            return job
    return None


def hold(session: Session, job_id: int, worker: str, *, progressed: bool = False) -> bool:
    """Renew the lease of an ingest. False: it was lost, paused or cancelled, and the caller must stop."""
    values: dict[str, Any] = {"lease_until": _lease_end(db.clock(session))}
    if progressed:
        values["attempts"] = 1
    return _set_held(session, job_id, worker, values)


def release(session: Session, job_id: int, worker: str) -> None:
    """Give the ingest back before its end (a warm shutdown, a pause), so that nobody waits for the lease to run out."""
    session.execute(update(Job).where(Job.id == job_id, Job.worker == worker).values(lease_until=None, worker=None))


def close_listing(
    session: Session,
    job_id: int,
    worker: str,
    error: str | None = None,
    reason: Reason = Reason.ORIGINAL_MISSING,
) -> None:
    """Every entry of the sources is a row now. With an error they cannot be read (on): the job failed.

    What was found once, never read, and is not in its source any more, has failed: nothing waits for ever.
    """
    jobs.hold_alone(session, job_id)
    moment = db.clock(session)
    values: dict[str, Any] = {"listed": True, "lease_until": None, "worker": None}
    if error:
        values |= {"state": JobState.FAILED, "error": error, "finished_at": moment}
    if _set_held(session, job_id, worker, values):
        unread = [Entry.job_id == job_id, Entry.status == EntryStatus.WAITING]
        if not error:
            unread.append(Entry.image_id.is_(None))
        jobs.fail_entries(session, unread, reason, error or GONE, moment)
    jobs.settle(session, job_id)


def wanted_by_others(session: Session, job: Job, *, turn_over: bool) -> bool:
    """A job that nobody reads just now, that has room for what is read, and that this one gives way to.

    It gives way to what is more urgent at once, and to another person's job of its own priority when its turn is over.
    """
    for other_id in turns.reading(session, db.clock(session)):
        other = jobs.get(session, other_id)
        urgent = other.priority > job.priority
        fair = turn_over and other.priority == job.priority and other.user_id != job.user_id
        if other.id != job.id and (urgent or fair) and has_room(session, other.id):
            return True
    return False


def others_with_room(session: Session, job_id: int) -> bool:
    """A job that nobody reads just now and that has room for what is read."""
    in_turn = turns.reading(session, db.clock(session))
    return any(has_room(session, other) for other in in_turn if other != job_id)


def has_room(session: Session, job_id: int) -> bool:
    """Whether screening keeps up with what is read of a job."""
    return batches.waiting_count(session, job_id) < get_settings().waiting_batches


def _lease_end(moment: datetime) -> datetime:
    return moment + timedelta(seconds=get_settings().lease_seconds)


def _set_held(session: Session, job_id: int, worker: str, values: dict[str, Any]) -> bool:
    """Compare-and-set by the worker that holds a running job; False: it holds it no more, and nothing was changed."""
    held = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.worker == worker, Job.state == JobState.RUNNING)
        .values(**values)
        .returning(Job.id)
    ).scalar()
    return held is not None

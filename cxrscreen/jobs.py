"""Jobs: requests to screen, their account, and the legal changes of their state.

waiting → running → done | failed;  running ⇄ paused;  anything unfinished → cancelled;  ended → running by a retry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, exists, func, insert, literal, or_, select, update
from sqlalchemy.orm import Session

from cxrscreen import audit, db, outlook
from cxrscreen.errors import Conflict, NotFound, OutsideRoots, UsageError
from cxrscreen.imaging.reasons import Reason
from cxrscreen.settings import get_settings
from cxrscreen.tables import Entry, EntryStatus, Job, JobKind, JobState, Rejection, User, UtcDateTime

# A person who waits goes before the night.
PRIORITY = {
    JobKind.UPLOAD: 7,
    JobKind.COMMAND: 7,
    JobKind.FOLDER: 5,
    JobKind.RESCREEN: 3,
    JobKind.NIGHTLY: 1,
}
OPEN = (JobState.WAITING, JobState.RUNNING, JobState.PAUSED)


@dataclass(frozen=True)
class Account:
    """Law 4: found = scored + rejected + duplicate + failed + cancelled + waiting, at every moment."""

    scored: int = 0
    rejected: int = 0
    duplicate: int = 0
    failed: int = 0
    cancelled: int = 0
    waiting: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def found(self) -> int:
        return self.scored + self.rejected + self.duplicate + self.failed + self.cancelled + self.waiting

    @property
    def settled(self) -> int:
        return self.found - self.waiting


def create(
    session: Session,
    kind: JobKind,
    title: str,
    model_version_id: int,
    *,
    sources: Sequence[dict[str, Any]] = (),
    scope: dict[str, Any] | None = None,
    user: User | None = None,
    schedule_id: int | None = None,
    window: str | None = None,
) -> Job:
    """Add a job; after the commit, wake an ingest worker with `queue.submit(queue.INGEST, job.id)`."""
    job = Job(
        kind=kind,
        state=JobState.WAITING,
        priority=PRIORITY[kind],
        title=title,
        sources=list(sources),
        scope=scope or {},
        user_id=user.id if user else None,
        model_version_id=model_version_id,
        schedule_id=schedule_id,
        window=window,
        listed=False,
        attempts=0,
    )
    session.add(job)
    session.flush()
    audit.record(session, user or kind.value, "job.create", f"job {job.id}", title=title)
    return job


def get(session: Session, job_id: int) -> Job:
    job = session.get(Job, job_id)
    if job is None:
        raise NotFound(f"There is no job {job_id}.")
    return job


def latest(session: Session, limit: int = 50, before: int | None = None) -> list[Job]:
    query = select(Job).order_by(Job.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Job.id < before)
    return list(session.scalars(query))


def account(session: Session, job_id: int) -> Account:
    rows = session.execute(select(Entry.status, func.count()).where(Entry.job_id == job_id).group_by(Entry.status))
    counts = {EntryStatus(status).value: number for status, number in rows}
    reasons = session.execute(
        select(Rejection.reason, func.count()).where(Rejection.job_id == job_id).group_by(Rejection.reason)
    )
    return Account(**counts, reasons={row.reason: row[1] for row in reasons})


def accounts(session: Session, job_ids: Sequence[int]) -> dict[int, Account]:
    """The accounts of several jobs, without their reasons, in one query."""
    rows = session.execute(
        select(Entry.job_id, Entry.status, func.count())
        .where(Entry.job_id.in_(job_ids))
        .group_by(Entry.job_id, Entry.status)
    )
    counts: dict[int, dict[str, Any]] = {job_id: {} for job_id in job_ids}
    for job_id, status, number in rows:
        counts[job_id][EntryStatus(status).value] = number
    return {job_id: Account(**told) for job_id, told in counts.items()}


def progress(session: Session, job: Job) -> dict[str, Any]:
    """What a progress bar needs, as JSON: the account, the share settled, images a second, seconds left with bounds."""
    counts = account(session, job.id)
    moment = db.clock(session)
    ended = job.finished_at or moment
    took = (ended - job.started_at).total_seconds() if job.started_at else 0.0
    rate = counts.settled / took if took > 0 else 0.0
    left = outlook.left(session, job, counts.waiting, rate, moment)
    return {
        "id": job.id,
        "title": job.title,
        "kind": job.kind.value,
        "state": job.state.value,
        "listed": job.listed,
        "error": job.error,
        "found": counts.found,
        "scored": counts.scored,
        "rejected": counts.rejected,
        "duplicate": counts.duplicate,
        "failed": counts.failed,
        "cancelled": counts.cancelled,
        "waiting": counts.waiting,
        "reasons": counts.reasons,
        "share": counts.settled / counts.found if counts.found else (1.0 if job.finished_at else 0.0),
        "rate": round(rate, 2),
        "seconds": round(took, 1),
        "seconds_left": None if left is None else round(left.likely),
        "seconds_left_low": None if left is None else round(left.low),
        "seconds_left_high": None if left is None else round(left.high),
    }


def allowed_folder(path: str) -> Path:
    """The real folder or file behind a path that a person named in the dashboard.

    Raises OutsideRoots unless it lies under an allowed root once links are followed.
    """
    roots = [root.resolve() for root in get_settings().allowed_roots]
    if not roots:
        raise OutsideRoots("No folder may be queued from here: set CXRSCREEN_ALLOWED_ROOTS on the server first.")
    if not path.startswith("/") or "\0" in path:
        raise UsageError("Name the folder by its whole path on the server, beginning with '/'.")
    real = Path(path).resolve()
    if not any(real.is_relative_to(root) for root in roots):
        raise OutsideRoots(f"{path} is outside the allowed folders: {', '.join(map(str, roots))}.")
    if not real.exists():
        raise NotFound(f"{path} does not exist on the server.")
    return real


# ---- changes of state ------------------------------------------------------------------------------------------


def claim(session: Session, job_id: int, worker: str) -> Job | None:
    """Lease the ingest of a job; None where it is done, held by a living worker, paused or ended."""
    moment = db.clock(session)
    claimed = session.execute(
        update(Job)
        .where(
            Job.id == job_id,
            Job.listed.is_(False),
            Job.state.in_((JobState.WAITING, JobState.RUNNING)),
            or_(Job.lease_until.is_(None), Job.lease_until < moment),
        )
        .values(
            state=JobState.RUNNING,
            worker=worker,
            lease_until=_lease_end(moment),
            attempts=Job.attempts + 1,
            started_at=func.coalesce(Job.started_at, moment),
        )
        .returning(Job.id)
    ).scalar()
    return get(session, claimed) if claimed is not None else None


def hold(session: Session, job_id: int, worker: str, *, progressed: bool = False) -> bool:
    """Renew the lease of an ingest. False: it was lost, paused or cancelled, and the caller must stop."""
    values: dict[str, Any] = {"lease_until": _lease_end(db.clock(session))}
    if progressed:
        values["attempts"] = 1
    return _set_held(session, job_id, worker, values)


def release(session: Session, job_id: int, worker: str) -> None:
    """Give the ingest back before its end (a warm shutdown, a pause), so that nobody waits for the lease to run out."""
    session.execute(update(Job).where(Job.id == job_id, Job.worker == worker).values(lease_until=None, worker=None))


def close_listing(session: Session, job_id: int, worker: str, error: str | None = None) -> None:
    """Every entry of the sources is a row now. With an error nothing could be read: the job failed.

    What was found once, never read, and is not in its source any more, has failed: nothing waits for ever.
    """
    moment = db.clock(session)
    values: dict[str, Any] = {"listed": True, "lease_until": None, "worker": None}
    if error:
        values |= {"state": JobState.FAILED, "error": error, "finished_at": moment}
    if _set_held(session, job_id, worker, values):
        unread = [Entry.job_id == job_id, Entry.status == EntryStatus.WAITING]
        if not error:
            unread.append(Entry.image_id.is_(None))
        _fail_entries(
            session, unread, Reason.ORIGINAL_MISSING, error or "it left its source before it was read", moment
        )
    settle(session, job_id)


def settle(session: Session, job_id: int) -> bool:
    """Close a job that is listed and waits for nothing more."""
    # Of two workers that end its last batches at once, the second waits here and then sees what the first wrote.
    session.execute(select(Job.id).where(Job.id == job_id).with_for_update())
    waits = exists().where(Entry.job_id == job_id, Entry.status == EntryStatus.WAITING)
    closed = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.state == JobState.RUNNING, Job.listed.is_(True), ~waits)
        .values(state=JobState.DONE, finished_at=db.clock(session))
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    ).scalar()
    return closed is not None


def fail(session: Session, job_id: int, error: str, reason: str) -> None:
    """End a job that cannot go on whatever is tried (its model is damaged): what waits has failed, with the reason."""
    moment = db.clock(session)
    waits = [Entry.job_id == job_id, Entry.status == EntryStatus.WAITING]
    _fail_entries(session, waits, reason, error, moment)
    session.execute(
        update(Job)
        .where(Job.id == job_id, Job.state.in_(OPEN))
        .values(state=JobState.FAILED, error=error, finished_at=moment)
    )


def _fail_entries(
    session: Session, which: Sequence[ColumnElement[bool]], reason: str, detail: str, moment: datetime
) -> None:
    session.execute(
        insert(Rejection).from_select(
            ["entry_id", "job_id", "image_id", "reason", "detail", "created_at"],
            select(
                Entry.id,
                Entry.job_id,
                Entry.image_id,
                literal(reason),
                literal(detail[:2000]),
                literal(moment, UtcDateTime()),
            ).where(*which),
        )
    )
    session.execute(
        update(Entry).where(*which).values(status=EntryStatus.FAILED).execution_options(synchronize_session=False)
    )


def pause(session: Session, job_id: int, actor: User | str) -> None:
    _change(session, job_id, actor, "job.pause", (JobState.WAITING, JobState.RUNNING), {"state": JobState.PAUSED})


def resume(session: Session, job_id: int, actor: User | str) -> None:
    """Let a paused job go on; after the commit wake an ingest worker, the sweep wakes the rest."""
    _change(session, job_id, actor, "job.resume", (JobState.PAUSED,), {"state": JobState.RUNNING, "attempts": 0})
    settle(session, job_id)


def cancel(session: Session, job_id: int, actor: User | str) -> None:
    """End a job: what waits is cancelled at once; a batch under way ends without effect on these entries."""
    _change(
        session,
        job_id,
        actor,
        "job.cancel",
        OPEN,
        {"state": JobState.CANCELLED, "finished_at": db.clock(session)},
    )
    session.execute(
        update(Entry)
        .where(Entry.job_id == job_id, Entry.status == EntryStatus.WAITING)
        .values(status=EntryStatus.CANCELLED)
    )


def _change(
    session: Session,
    job_id: int,
    actor: User | str,
    action: str,
    allowed: Sequence[JobState],
    values: dict[str, Any],
) -> None:
    changed = session.execute(
        update(Job).where(Job.id == job_id, Job.state.in_(allowed)).values(**values).returning(Job.id)
    ).scalar()
    if changed is None:
        raise Conflict(f"Job {job_id} is {get(session, job_id).state.value}; that is not possible now.")
    audit.record(session, actor, action, f"job {job_id}")


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

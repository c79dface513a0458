"""Jobs: requests to screen, their account, and the legal changes of their state.

waiting → running → done | failed;  running ⇄ paused;  anything unfinished → cancelled;  ended → running by a retry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, exists, insert, literal, select, update
from sqlalchemy.orm import Session

from cxrscreen import audit, counts, db, outlook
from cxrscreen.errors import Conflict, NotFound
from cxrscreen.tables import Entry, EntryStatus, Job, JobKind, JobState, Rejection, User, UtcDateTime

# A person who waits goes before the night.
PRIORITY = {
    JobKind.UPLOAD: 7,
    JobKind.COMMAND: 7,
    JobKind.FOLDER: 7,
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
    return _account(counts.of(session, [job_id]), job_id)


def accounts(session: Session, job_ids: Sequence[int]) -> dict[int, Account]:
    """The accounts of several jobs, without their reasons, in one query."""
    kept = counts.of(session, job_ids, ["entries"])
    return {job_id: _account(kept, job_id) for job_id in job_ids}


def _account(kept: counts.Counts, job_id: int) -> Account:
    told: dict[str, Any] = dict(kept.get((job_id, "entries"), {}))
    return Account(**told, reasons=kept.get((job_id, "rejections"), {}))


def progress(session: Session, job: Job) -> dict[str, Any]:
    """What a progress bar needs, as JSON: the account, the share settled, images a second, seconds left with bounds."""
    told = account(session, job.id)
    moment = db.clock(session)
    ended = job.finished_at or moment
    took = (ended - job.started_at).total_seconds() if job.started_at else 0.0
    rate = told.settled / took if took > 0 else 0.0
    left = outlook.left(session, job, told.waiting, rate, moment)
    return {
        "id": job.id,
        "title": job.title,
        "kind": job.kind.value,
        "state": job.state.value,
        "listed": job.listed,
        "error": job.error,
        "found": told.found,
        "scored": told.scored,
        "rejected": told.rejected,
        "duplicate": told.duplicate,
        "failed": told.failed,
        "cancelled": told.cancelled,
        "waiting": told.waiting,
        "reasons": told.reasons,
        # Of a watched folder: files that were taken before, and files that are still written to.
        "unchanged": job.scope.get("unchanged"),
        "unsettled": job.scope.get("unsettled"),
        "share": told.settled / told.found if told.found else (1.0 if job.finished_at else 0.0),
        "rate": round(rate, 2),
        "seconds": round(took, 1),
        "seconds_left": None if left is None else round(left.likely),
        "seconds_left_low": None if left is None else round(left.low),
        "seconds_left_high": None if left is None else round(left.high),
    }


# ---- who waits for whom ----------------------------------------------------------------------------------------
#
# The order in which rows are locked, here and everywhere, is in docs/reliability.md: a job before its entries.


def share(session: Session, job_id: int) -> None:
    """Hold a job until the commit, beside others that do: before entries of one batch of it are changed."""
    session.execute(select(Job.id).where(Job.id == job_id).with_for_update(read=True, key_share=True))


def hold_alone(session: Session, job_id: int) -> None:
    """Hold a job alone until the commit: before entries of it are changed in whatever batch they stand."""
    session.execute(select(Job.id).where(Job.id == job_id).with_for_update())


# ---- changes of state ------------------------------------------------------------------------------------------


def settle(session: Session, job_id: int) -> bool:
    """Close a job that is listed and waits for nothing more."""
    # Of two workers that end its last batches at once, the second waits here and then sees what the first wrote.
    # Not alone: whoever ends a batch of the job shares it, and two that did would wait for each other.
    session.execute(select(Job.id).where(Job.id == job_id).with_for_update(key_share=True))
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
    hold_alone(session, job_id)
    moment = db.clock(session)
    waits = [Entry.job_id == job_id, Entry.status == EntryStatus.WAITING]
    fail_entries(session, waits, reason, error, moment)
    session.execute(
        update(Job)
        .where(Job.id == job_id, Job.state.in_(OPEN))
        .values(state=JobState.FAILED, error=error, finished_at=moment)
    )


def fail_entries(
    session: Session, which: Sequence[ColumnElement[bool]], reason: str, detail: str, moment: datetime
) -> None:
    """Say of all entries that meet the conditions that they failed, and why."""
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
            )
            .where(*which)
            .order_by(Entry.image_id),  # each shares its image: in the order in which a deletion holds them
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
    hold_alone(session, job_id)
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

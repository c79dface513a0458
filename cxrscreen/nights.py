"""Nights: what came of each window of a schedule. A row is written once, by whichever beat comes first."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from cxrscreen import jobs, schedules
from cxrscreen.tables import Job, JobKind, JobState, ModelVersion, Night, NightState, Schedule

# Without a window, a run that nobody was up to begin is begun this late and no later.
LATE = timedelta(hours=9)
REMEMBERED = 14  # runs that a machine which was off for long is told to have missed
ENDED = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


def listed(session: Session, limit: int, schedule_id: int | None = None) -> list[tuple[Night, str, str]]:
    """The latest nights with their schedule's name and the state of their job ("" for none)."""
    query = (
        select(Night, Schedule.name, Job.state)
        .join(Schedule, Schedule.id == Night.schedule_id)
        .outerjoin(Job, Job.id == Night.job_id)
        .order_by(Night.begins_at.desc(), Night.id.desc())
        .limit(limit)
    )
    if schedule_id is not None:
        query = query.where(Night.schedule_id == schedule_id)
    return [(night, name, state.value if state else "") for night, name, state in session.execute(query)]


def due(session: Session, schedule: Schedule, moment: datetime) -> list[tuple[datetime, datetime]]:
    """The runs that came and have no row yet, the oldest first, each with the moment after which it is missed."""
    hours = schedules.hours_of(schedule)
    known = session.scalar(select(func.max(Night.begins_at)).where(Night.schedule_id == schedule.id))
    since = max(known, schedule.armed_at) if known else schedule.armed_at
    runs = []
    for at in islice(hours.before(moment), REMEMBERED):
        if at < schedule.armed_at or (known and at <= since):
            break
        runs.append((at, hours.end(at) or at + LATE))
    return runs[::-1]


def write(
    session: Session,
    schedule: Schedule,
    begins_at: datetime,
    state: NightState,
    reason: str = "",
    ends_at: datetime | None = None,
) -> Night:
    """Add the row; IntegrityError where another beat was first."""
    window = schedules.hours_of(schedule).named(begins_at)
    night = Night(
        schedule_id=schedule.id, window=window, begins_at=begins_at, ends_at=ends_at, state=state, reason=reason
    )
    session.add(night)
    session.flush()
    return night


def carry(session: Session, schedule: Schedule, night: Night, version: ModelVersion) -> int | None:
    """The job that this night works at: the unfinished one of a night before, or a new one; None where a person
    or the run before stands in the way (the row says so)."""
    last = session.execute(
        select(Night, Job)
        .join(Job, Job.id == Night.job_id)
        .where(Night.schedule_id == schedule.id, Night.id != night.id)
        .order_by(Night.id.desc())
        .limit(1)
    ).first()
    if last is not None and last[1].state in jobs.OPEN:
        before, job = last
        if job.state == JobState.PAUSED and before.state != NightState.PAUSED:
            _miss(night, f"Job {job.id} of an earlier night was paused by a person: resume or cancel it.")
            return None
        if job.model_version_id != version.id:
            # The model was changed meanwhile: what is left is read with the one that counts now. A night comes before
            # its job, as where another beat ends its window.
            finish(session, before, NightState.DONE, "Its model is no longer the one to screen with.")
            jobs.cancel(session, job.id, "nightly")
        elif before.state == NightState.OPEN:
            _miss(night, f"Job {job.id}, the run before, was still at work.")
            return None
        else:
            finish(session, before, NightState.DONE, f"Job {job.id} went on in the next window.")
            if job.state == JobState.PAUSED:
                jobs.resume(session, job.id, "nightly")
            night.job_id = job.id
            return job.id
    folder = schedule.scope.get("folder")
    job = jobs.create(
        session,
        JobKind.NIGHTLY,
        f"{schedule.name}, night of {night.window.replace('T', ' ')}",
        version.id,
        sources=[{"path": folder, "label": folder, "watch": bool(schedule.scope.get("watch"))}] if folder else (),
        scope={key: value for key, value in schedule.scope.items() if key not in ("folder", "watch")},
        schedule_id=schedule.id,
        window=night.window,
    )
    job.rate = schedule.rate
    night.job_id = job.id
    return job.id


def unfinished(session: Session) -> list[tuple[Night, Job | None]]:
    """Nights whose job is at work, or waits for the next window."""
    rows = session.execute(
        select(Night, Job)
        .outerjoin(Job, Job.id == Night.job_id)
        .where(Night.state.in_((NightState.OPEN, NightState.PAUSED)))
        .order_by(Night.id)
    )
    return [(night, job) for night, job in rows]


def finish(session: Session, night: Night, state: NightState, reason: str = "") -> bool:
    """Close a night, or pause it; False where another beat was first."""
    changed = session.execute(
        update(Night)
        .where(Night.id == night.id, Night.state == night.state, Night.state.in_((NightState.OPEN, NightState.PAUSED)))
        .values(state=state, reason=reason)
        .returning(Night.id)
        .execution_options(synchronize_session=False)
    ).scalar()
    return changed is not None


def _miss(night: Night, reason: str) -> None:
    night.state, night.reason = NightState.MISSED, reason

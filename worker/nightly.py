"""Nightly rescreening: at its time of day a schedule opens one job over what the active version has not scored."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from cxrscreen import db, jobs, queue, registry
from cxrscreen.tables import Job, JobKind, Schedule

log = logging.getLogger(__name__)

# A stack that was down at the hour still opens its night when it comes up, but not in the next afternoon.
LATE = timedelta(hours=9)


def run() -> None:
    moment = datetime.now(UTC)
    with db.read() as session:
        schedules = list(session.scalars(select(Schedule).where(Schedule.enabled.is_(True))))
    for schedule in schedules:
        try:
            open_night(schedule, moment)
        except Exception:
            log.exception("The night of schedule %r was not opened", schedule.name)


def last_due(schedule: Schedule, moment: datetime) -> datetime:
    """The last moment at or before `moment` at which the clock on the wall showed the schedule's time."""
    zone = ZoneInfo(schedule.timezone)
    at = time_of_day.fromisoformat(schedule.at)
    today = moment.astimezone(zone).date()
    for day in (today, today - timedelta(days=1), today - timedelta(days=2)):
        # A time that a change of clocks leaves out is read with the offset before the change, so it comes an hour late.
        due = datetime.combine(day, at, tzinfo=zone).astimezone(UTC)
        if due <= moment:
            return due
    raise AssertionError("a day has every time of day within two days")


def open_night(schedule: Schedule, moment: datetime) -> int | None:
    """Open the job of the night that is due; None where it is not due, was opened before, or there is no model.

    The unique (schedule, window) makes a second beat, or a second look, harmless.
    """
    due = last_due(schedule, moment)
    if schedule.created_at > due or moment - due > LATE:
        return None
    window = due.astimezone(ZoneInfo(schedule.timezone)).date().isoformat()
    try:
        with db.write() as session:
            opened = select(Job.id).where(Job.schedule_id == schedule.id, Job.window == window)
            version = registry.active(session)
            if version is None or session.scalar(opened) is not None:
                return None
            job = jobs.create(
                session,
                JobKind.NIGHTLY,
                f"{schedule.name}, night of {window}",
                version.id,
                schedule_id=schedule.id,
                window=window,
            )
    except IntegrityError:
        return None
    queue.submit(queue.INGEST, job.id)
    return job.id

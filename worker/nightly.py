"""Nightly rescreening: at its time of day a schedule opens one job over what the active version has not scored."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from cxrscreen import db, jobs, queue, registry, schedules
from cxrscreen.tables import Job, JobKind, Schedule

log = logging.getLogger(__name__)

# A stack that was down at the hour still opens its night when it comes up, but not in the next afternoon.
LATE = timedelta(hours=9)


def run() -> None:
    moment = datetime.now(UTC)
    with db.read() as session:
        enabled = [schedule for schedule in schedules.every(session) if schedule.enabled]
    for schedule in enabled:
        try:
            open_night(schedule, moment)
        except Exception:
            log.exception("The night of schedule %r was not opened", schedule.name)


def open_night(schedule: Schedule, moment: datetime) -> int | None:
    """Open the job of the night that is due; None where it is not due, was opened before, or there is no model.

    The unique (schedule, window) makes a second beat, or a second look, harmless.
    """
    due = schedules.last_due(schedule, moment)
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

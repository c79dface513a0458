"""Backpressure: an ingest that runs ahead of the screening workers, or of the disk, waits."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from cxrscreen import batches, blobs, db, jobs
from cxrscreen.settings import get_settings
from cxrscreen.tables import Job, JobState
from worker import runtime
from worker.stop import Stopped

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5


def wait(job: Job, me: str, first: Callable[[], None]) -> None:
    """Return once there is room for another slice of the job; `first` is called before it has to wait.

    Raises Stopped where the job is paused, cancelled or lost, a shutdown is asked for, or another job, which has room,
    waits for a process that reads it: this one comes back through the sweep.
    """
    doing = runtime.INGESTING.doing
    while full := _full(job.id):
        if runtime.INGESTING.doing == doing:
            first()
            log.info("Ingest of job %s waits: %s", job.id, full)
        runtime.INGESTING.doing = f"job {job.id} waits: {full}"
        time.sleep(LOOK_SECONDS)
        with db.write() as session:
            if runtime.stopping() or not jobs.hold(session, job.id, me) or _others_wait(session, job.id):
                raise Stopped
    runtime.INGESTING.doing = doing


def _full(job_id: int) -> str:
    """What there is no room in; empty where there is."""
    settings = get_settings()
    free = blobs.store().free_bytes()
    if free is not None and free < settings.store_reserve_gb * 1e9:
        return f"the store has {free / 1e9:.1f} GB left, and {settings.store_reserve_gb:g} GB are kept free"
    with db.read() as session:
        waiting = batches.waiting_count(session, job_id)
    return f"{waiting} batches wait for screening" if waiting >= settings.waiting_batches else ""


def _others_wait(session: Session, job_id: int) -> bool:
    """A job that nobody reads just now and that has room for what is read."""
    moment = db.clock(session)
    unread = session.scalars(
        select(Job.id).where(
            Job.id != job_id,
            Job.state.in_((JobState.WAITING, JobState.RUNNING)),
            Job.listed.is_(False),
            or_(Job.lease_until.is_(None), Job.lease_until < moment),
        )
    )
    return any(batches.waiting_count(session, other) < get_settings().waiting_batches for other in unread)

"""The sweep: finds what is due in the database and wakes workers for it. Redis may be emptied at any moment (law 1)."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, select

from cxrscreen import batches, db, entries, features, jobs, queue, resumable, turns
from cxrscreen.settings import get_settings
from cxrscreen.tables import Job, JobState, Worker
from worker import tidy

MOST = 200  # messages a sweep may add; the next one adds more
FORGET_WORKER = timedelta(hours=1)


def run() -> None:
    """Harmless at any time and any number of times: messages only wake, claims decide."""
    with db.write() as session:
        batches.rein_in(session)
    with db.read() as session:
        moment = db.clock(session)
        unlisted = turns.reading(session, moment, MOST)
        due = batches.due(session, MOST)
        listed = list(session.scalars(select(Job.id).where(Job.state == JobState.RUNNING, Job.listed.is_(True))))
    _top_up(queue.INGEST, unlisted)
    _top_up(queue.SCREEN, due)
    for job_id in listed:
        with db.write() as session:  # one job at a time: who tries entries of several again holds them in an order
            if not jobs.settle(session, job_id) and not batches.any_open(session, job_id):
                # Nothing is under way and something waits: no batch holds it, so it gets one.
                ids = entries.stranded(session, job_id)
                entries.cut_batches(session, job_id, ids, get_settings().batch_size)
    with db.write() as session:
        session.execute(delete(Worker).where(Worker.seen_at < moment - FORGET_WORKER))
    with db.write() as session:
        features.forget(session)
    resumable.sweep()
    tidy.run()


def _top_up(task: str, due: list[int]) -> None:
    """As many messages as there is work, counting those that wait already: a long queue is not sent twice."""
    for identity in due[queue.length(task) :]:
        if not queue.submit(task, identity):
            return

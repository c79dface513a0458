"""The listing of a rescreen or a nightly job: every image that its model version has not answered for yet."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String, cast, exists, func, insert, literal, select
from sqlalchemy.orm import Session

from cxrscreen import db, entries, jobs, queue
from cxrscreen.settings import get_settings
from cxrscreen.tables import Entry, EntryStatus, Image, Job, Rejection, Result
from worker import runtime
from worker.stop import Stopped

PAGE = 1000


def list_images(job: Job, me: str) -> None:
    """Make entries page by page, in the order of the images' ids; goes on after the last one listed."""
    while True:
        if runtime.stopping():
            raise Stopped
        with db.write() as session:
            if not jobs.hold(session, job.id, me, progressed=True):
                raise Stopped
            listed = _list_page(session, job)
            made = entries.cut_batches(session, job.id, listed, get_settings().batch_size)
        for batch_id in made:
            queue.submit(queue.SCREEN, batch_id)
        if not listed:
            return


def _list_page(session: Session, job: Job) -> list[int]:
    version = job.model_version_id
    last = session.scalar(select(func.max(Entry.image_id)).where(Entry.job_id == job.id)) or 0
    answered = exists().where(Result.image_id == Image.id, Result.model_version_id == version)
    refused = exists().where(Rejection.image_id == Image.id, Rejection.model_version_id == version)
    query = (
        select(
            literal(job.id),
            # Two archives may hold files of one name; the image's number keeps their rows apart.
            Image.name + " [image " + cast(Image.id, String) + "]",
            Image.frame,
            literal(1),
            literal(EntryStatus.WAITING.value),
            Image.sha256,
            Image.id,
            literal(0),
        )
        .where(Image.id > last, ~answered, ~refused)
        .order_by(Image.id)
        .limit(PAGE)
    )
    if since := job.scope.get("since"):
        query = query.where(Image.created_at >= datetime.fromisoformat(since))
    columns = ["job_id", "name", "frame", "frames", "status", "sha256", "image_id", "attempts"]
    rows = session.scalars(insert(Entry).from_select(columns, query).returning(Entry.id))
    return sorted(rows)

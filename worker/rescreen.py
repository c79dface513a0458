"""The listing of a rescreen or a nightly job: every image that its model version has not answered for yet."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, String, cast, exists, func, insert, literal, select
from sqlalchemy.orm import Session, aliased

from cxrscreen import db, entries, features, ingests, queue, registry
from cxrscreen.settings import get_settings
from cxrscreen.tables import Entry, EntryStatus, Image, Job, ModelVersion, Rejection, Result, StudyResult
from worker import room, runtime
from worker.stop import Stopped

PAGE = 1024
# Images of a batch that is answered from features, but for no more than an ordinary batch holds: it takes as long as
# one of a few dozen that are looked at. What is looked at is written in parts, each beside the pixels of the next.
FEATURE_BATCH = 1024


def list_images(job: Job, me: str) -> None:
    """Make entries page by page, in the order of the images' ids; goes on after the last one listed."""
    place = room.Room(job, me)
    with db.read() as session:
        space = session.get_one(ModelVersion, job.model_version_id).record.get("feature_space")
    while True:
        place.wait()
        if runtime.stopping():
            raise Stopped
        with db.write() as session:
            if not ingests.hold(session, job.id, me, progressed=True):
                raise Stopped
            listed = _list_page(session, job)
            kept = features.count(session, space, listed.values()) if space else 0
            size = FEATURE_BATCH if len(listed) - kept <= get_settings().batch_size else get_settings().batch_size
            made = entries.cut_batches(session, job.id, list(listed), size)
        for batch_id in made:
            queue.submit(queue.SCREEN, batch_id)
        if not listed:
            return


def _within(session: Session, scope: dict[str, Any]) -> list[ColumnElement[bool]]:
    """The conditions of a job's scope."""
    conditions: list[ColumnElement[bool]] = []
    if since := scope.get("since"):
        conditions.append(Image.created_at >= datetime.fromisoformat(since))
    if (source := scope.get("job")) is not None:
        brought = aliased(Entry)
        conditions.append(exists().where(brought.job_id == source, brought.image_id == Image.id))
    if (flagged := scope.get("flagged")) is not None:
        seen = registry.need_active(session).id
        limit = registry.threshold(session, seen)
        said = StudyResult.score >= limit if flagged else StudyResult.score < limit
        shown = (StudyResult.study_id == Image.study_id, StudyResult.model_version_id == seen)
        conditions.append(exists().where(*shown, said))
    return conditions


def _list_page(session: Session, job: Job) -> dict[int, int]:
    """Entries of the next images, and their images, in order."""
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
    query = query.where(*_within(session, job.scope))
    columns = ["job_id", "name", "frame", "frames", "status", "sha256", "image_id", "attempts"]
    made = session.execute(insert(Entry).from_select(columns, query).returning(Entry.id, Entry.image_id))
    return {row.id: row.image_id for row in sorted(made)}

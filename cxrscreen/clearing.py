"""Uploaded files whose pictures are all kept as originals: after a while they take the room twice, and go.

An uploaded file stays while an entry of it was set aside with no image: trying that one again reads the file. What goes
is a file of a job that is done, when each picture that came in it is found in the store. The job keeps the source with
the time (`cleared`), so an ingest that walks the job once more passes it by; the blob itself goes the way of
everything that no row names (decision 20), so a kill at any place leaves either all of the rows or none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.orm import Session

from cxrscreen import audit, db, orphans
from cxrscreen.blobs import Blobs
from cxrscreen.settings import get_settings
from cxrscreen.tables import Entry, EntryStatus, Image, Job, JobKind, JobState, Upload

ACTOR = "sweep"
PAGE = 1000
ASKING = 16  # threads that wait for a store which is a service
CLEARED = "cleared"  # of a source: when its file went, in ISO 8601
SETTLED = (EntryStatus.SCORED, EntryStatus.DUPLICATE)


@dataclass(frozen=True)
class Cleared:
    """What a job's page tells of its uploaded files that went."""

    files: int
    of: int  # how many were uploaded
    images: int  # that were in the store by then
    at: datetime  # of the last one


def run(store: Blobs) -> int:
    """Let go of what is due; answers how many files. Raises StoreAway."""
    days = get_settings().clear_upload_days
    # Where nothing is ever removed from the store, a row that names nothing would win no room.
    if not days or not get_settings().orphan_hours:
        return 0
    with db.read() as session:
        before = db.clock(session) - timedelta(days=days)
        found = list(due(session, before))
    return sum(clear(store, job_id) for job_id in found)


def due(session: Session, before: datetime) -> Iterator[int]:
    """Jobs that were done before a moment and have uploaded files in the store, the oldest first."""
    kept = set(session.scalars(select(Upload.id).where(Upload.removed_at.is_(None))))
    done = (Job.kind == JobKind.UPLOAD, Job.state == JobState.DONE, Job.listed.is_(True), Job.finished_at <= before)
    rows = session.execute(select(Job.id, Job.sources).where(*done).order_by(Job.id).execution_options(yield_per=PAGE))
    for job_id, sources in rows if kept else ():
        if any(source.get("upload") in kept for source in sources):
            yield job_id


def clear(store: Blobs, job_id: int) -> int:
    """Let go of those uploaded files of a job whose pictures are all in the store; answers how many went."""
    with db.read() as session:
        ended = session.scalar(select(Job.finished_at).where(Job.id == job_id, Job.state == JobState.DONE))
        free = _kept_labels(session, job_id) if ended else set()
    images = _all_stored(store, job_id, free) if free else {}
    if not images:
        return 0
    with db.write() as session:
        # Whoever tries entries again opens the job: only as it was seen above may its files go.
        unchanged = (Job.id == job_id, Job.state == JobState.DONE, Job.finished_at == ended)
        job = session.scalar(select(Job).where(*unchanged).with_for_update(key_share=True))
        return _let_go(session, job, images) if job is not None else 0


def of_job(job: Job) -> Cleared | None:
    """None where every uploaded file of the job stands as it came."""
    gone = [source for source in job.sources if CLEARED in source]
    if not gone:
        return None
    latest = max(datetime.fromisoformat(source[CLEARED]) for source in gone)
    return Cleared(len(gone), len(job.sources), sum(source["images"] for source in gone), latest)


def _kept_labels(session: Session, job_id: int) -> set[str]:
    """The names that a job knows its uploaded files by, of those that are in the store."""
    ids = {source["upload"]: str(source["label"]) for source in _sources(session, job_id) if "upload" in source}
    if not ids:
        return set()
    near = Upload.id.between(min(ids), max(ids))  # one range: there may be more than a statement takes
    kept = session.scalars(select(Upload.id).where(near, Upload.removed_at.is_(None)))
    return {ids[upload_id] for upload_id in kept if upload_id in ids}


def _sources(session: Session, job_id: int) -> list[dict[str, Any]]:
    return session.scalar(select(Job.sources).where(Job.id == job_id)) or []


def _all_stored(store: Blobs, job_id: int, labels: set[str]) -> dict[str, int]:
    """Those of the files that nothing needs any more, with the number of images that each brought.

    One that brought something without an image (refused as it came in) is needed to try that again; so is one whose
    picture the store does not have, whatever the rows say.
    """
    images = dict.fromkeys(labels, 0)
    with ThreadPoolExecutor(ASKING) as pool:
        for rows in _pages(job_id):
            there = _found(store, {row.sha256 for row in rows if row.sha256 and row.path is None}, pool)
            for row in rows:
                label = _label_of(row.name, labels)
                if label is None or label not in images:
                    continue
                if row.sha256 in there:
                    images[label] += row.status != EntryStatus.DUPLICATE
                elif row.sha256 or row.status not in SETTLED:
                    del images[label]
            if not images:
                break
    return images


def _found(store: Blobs, hashes: set[str], pool: Executor) -> set[str]:
    ordered = sorted(hashes)
    looked = pool.map(partial(store.exists, "originals"), ordered)
    return {sha256 for sha256, found in zip(ordered, looked, strict=True) if found}


def _pages(job_id: int) -> Iterator[Sequence[Row[int, str, EntryStatus, str, str | None]]]:
    """A job's entries with the file of their image, a page and a transaction at a time."""
    query = (
        select(Entry.id, Entry.name, Entry.status, Image.sha256, Image.path)
        .outerjoin(Image, Image.id == Entry.image_id)
        .where(Entry.job_id == job_id)
        .order_by(Entry.id)
        .limit(PAGE)
    )
    last = 0
    while True:
        with db.read() as session:
            rows = session.execute(query.where(Entry.id > last)).all()
        if not rows:
            return
        last = rows[-1].id
        yield rows


def _label_of(name: str, labels: set[str]) -> str | None:
    """The uploaded file that an entry came in: its own name, or that of a folder above it."""
    while name not in labels:
        name, slash, _ = name.rpartition("/")
        if not slash:
            return None
    return name


def _let_go(session: Session, job: Job, images: dict[str, int]) -> int:
    moment = db.clock(session)
    wanted = {source["upload"]: str(source["label"]) for source in job.sources if source.get("label") in images}
    ids = sorted(wanted)
    gone: dict[int, Upload] = {}
    for start in range(0, len(ids), PAGE):
        these = Upload.id.in_(ids[start : start + PAGE])
        # What went with a study meanwhile is not ours to tell of.
        gone |= {row.id: row for row in session.scalars(select(Upload).where(these, Upload.removed_at.is_(None)))}
    if not gone:
        return 0
    for start in range(0, len(ids), PAGE):
        these = Upload.id.in_([one for one in ids[start : start + PAGE] if one in gone])
        session.execute(update(Upload).where(these, Upload.removed_at.is_(None)).values(removed_at=moment))
    orphans.condemn(session, "uploads", (row.sha256 for row in gone.values()))
    told = {one: {CLEARED: moment.isoformat(timespec="seconds"), "images": images[wanted[one]]} for one in gone}
    job.sources = [{**source, **told.get(source.get("upload"), {})} for source in job.sources]
    audit.record(
        session,
        ACTOR,
        "job.clear",
        f"job {job.id}",
        uploads=len(gone),
        bytes=sum(row.size for row in gone.values()),
        images=sum(images[wanted[one]] for one in gone),
    )
    return len(gone)

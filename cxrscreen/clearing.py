"""Uploaded files whose pictures are all kept as originals: after a while they take the room twice, and go.

An uploaded file stays while an entry of it was set aside with no image: trying that one again reads the file. What goes
is a file of a job that is done, when each picture that came in it is found in the store. The job keeps the source with
the time (`cleared`), so an ingest that walks the job once more passes it by; the blob itself goes the way of
everything that no row names (decision 20), so a kill at any place leaves either all of the rows or none. What a person
lets go of by hand, with what could still be tried again from it, is in `uploaded`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.orm import Session

from cxrscreen import audit, db, orphans
from cxrscreen.blobs import Blobs
from cxrscreen.settings import get_settings
from cxrscreen.tables import Entry, EntryStatus, Image, Job, JobKind, JobState, Upload, User

ACTOR = "sweep"
PAGE = 1000
ASKING = 16  # threads that wait for a store which is a service
CLEARED = "cleared"  # of a source: when its file went, in ISO 8601
PASSED = "passed"  # of a source whose file went with a study: a retry left what came in it alone
SETTLED = (EntryStatus.SCORED, EntryStatus.DUPLICATE)


@dataclass(frozen=True)
class Cleared:
    """What a job's page tells of its uploaded files that went."""

    files: int
    of: int  # how many were uploaded
    images: int  # that were in the store by then
    at: datetime  # of the last one
    given_up: int  # entries that stood in them alone, and cannot be tried again
    unread: bool  # the job had ended before all of them was surely read


@dataclass
class Held:
    """What came in one uploaded file of a job."""

    images: int = 0  # whose original is in the store
    missing: int = 0  # entries that show an image whose original is not: they may need the file
    alone: Counter[str] = field(default_factory=Counter)  # by how they ended: trying these again reads the file

    @property
    def needed(self) -> bool:
        return bool(self.missing or self.alone)

    def add(self, status: EntryStatus, sha256: str | None, stored: bool) -> None:
        if stored:
            self.images += status != EntryStatus.DUPLICATE
        elif sha256:
            self.missing += 1
        elif status not in SETTLED:
            self.alone[status.value] += 1


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
        seen = session.scalar(select(Job).where(Job.id == job_id, Job.state == JobState.DONE))
        labels = kept_labels(session, seen) if seen else set()
    held = look(store, job_id, labels, spare_only=True) if labels else {}
    if seen is None or not held:
        return 0
    with db.write() as session:
        job = unchanged(session, seen)
        return len(let_go(session, job, held, ACTOR)) if job is not None else 0


def unchanged(session: Session, seen: Job) -> Job | None:
    """A job that ended, held until the commit; None where it is not as it was seen.

    Whoever tries entries again opens it: what was looked up of it before does not hold any more.
    """
    as_seen = (Job.id == seen.id, Job.state == seen.state, Job.finished_at == seen.finished_at)
    return session.scalar(select(Job).where(*as_seen).with_for_update(key_share=True))


def of_job(job: Job) -> Cleared | None:
    """None where every uploaded file of the job stands as it came."""
    gone = [source for source in job.sources if CLEARED in source]
    if not gone:
        return None
    latest = max(datetime.fromisoformat(source[CLEARED]) for source in gone)
    given_up = sum(sum(source.get("given_up", {}).values()) for source in gone)
    images = sum(source["images"] for source in gone)
    return Cleared(len(gone), len(job.sources), images, latest, given_up, any("unread" in source for source in gone))


def passed_by(source: dict[str, Any]) -> bool:
    """Whether an ingest has nothing to read here: what came in it is settled, waits for a score alone, or was left.

    Of a file that is gone without such a word nobody knows what it held, and the job has to say so.
    """
    return CLEARED in source or PASSED in source


def gone_labels(session: Session, job: Job) -> set[str]:
    """The names of its uploaded files that were let go of: cleared, or deleted with a study that came in them."""
    return set(uploads_of(job).values()) - kept_labels(session, job)


def kept_labels(session: Session, job: Job) -> set[str]:
    """The names that a job knows its uploaded files by, of those that are in the store."""
    ids = uploads_of(job)
    return {ids[upload_id] for upload_id, _ in standing(session, ids)}


def uploads_of(job: Job) -> dict[int, str]:
    """Its uploads, each with the name that the job knows it by."""
    return {source["upload"]: str(source["label"]) for source in job.sources if "upload" in source}


def standing(session: Session, ids: Mapping[int, str]) -> list[tuple[int, int]]:
    """Number and bytes of those of a job's uploads that were not let go of."""
    if not ids:
        return []
    near = Upload.id.between(min(ids), max(ids))  # one range: there may be more than a statement takes
    rows = session.execute(select(Upload.id, Upload.size).where(near, Upload.removed_at.is_(None)))
    return [(row.id, row.size) for row in rows if row.id in ids]


def look(store: Blobs, job_id: int, labels: set[str], *, spare_only: bool = False) -> dict[str, Held]:
    """What came in these files of a job, with a question to the store for each picture. Raises StoreAway.

    With `spare_only` those alone that nothing needs any more: one that brought something without an image (refused as
    it came in) is needed to try that again; so is one whose picture the store does not have, whatever the rows say.
    """
    found = {label: Held() for label in labels}
    with ThreadPoolExecutor(ASKING) as pool:
        for rows in _pages(job_id):
            there = _found(store, {row.sha256 for row in rows if row.sha256 and row.path is None}, pool)
            for row in rows:
                label = label_of(row.name, labels)
                if label is None or (held := found.get(label)) is None:
                    continue
                held.add(row.status, row.sha256, row.sha256 in there)
                if spare_only and held.needed:
                    del found[label]
            if not found:
                break
    return found


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


def label_of(name: str, labels: set[str] | Mapping[str, object]) -> str | None:
    """The uploaded file that an entry came in: its own name, or that of a folder above it."""
    while name not in labels:
        name, slash, _ = name.rpartition("/")
        if not slash:
            return None
    return name


def let_go(session: Session, job: Job, held: Mapping[str, Held], actor: User | str) -> list[Upload]:
    """Give these files of a job away, in the caller's transaction, which holds the job; answers those that went."""
    moment = db.clock(session)
    wanted = {source["upload"]: held[label] for source in job.sources if (label := source.get("label")) in held}
    ids = sorted(wanted)
    gone: dict[int, Upload] = {}
    for start in range(0, len(ids), PAGE):
        these = Upload.id.in_(ids[start : start + PAGE])
        # What went with a study meanwhile is not ours to tell of.
        kept = select(Upload).where(these, Upload.removed_at.is_(None)).order_by(Upload.id)
        gone |= {row.id: row for row in session.scalars(kept.with_for_update(key_share=True))}
    if not gone:
        return []
    for start in range(0, len(ids), PAGE):
        these = Upload.id.in_([one for one in ids[start : start + PAGE] if one in gone])
        session.execute(update(Upload).where(these, Upload.removed_at.is_(None)).values(removed_at=moment))
    orphans.condemn(session, "uploads", (row.sha256 for row in gone.values()))
    told = {one: _told(job, wanted[one], moment) for one in gone}
    job.sources = [{**source, **told.get(source.get("upload"), {})} for source in job.sources]
    given_up = sum((wanted[one].alone for one in gone), Counter[str]())
    audit.record(
        session,
        actor,
        "job.clear",
        f"job {job.id}",
        uploads=len(gone),
        bytes=sum(row.size for row in gone.values()),
        images=sum(wanted[one].images for one in gone),
        **given_up,
    )
    return list(gone.values())


def read_whole(job: Job) -> bool:
    """All that its sources hold was found before it ended; False also where nobody can say."""
    return job.listed and job.state != JobState.FAILED


def _told(job: Job, held: Held, moment: datetime) -> dict[str, Any]:
    """What a source says of its file once that is gone."""
    told: dict[str, Any] = {CLEARED: moment.isoformat(timespec="seconds"), "images": held.images}
    if held.alone:
        told["given_up"] = dict(held.alone)
    return told if read_whole(job) else told | {"unread": True}

"""What has no score: rejected and failed entries of every job with their reasons, and trying them again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, select, update
from sqlalchemy.orm import Session

from cxrscreen import audit, sources
from cxrscreen.blobs import Blobs
from cxrscreen.imaging.reasons import sentence
from cxrscreen.tables import Entry, EntryStatus, Image, Job, JobState, Rejection, Upload, User

PAGE = 1000
ENDED = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)
SET_ASIDE = (EntryStatus.REJECTED, EntryStatus.FAILED)


@dataclass(frozen=True)
class Choice:
    """Which entries; empty means all."""

    job: int | None = None
    reason: str = ""
    status: EntryStatus | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        found = []
        if self.job is not None:
            found.append(Rejection.job_id == self.job)
        if self.reason:
            found.append(Rejection.reason == self.reason)
        if self.status is not None:
            found.append(Entry.status == self.status)
        return found


@dataclass(frozen=True)
class Aside:
    """An entry that was set aside; `thumb` is the image to show a small picture of, if there is one."""

    entry: Entry
    rejection: Rejection
    job: Job
    thumb: int | None


@dataclass(frozen=True)
class Tried:
    """What a retry did: entries that wait again, by job; and how many were left, as their bytes are gone."""

    by_job: dict[int, int]
    left: int

    @property
    def again(self) -> int:
        return sum(self.by_job.values())


def page(session: Session, choice: Choice, *, before: int | None = None, limit: int = 50) -> list[Aside]:
    """The newest first, a page at a time; `before` is the id of the last entry seen."""
    query = _chosen(choice).order_by(Rejection.entry_id.desc()).limit(limit)
    if before is not None:
        query = query.where(Rejection.entry_id < before)
    return [Aside(*row) for row in session.execute(query)]


def reasons(session: Session, choice: Choice) -> dict[str, int]:
    """How many entries there are of each reason, whichever reason is chosen."""
    wide = Choice(choice.job, "", choice.status).conditions()
    query = select(Rejection.reason, func.count()).group_by(Rejection.reason).where(*wide)
    if choice.status is not None:
        query = query.join(Entry, Entry.id == Rejection.entry_id)
    return {row[0]: row[1] for row in session.execute(query)}


def rows(session: Session, choice: Choice) -> Iterator[dict[str, Any]]:
    """One row an entry for a table to take away, in the order they were found."""
    last = 0
    query = _chosen(choice).order_by(Rejection.entry_id).limit(PAGE)
    while found := session.execute(query.where(Rejection.entry_id > last)).all():
        for entry, rejection, job, _ in found:
            last = entry.id
            yield {
                "job": job.id,
                "job_title": job.title,
                "file": f"{entry.name}#{entry.frame}" if entry.frames > 1 else entry.name,
                "status": entry.status.value,
                "reason": rejection.reason,
                "sentence": sentence(rejection.reason),
                "detail": rejection.detail,
                "sha256": entry.sha256,
                "at": rejection.created_at.isoformat(timespec="seconds"),
            }
        session.expunge_all()


def retry(session: Session, entry_ids: Sequence[int], actor: User | str, store: Blobs) -> Tried:
    """Let entries wait again whose bytes are still there, and open their jobs.

    After the commit wake an ingest worker for each job of the answer. The entries keep their place in the account: what
    was rejected or failed waits.
    """
    query = _chosen(Choice()).where(Entry.id.in_(entry_ids)).order_by(Entry.id)
    found = [Aside(*row) for row in session.execute(query)]
    sources: dict[tuple[int, str], bool] = {}
    again: dict[int, list[int]] = {}
    for aside in found:
        if _is_there(session, aside, store, sources):
            again.setdefault(aside.job.id, []).append(aside.entry.id)
    # In the order of their numbers: two people who try the same ones again must not wait for each other.
    for job_id in sorted(again):
        ids = again[job_id]
        session.execute(delete(Rejection).where(Rejection.entry_id.in_(ids)))
        waits = {"status": EntryStatus.WAITING, "attempts": 0}
        session.execute(update(Entry).where(Entry.id.in_(ids), Entry.status.in_(SET_ASIDE)).values(waits))
        # Not listed: the ingest walks the sources again, passes by what is settled, and reads what waits.
        opened = {"listed": False, "attempts": 0, "error": None, "finished_at": None, "lease_until": None}
        session.execute(update(Job).where(Job.id == job_id).values(opened))
        session.execute(update(Job).where(Job.id == job_id, Job.state.in_(ENDED)).values(state=JobState.RUNNING))
        audit.record(session, actor, "job.retry", f"job {job_id}", entries=len(ids), chosen=True)
    return Tried({job_id: len(ids) for job_id, ids in again.items()}, len(entry_ids) - sum(map(len, again.values())))


def failed(session: Session, choice: Choice, limit: int = PAGE) -> list[int]:
    """Entries of a choice that failed by our fault, the oldest first."""
    mine = Choice(choice.job, choice.reason, EntryStatus.FAILED)
    query = select(Entry.id).join(Rejection, Rejection.entry_id == Entry.id).where(*mine.conditions())
    return list(session.scalars(query.order_by(Entry.id).limit(limit)))


def _chosen(choice: Choice) -> Select[Entry, Rejection, Job, int]:
    return (
        select(Entry, Rejection, Job, Image.id)
        .join(Rejection, Rejection.entry_id == Entry.id)
        .join(Job, Job.id == Entry.job_id)
        .outerjoin(Image, Image.id == Entry.image_id)
        .where(*choice.conditions())
    )


def _is_there(session: Session, aside: Aside, store: Blobs, known: dict[tuple[int, str], bool]) -> bool:
    """The bytes of an entry can be read again: from the store, or from the source that it came from."""
    entry = aside.entry
    if aside.thumb is not None:
        image = session.get_one(Image, aside.thumb)
        return store.exists("originals", image.sha256) or (image.path is not None and sources.is_there(image.path))
    if entry.frames > 1:  # frames are read with their file, whose other frames are settled
        return False
    for source in aside.job.sources:
        label = str(source.get("label", ""))
        if entry.name == label or entry.name.startswith(f"{label.rstrip('/')}/"):
            key = (aside.job.id, label)
            if key not in known:
                known[key] = _source_is_there(session, source, store)
            return known[key]
    return False


def _source_is_there(session: Session, source: dict[str, Any], store: Blobs) -> bool:
    if "upload" in source:
        upload = session.get(Upload, source["upload"])
        return upload is not None and upload.removed_at is None and store.exists("uploads", upload.sha256)
    path = str(source["path"])
    return sources.is_url(path) or Path(path).exists()  # a store is asked when it is read

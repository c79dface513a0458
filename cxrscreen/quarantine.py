"""What has no score: rejected and failed entries of every job with their reasons. Trying them again is in `retries`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from cxrscreen.imaging.reasons import sentence
from cxrscreen.tables import Entry, EntryStatus, Image, Job, Rejection

PAGE = 1000
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


def failed(session: Session, choice: Choice, after: int = 0, limit: int = PAGE) -> list[int]:
    """Entries of a choice that failed by our fault, the oldest first, a page at a time; `after` is the last seen."""
    mine = Choice(choice.job, choice.reason, EntryStatus.FAILED)
    query = select(Entry.id).join(Rejection, Rejection.entry_id == Entry.id).where(*mine.conditions())
    return list(session.scalars(query.where(Entry.id > after).order_by(Entry.id).limit(limit)))


def _chosen(choice: Choice) -> Select[Entry, Rejection, Job, int]:
    return (
        select(Entry, Rejection, Job, Image.id)
        .join(Rejection, Rejection.entry_id == Entry.id)
        .join(Job, Job.id == Entry.job_id)
        .outerjoin(Image, Image.id == Entry.image_id)
        .where(*choice.conditions())
    )

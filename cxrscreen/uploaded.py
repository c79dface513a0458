"""What a job still has uploaded, and letting go of it by hand, with what could still be tried again from it.

`clearing` lets go by itself of what nothing needs any more. Here a person says that an entry which stands in the
uploaded file alone (refused as it came in, failed, cancelled) is not worth its room. A picture that the store does not
have is never given up: its file stays, whoever asks.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from cxrscreen import clearing, db, jobs
from cxrscreen.blobs import Blobs, StoreAway
from cxrscreen.errors import Conflict, CxrscreenError, StackError, UsageError
from cxrscreen.settings import get_settings
from cxrscreen.tables import Entry, Job, User

PAGE = 10_000
NAMED = 5  # files that a message names


@dataclass(frozen=True)
class Standing:
    """The uploaded files of a job that are still in the store."""

    files: int
    bytes: int


@dataclass(frozen=True)
class Stake:
    """What clearing them by hand gives up."""

    entries: dict[str, int]  # that stand in these files alone, by how they ended
    unread: bool  # perhaps more, that was never found: the job ended before it had surely read everything

    @property
    def count(self) -> int:
        return sum(self.entries.values())


@dataclass(frozen=True)
class LetGo:
    """What went, and the names of the files that stay because the store lacks a picture that came in them."""

    files: int
    bytes: int
    entries: dict[str, int]
    stay: list[str]


def standing(session: Session, job: Job) -> Standing:
    """Raises UsageError for a job that has no uploads, Conflict for one that is open or has none left."""
    ids = clearing.uploads_of(job)
    if not ids:
        raise UsageError(f"Job {job.id} has no uploaded files; files of folders and prefixes stay where they are.")
    if job.state in jobs.OPEN:
        raise Conflict(f"Job {job.id} is {job.state.value}: let it end or cancel it before its uploads are cleared.")
    found = clearing.standing(session, ids)
    if not found:
        raise Conflict(f"No uploaded file of job {job.id} is left in the store.")
    if not get_settings().orphan_hours:
        raise Conflict("Nothing is ever removed from this store (CXRSCREEN_ORPHAN_HOURS is 0): no room would be won.")
    return Standing(len(found), sum(size for _, size in found))


def clearable(session: Session, job: Job) -> Standing | None:
    """The same for a page that offers it: None where there is nothing to clear, or not now."""
    try:
        return standing(session, job)
    except CxrscreenError:
        return None


def stake(session: Session, job: Job) -> Stake:
    """What stands in the uploaded files alone, as the rows say; nothing is asked of the store."""
    labels = clearing.kept_labels(session, job)
    alone = (Entry.job_id == job.id, Entry.image_id.is_(None), Entry.status.not_in(clearing.SETTLED))
    rows = session.execute(select(Entry.name, Entry.status).where(*alone).execution_options(yield_per=PAGE))
    found = Counter(status.value for name, status in rows if clearing.label_of(name, labels) is not None)
    return Stake(dict(sorted(found.items())), not clearing.read_whole(job))


def clear(store: Blobs, job_id: int, actor: User | str) -> LetGo:
    """Let go of a job's uploaded files, but for those that brought a picture which the store does not have.

    Their blobs are removed by a sweep that comes after the commit. Raises what `standing` does, Conflict where every
    file has to stay or somebody tried entries again meanwhile, StackError where the store does not answer.
    """
    with db.read() as session:
        seen = jobs.get(session, job_id)
        standing(session, seen)
        labels = clearing.kept_labels(session, seen)
    try:
        store.require()
        held = clearing.look(store, job_id, labels)
    except StoreAway as away:
        raise StackError(str(away)) from away
    going = {label: one for label, one in held.items() if not one.missing}
    stay = sorted(labels - going.keys())
    if not going:
        missing = sum(one.missing for one in held.values())
        raise Conflict(
            f"Nothing was cleared: the store lacks the original of pictures that came in these files "
            f"(entries: {missing}), so they stay: {named(stay)}."
        )
    with db.write() as session:
        job = clearing.unchanged(session, seen)
        if job is None:
            raise Conflict(f"Job {job_id} was tried again meanwhile; nothing was cleared.")
        gone = clearing.let_go(session, job, going, actor)
        if not gone:
            raise Conflict(f"No uploaded file of job {job_id} is left in the store.")
    given_up = sum((one.alone for one in going.values()), Counter[str]())
    return LetGo(len(gone), sum(row.size for row in gone), dict(sorted(given_up.items())), stay)


def named(labels: list[str]) -> str:
    """Some names for a message, and how many more there are."""
    more = f" (+{len(labels) - NAMED})" if len(labels) > NAMED else ""
    return ", ".join(labels[:NAMED]) + more

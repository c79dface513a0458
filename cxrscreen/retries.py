"""Trying entries again: whose bytes can still be read waits once more, and its job is open again.

Whoever tries again holds the job before its entries, in the order of the jobs' numbers: so two people wait for each
other in turn, and whoever clears the uploaded files of a job (`clearing`, `uploaded`) comes before or after, never
between. What stood in a cleared file alone stays as it ended: if it waited, nobody would ever read it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, select, update
from sqlalchemy.orm import Session

from cxrscreen import audit, clearing, sources
from cxrscreen.blobs import Blobs
from cxrscreen.errors import Conflict
from cxrscreen.quarantine import SET_ASIDE
from cxrscreen.tables import Entry, EntryStatus, Image, Job, JobState, Rejection, Upload, User

PAGE = 1000
CUT_SHORT = (JobState.FAILED, JobState.CANCELLED)
ENDED = (JobState.DONE, *CUT_SHORT)
UNDONE = (EntryStatus.FAILED, EntryStatus.CANCELLED)


@dataclass(frozen=True)
class Tried:
    """What a retry did: entries that wait again, by job, and how many were left as they ended."""

    by_job: dict[int, int]
    left: int = 0  # their bytes are gone from where they were, or they never were to be tried
    cleared: int = 0  # they stood in an uploaded file that was cleared, or deleted with a study

    @property
    def again(self) -> int:
        return sum(self.by_job.values())


def failed(session: Session, job_id: int, actor: User | str) -> Tried:
    """Let what failed (or was cancelled) of a job wait again, and open the job.

    After the commit wake an ingest worker. Raises Conflict where there is nothing to try.
    """
    job = _hold(session, [job_id])[job_id]
    mine = (Entry.job_id == job_id, Entry.status.in_(UNDONE))
    _hold_entries(session, mine)
    again = cleared = 0
    if gone := clearing.gone_labels(session, job):
        again += _let_wait(session, (*mine, Entry.image_id.is_not(None)))
        for page in _without_image(session, mine):
            ids = [row.id for row in page if clearing.label_of(row.name, gone) is None]
            cleared += len(page) - len(ids)
            again += _let_wait(session, (Entry.id.in_(ids), *mine)) if ids else 0
    else:
        again += _let_wait(session, mine)
    if not again:
        _expect_unread(job, gone, cleared)
    _open(session, job, gone, tuple(JobState))
    audit.record(session, actor, "job.retry", f"job {job_id}", entries=again)
    return Tried({job_id: again}, cleared=cleared)


def offered(session: Session, job: Job) -> bool:
    """Whether `failed` would find something to try, for a page that offers it: what was given up stays given up."""
    if job.state not in ENDED:
        return False
    gone = clearing.gone_labels(session, job)
    if _may_hold_more(job, gone):
        return True
    mine = (Entry.job_id == job.id, Entry.status.in_(UNDONE))
    easy = (*mine, Entry.image_id.is_not(None)) if gone else mine
    if session.scalar(select(Entry.id).where(*easy).limit(1)) is not None:
        return True
    if not gone or _all_gone(job, gone):
        return False
    names = (row.name for page in _without_image(session, mine) for row in page)
    return any(clearing.label_of(name, gone) is None for name in names)


def chosen(session: Session, entry_ids: Sequence[int], actor: User | str, store: Blobs) -> Tried:
    """Let entries that were set aside wait again whose bytes are still there, and open their jobs.

    After the commit wake an ingest worker for each job of the answer. The entries keep their place in the account: what
    was rejected or failed waits.
    """
    wanted = (Entry.id.in_(entry_ids), Entry.status.in_(SET_ASIDE))
    query = select(Entry, Job, Image).join(Rejection, Rejection.entry_id == Entry.id).join(Job, Job.id == Entry.job_id)
    rows = session.execute(query.outerjoin(Image, Image.id == Entry.image_id).where(*wanted).order_by(Entry.id))
    found: list[tuple[Entry, Job, Image | None]] = [(row[0], row[1], row[2]) for row in rows]
    known: dict[tuple[int, str], bool] = {}
    # Before anything is held: a store may take its time.
    there = {entry.id for entry, job, image in found if _is_there(session, entry, job, image, store, known)}
    held = _hold(session, {entry.job_id for entry, _, _ in found})
    shown = _hold_entries(session, wanted)
    gone = {job_id: clearing.gone_labels(session, job) for job_id, job in held.items()}
    again: dict[int, list[int]] = {}
    cleared = 0
    for entry, _, image in found:
        if entry.id not in shown and clearing.label_of(entry.name, gone[entry.job_id]) is not None:
            cleared += 1
        elif entry.id in there and (image is None or entry.id in shown):
            again.setdefault(entry.job_id, []).append(entry.id)
    counts: dict[int, int] = {}
    for job_id, ids in again.items():
        # None where somebody else was first.
        if count := _let_wait(session, (Entry.id.in_(ids), Entry.status.in_(SET_ASIDE))):
            counts[job_id] = count
            _open(session, held[job_id], gone[job_id], ENDED)
            audit.record(session, actor, "job.retry", f"job {job_id}", entries=count, chosen=True)
    return Tried(counts, len(entry_ids) - cleared - sum(counts.values()), cleared)


def _hold(session: Session, job_ids: Sequence[int] | set[int]) -> dict[int, Job]:
    """These jobs as they are now, held until the commit; not their keys, which whoever counts entries shares."""
    query = select(Job).where(Job.id.in_(job_ids)).order_by(Job.id).with_for_update(key_share=True)
    return {job.id: job for job in session.scalars(query.execution_options(populate_existing=True))}


def _hold_entries(session: Session, which: Sequence[ColumnElement[bool]]) -> set[int]:
    """Hold entries until the commit; answers those that show an image.

    Whoever deletes a study has its entries in hand: they come before or after, and after them their uploads are gone.
    """
    rows = session.execute(select(Entry.id, Entry.image_id).where(*which).with_for_update(key_share=True))
    return {row.id for row in rows if row.image_id is not None}


def _without_image(session: Session, mine: Sequence[ColumnElement[bool]]) -> Iterator[Sequence[Row[int, str]]]:
    """Entries that have no image, a page at a time: to try them again their file is read."""
    query = select(Entry.id, Entry.name).where(*mine, Entry.image_id.is_(None)).order_by(Entry.id).limit(PAGE)
    last = 0
    while page := session.execute(query.where(Entry.id > last)).all():
        last = page[-1].id
        yield page


def _let_wait(session: Session, which: Sequence[ColumnElement[bool]]) -> int:
    waits = {"status": EntryStatus.WAITING, "attempts": 0}
    return len(session.scalars(update(Entry).where(*which).values(waits).returning(Entry.id)).all())


def _open(session: Session, job: Job, gone: set[str], these: Sequence[JobState]) -> None:
    """Let an ingest come again, which passes by the files that are gone; a job in one of these states runs."""
    unsaid = {str(source["label"]) for source in job.sources if not clearing.passed_by(source)} & gone
    if read := {label for label in unsaid if _was_read(session, job.id, label)}:
        passed = {clearing.PASSED: True}
        job.sources = [source | passed if source.get("label") in read else source for source in job.sources]
    # Not listed: the ingest walks the sources again, passes by what is settled, and reads what waits or never was read.
    # Whoever still reads them (the job runs, or did until just now) may be past what waits again, and loses its hold.
    again = select(Entry.id).where(Entry.job_id == job.id, Entry.status == EntryStatus.WAITING)
    session.execute(delete(Rejection).where(Rejection.job_id == job.id, Rejection.entry_id.in_(again)))
    opened = {"listed": False, "attempts": 0, "error": None, "finished_at": None, "lease_until": None, "worker": None}
    session.execute(update(Job).where(Job.id == job.id).values(opened))
    session.execute(update(Job).where(Job.id == job.id, Job.state.in_(these)).values(state=JobState.RUNNING))


def _was_read(session: Session, job_id: int, label: str) -> bool:
    """Something of it stands in the account: of a file that is gone and never was read the ingest has to say so."""
    inside = Entry.name.startswith(f"{label}/", autoescape=True)
    return (
        session.scalar(select(Entry.id).where(Entry.job_id == job_id, (Entry.name == label) | inside).limit(1))
        is not None
    )


def _expect_unread(job: Job, gone: set[str], cleared: int) -> None:
    """A job without an entry to try again is opened only for what its sources may hold that was never found."""
    if _may_hold_more(job, gone):
        return
    if cleared:
        raise Conflict(
            f"Entries that stood in an uploaded file which was cleared: {cleared}. Upload it again to try them."
        )
    if job.state in CUT_SHORT:
        raise Conflict(f"The uploaded files of job {job.id} were cleared. Upload them again to try them.")
    raise Conflict(f"Job {job.id} has nothing that failed.")


def _may_hold_more(job: Job, gone: set[str]) -> bool:
    """It ended before it had surely read what is still there."""
    return job.state in CUT_SHORT and not _all_gone(job, gone)


def _all_gone(job: Job, gone: set[str]) -> bool:
    return bool(job.sources) and all(source.get("label") in gone for source in job.sources)


def _is_there(
    session: Session, entry: Entry, job: Job, image: Image | None, store: Blobs, known: dict[tuple[int, str], bool]
) -> bool:
    """The bytes of an entry can be read again: from the store, or from the source that it came from."""
    if image is not None:
        return store.exists("originals", image.sha256) or (image.path is not None and sources.is_there(image.path))
    if entry.frames > 1:  # frames are read with their file, whose other frames are settled
        return False
    for source in job.sources:
        label = str(source.get("label", ""))
        if entry.name == label or entry.name.startswith(f"{label.rstrip('/')}/"):
            key = (job.id, label)
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

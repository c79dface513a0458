"""Batches: the unit of work of a screening worker, leased by compare-and-set (law 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, Row, and_, func, or_, select, update
from sqlalchemy.orm import Session

from cxrscreen import db, entries, features, jobs, pace, studies, turns
from cxrscreen.features import Seen
from cxrscreen.imaging.reasons import Reason
from cxrscreen.settings import get_settings
from cxrscreen.tables import Batch, BatchState, Entry, EntryStatus, Image, Job, JobState, Result

DEATHS_OF_ONE = 3  # a single image is quarantined after so many workers died with it
CLAIM_TRIES = 8
OPEN = (BatchState.WAITING, BatchState.LEASED)


class Picture(NamedTuple):
    """What screening needs of an image's row; one of the mapped class would take longer to make than to answer for."""

    id: int
    study_id: int
    sha256: str
    frame: int
    name: str
    path: str | None
    derivative: str


@dataclass(frozen=True)
class Work:
    """A claimed batch: what to score, with which model version."""

    batch_id: int
    job_id: int
    model_version_id: int
    images: list[Picture]  # each once
    deaths: int = 0  # of workers that held these images before


@dataclass(frozen=True)
class Answer:
    """One image's end: a result, or the reason why there is none (`failed`: our fault); and what was seen of it."""

    image_id: int
    result: dict[str, object] | None = None
    reason: str | None = None
    detail: str = ""
    failed: bool = False
    seen: Seen | None = None


def claim(session: Session, worker: str, *, untried: bool = False) -> Work | None:
    """Lease a batch of the job whose turn it is: one that its worker let lapse, or else one that was never begun.

    With `untried` none where that is one which a worker died with: whoever has another batch in hand must not take it.

    A lapsed lease is a death. The batch is split in two, and a single image is set aside after its third, so that one
    deadly image costs at most log2(batch) + 5 deaths and condemns none of its neighbours.
    """
    emptied: set[int] = set()  # jobs of batches with nothing left to score
    work = None
    for _ in range(CLAIM_TRIES):
        moment = db.clock(session)
        found = next(
            (batch_id for job_id in turns.screening(session, moment) if (batch_id := _first(session, job_id, moment))),
            None,
        )
        if found is None:
            break
        free = [Batch.id == found, or_(Batch.state == BatchState.WAITING, _lapsed(moment))]
        if untried:
            free.append(Batch.attempts == 0)
        claimed = session.execute(
            update(Batch)
            .where(*free)
            .values(
                state=BatchState.LEASED,
                worker=worker,
                claimed_at=moment,
                lease_until=moment + timedelta(seconds=get_settings().lease_seconds),
                attempts=Batch.attempts + 1,
            )
            .returning(Batch.attempts, Batch.job_id)
        ).first()
        if claimed is None:
            if untried:
                break
            continue  # another worker was first
        work = _open(session, found, claimed.job_id, deaths=claimed.attempts - 1)
        if work is not None:
            break
        emptied.add(claimed.job_id)
    # Shared so far; now in the order of their numbers, as whoever tries entries of several again holds them.
    for job_id in sorted(emptied | ({work.job_id} if work else set())):
        if job_id in emptied:
            jobs.settle(session, job_id)
        if work and job_id == work.job_id:
            pace.hold(session, job_id, len(work.images), moment)
    return work


def _first(session: Session, job_id: int, moment: datetime) -> int | None:
    """The batch of a job to claim; None where others are claiming them all. Each look is one step in an index."""
    for due in (_lapsed(moment), Batch.state == BatchState.WAITING):
        found = session.scalar(
            select(Batch.id)
            .where(Batch.job_id == job_id, due)
            .order_by(Batch.job_id, Batch.state, Batch.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        if found is not None:
            return found
    return None


def _lapsed(moment: datetime) -> ColumnElement[bool]:
    return and_(Batch.state == BatchState.LEASED, Batch.lease_until < moment)


def _open(session: Session, batch_id: int, job_id: int, deaths: int) -> Work | None:
    """The images of a claimed batch; None where there is nothing left to score in it, which may be its job's end."""
    jobs.share(session, job_id)
    waiting = _without_lost(
        session,
        session.execute(
            select(Entry.id, Entry.image_id)
            .where(Entry.batch_id == batch_id, Entry.status == EntryStatus.WAITING)
            .order_by(Entry.id)
        ).all(),
    )
    if deaths and len(waiting) > 1:
        half = len(waiting) // 2
        entries.cut_batches(session, job_id, [entry.id for entry in waiting[half:]], len(waiting))
        waiting = waiting[:half]
        # The half in hand is a batch that nobody has died with yet.
        session.execute(update(Batch).where(Batch.id == batch_id).values(attempts=1))
    elif waiting and deaths >= DEATHS_OF_ONE:
        entries.reject(
            session,
            session.get_one(Entry, waiting[0].id),
            Reason.QUARANTINED,
            f"{deaths} workers ended while they scored it",
            status=EntryStatus.FAILED,
        )
        waiting = []
    if not waiting:
        _close(session, batch_id)
        return None
    held = select(*(getattr(Image, name) for name in Picture._fields)).order_by(Image.id)
    rows = session.execute(held.where(Image.id.in_([entry.image_id for entry in waiting])))
    images = [Picture(*row) for row in rows]
    return Work(batch_id, job_id, session.get_one(Job, job_id).model_version_id, images, deaths)


def _without_lost(session: Session, waiting: Sequence[Row[int, int | None]]) -> list[Row[int, int | None]]:
    """The entries that have an image still; the others, whose image was deleted meanwhile, end here."""
    for row in waiting:
        if row.image_id is None:
            detail = "its image was deleted while it waited"
            entry = session.get_one(Entry, row.id)
            entries.reject(session, entry, Reason.ORIGINAL_MISSING, detail, status=EntryStatus.FAILED)
    return [row for row in waiting if row.image_id is not None]


def renew(session: Session, batch_id: int, worker: str) -> bool:
    """Hold on to a lease. False: it lapsed and another worker took it, so the work in hand is void."""
    until = db.clock(session) + timedelta(seconds=get_settings().lease_seconds)
    held = session.execute(
        update(Batch).where(_held(batch_id, worker)).values(lease_until=until).returning(Batch.id)
    ).scalar()
    return held is not None


def release(session: Session, batch_id: int, worker: str) -> None:
    """Give a batch back unharmed: the worker lives, it just cannot go on (the store or the model does not answer)."""
    session.execute(
        update(Batch)
        .where(_held(batch_id, worker))
        .values(state=BatchState.WAITING, lease_until=None, worker=None, attempts=Batch.attempts - 1)
    )


def give_up(session: Session, batch_id: int, worker: str) -> None:
    """Let the lease lapse at once: what stopped this worker would stop the next, so it counts like a death."""
    session.execute(update(Batch).where(_held(batch_id, worker)).values(lease_until=db.clock(session)))


def finish(session: Session, work: Work, worker: str, answers: Sequence[Answer]) -> bool:
    """Write a batch's answers and close it, in the caller's one transaction. False: the lease was lost, nothing done.

    Results are upserts on (image, model version): twice done is once done (law 3).
    """
    if session.scalar(select(Batch.id).where(_held(work.batch_id, worker)).with_for_update()) is None:
        return False
    jobs.share(session, work.job_id)
    study_ids = [image.study_id for image in work.images]
    studies.hold(session, study_ids)
    results = [
        {"image_id": answer.image_id, "model_version_id": work.model_version_id, **answer.result}
        for answer in answers
        if answer.result is not None
    ]
    if results:
        insert = db.insert_for(session, Result.__table__)
        fresh = {name: insert.excluded[name] for name in results[0] if name not in ("image_id", "model_version_id")}
        session.execute(
            insert.on_conflict_do_update(index_elements=["image_id", "model_version_id"], set_=fresh), results
        )
    features.keep(session, [(answer.image_id, answer.seen) for answer in answers if answer.seen is not None])
    scored = [row["image_id"] for row in results]
    session.execute(
        update(Entry)
        .where(Entry.batch_id == work.batch_id, Entry.status == EntryStatus.WAITING, Entry.image_id.in_(scored))
        .values(status=EntryStatus.SCORED)
        .execution_options(synchronize_session=False)
    )
    _refuse(session, work, {answer.image_id: answer for answer in answers if answer.result is None})
    studies.refresh(session, study_ids, work.model_version_id)
    _close(session, work.batch_id)
    jobs.settle(session, work.job_id)
    return True


def _refuse(session: Session, work: Work, refused: dict[int, Answer]) -> None:
    """End the entries that wait for these images, each for its answer's reason."""
    held = select(Entry.id, Entry.image_id).where(Entry.batch_id == work.batch_id, Entry.image_id.in_(refused))
    ends = []
    for row in session.execute(held.where(Entry.status == EntryStatus.WAITING).order_by(Entry.id)):
        answer = refused[row.image_id]
        status = EntryStatus.FAILED if answer.failed else EntryStatus.REJECTED
        ends.append(entries.End(row.id, row.image_id, status, answer.reason or Reason.INTERNAL, answer.detail))
    entries.reject_many(session, work.job_id, ends, work.model_version_id)


def rein_in(session: Session) -> None:
    """No lease ends later than one that begins now: a clock that was ahead when it was written holds no work back.

    Whoever lives renews it in time; so machines that share a database share `lease_seconds`.
    """
    latest = db.clock(session) + timedelta(seconds=get_settings().lease_seconds)
    late: list[tuple[type[Batch] | type[Job], ColumnElement[bool]]] = [
        (Batch, and_(Batch.state == BatchState.LEASED, Batch.lease_until > latest)),
        (Job, and_(Job.state == JobState.RUNNING, Job.lease_until > latest)),
    ]
    for table, which in late:
        # Whoever holds one just now renews or ends its lease: nobody is waited for, and the next sweep looks again.
        free = select(table.id).where(which).with_for_update(key_share=True, skip_locked=True)
        session.execute(update(table).where(table.id.in_(free)).values(lease_until=latest))


def due(session: Session, limit: int) -> list[int]:
    """Batches that a sweep should wake workers for, in no order: whose turn it is decides the claim."""
    moment = db.clock(session)
    found: list[int] = []
    for which in (_lapsed(moment), Batch.state == BatchState.WAITING):
        query = select(Batch.id).join(Job).where(which, Job.state == JobState.RUNNING, pace.free(moment))
        found += session.scalars(query.limit(limit - len(found)))
    return found


def waiting_count(session: Session, job_id: int) -> int:
    """Batches of a job that no worker has yet."""
    return (
        session.scalar(
            select(func.count()).select_from(Batch).where(Batch.job_id == job_id, Batch.state == BatchState.WAITING)
        )
        or 0
    )


def any_open(session: Session, job_id: int) -> bool:
    """Whether a batch of the job waits or is under way."""
    found = select(Batch.id).where(Batch.job_id == job_id, Batch.state.in_(OPEN)).limit(1)
    return session.scalar(found) is not None


def open_count(session: Session) -> int:
    """Batches that wait or are under way in all running jobs."""
    return (
        session.scalar(
            select(func.count())
            .select_from(Batch)
            .join(Job)
            .where(Job.state == JobState.RUNNING, Batch.state.in_(OPEN))
        )
        or 0
    )


def _held(batch_id: int, worker: str) -> ColumnElement[bool]:
    return and_(Batch.id == batch_id, Batch.state == BatchState.LEASED, Batch.worker == worker)


def _close(session: Session, batch_id: int) -> None:
    session.execute(
        update(Batch)
        .where(Batch.id == batch_id)
        .values(state=BatchState.DONE, lease_until=None, finished_at=db.clock(session))
    )

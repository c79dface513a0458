"""Entries: what a job found, how each ended, and the table that people take away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, select, update
from sqlalchemy.orm import Session, aliased

from cxrscreen import db, registry
from cxrscreen.imaging.reasons import sentence
from cxrscreen.tables import (
    Batch,
    BatchState,
    Entry,
    EntryStatus,
    Image,
    Job,
    ModelVersion,
    Rejection,
    Result,
    Study,
)

PAGE = 1000
ANSWERED = (EntryStatus.SCORED, EntryStatus.DUPLICATE)
DELETED = "deleted: The study was deleted; the entry stays, so that the account does."


def reject(
    session: Session,
    entry: Entry,
    reason: str,
    detail: str = "",
    *,
    status: EntryStatus = EntryStatus.REJECTED,
    model_version_id: int | None = None,
) -> None:
    """End an entry with its reason; `status` is REJECTED (the input's fault) or FAILED (ours)."""
    entry.status = status
    session.flush()
    _explain(session, entry.job_id, [End(entry.id, entry.image_id, status, reason, detail)], model_version_id)


@dataclass(frozen=True)
class End:
    """Why one entry ends without a result."""

    entry_id: int
    image_id: int | None
    status: EntryStatus  # REJECTED or FAILED
    reason: str
    detail: str = ""


def reject_many(session: Session, job_id: int, ends: Sequence[End], model_version_id: int | None) -> None:
    """`reject` for many entries of a job, in three statements."""
    for status in {end.status for end in ends}:
        ids = [end.entry_id for end in ends if end.status == status]
        session.execute(
            update(Entry)
            .where(Entry.id.in_(ids))
            .values(status=status)
            .execution_options(synchronize_session="evaluate")
        )
    if ends:
        _explain(session, job_id, ends, model_version_id)


def _explain(session: Session, job_id: int, ends: Sequence[End], model_version_id: int | None) -> None:
    rows = [
        {
            "entry_id": end.entry_id,
            "job_id": job_id,
            "image_id": end.image_id,
            "model_version_id": model_version_id,
            "reason": end.reason,
            "detail": end.detail[:2000],
        }
        for end in ends
    ]
    insert = db.insert_for(session, Rejection.__table__)
    fresh = {name: insert.excluded[name] for name in rows[0] if name != "entry_id"}
    session.execute(insert.on_conflict_do_update(index_elements=["entry_id"], set_=fresh), rows)


def cut_batches(session: Session, job_id: int, entry_ids: Sequence[int], size: int) -> list[int]:
    """Gather waiting entries into batches; answers the ids of the new batches."""
    made = []
    for start in range(0, len(entry_ids), size):
        batch = Batch(job_id=job_id, state=BatchState.WAITING, attempts=0)
        session.add(batch)
        session.flush()
        session.execute(update(Entry).where(Entry.id.in_(entry_ids[start : start + size])).values(batch_id=batch.id))
        made.append(batch.id)
    return made


def stranded(session: Session, job_id: int, limit: int = PAGE) -> list[int]:
    """Entries that wait for a score but stand in no open batch (after a retry); they want a new one."""
    return list(
        session.scalars(
            select(Entry.id)
            .outerjoin(Batch, Entry.batch_id == Batch.id)
            .where(
                Entry.job_id == job_id,
                Entry.status == EntryStatus.WAITING,
                Entry.image_id.is_not(None),
                (Batch.id.is_(None)) | (Batch.state == BatchState.DONE),
            )
            .order_by(Entry.id)
            .limit(limit)
        )
    )


@dataclass(frozen=True)
class Line:
    """An entry with how it ended, for lists."""

    entry: Entry
    study_id: int | None
    result: Result | None
    rejection: Rejection | None

    @property
    def answer(self) -> Result | None:
        """The result, where the entry has a part in it: what was set aside since has none."""
        return self.result if self.entry.status in ANSWERED else None


def page(
    session: Session,
    job: Job,
    *,
    status: EntryStatus | None = None,
    reason: str = "",
    after: int = 0,
    limit: int = 100,
) -> list[Line]:
    """Entries of a job in the order they were found, a page at a time; `after` is the id of the last one seen."""
    query = (
        select(Entry, Image.study_id, Result, Rejection)
        .outerjoin(Image, Image.id == Entry.image_id)
        .outerjoin(
            Result,
            and_(Result.image_id == Entry.image_id, Result.model_version_id == job.model_version_id),
        )
        .outerjoin(Rejection, Rejection.entry_id == Entry.id)
        .where(Entry.job_id == job.id, Entry.id > after)
        .order_by(Entry.id)
        .limit(limit)
    )
    if status is not None:
        query = query.where(Entry.status == status)
    if reason:
        query = query.where(Rejection.reason == reason)
    return [Line(*row) for row in session.execute(query)]


def rows(session: Session, job_id: int) -> Iterator[dict[str, Any]]:
    """One row an entry, in the order they were found: the columns of `screen --out` in design order.

    A duplicate carries the answer of the entry it repeats. Probabilities of classes are named `p_<class>`.
    """
    job = session.get_one(Job, job_id)
    version = session.get_one(ModelVersion, job.model_version_id)
    threshold = registry.threshold(session, version.id)
    first = aliased(Entry)
    query = (
        select(Entry, Result, Study.label, Rejection, Image.sha256)
        .outerjoin(first, first.id == Entry.duplicate_of)
        .outerjoin(Image, Image.id == Entry.image_id)
        .outerjoin(Study, Study.id == Image.study_id)
        .outerjoin(Result, and_(Result.image_id == Entry.image_id, Result.model_version_id == version.id))
        .outerjoin(Rejection, Rejection.entry_id.in_([Entry.id, first.id]))
        .where(Entry.job_id == job_id)
        .order_by(Entry.id)
        .limit(PAGE)
    )
    last = 0
    while page := session.execute(query.where(Entry.id > last)).all():
        for entry, result, study, rejection, sha256 in page:
            last = entry.id
            yield _row(version, threshold, entry, result, study, rejection, sha256)


def _row(
    version: ModelVersion,
    threshold: float,
    entry: Entry,
    result: Result | None,
    study: str | None,
    rejection: Rejection | None,
    sha256: str | None,
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "file": f"{entry.name}#{entry.frame}" if entry.frames > 1 else entry.name,
        "study": study,
        "image_sha256": sha256 or entry.sha256,
        "status": entry.status.value,
        "reason": None,
        "label": None,
        "subclass": None,
        "score": None,
        "flagged": None,
        "model": version.name,
    }
    row |= {f"p_{name}": None for name in version.record["classes"]}
    if rejection is not None:
        said = sentence(rejection.reason)
        row["reason"] = f"{rejection.reason}: {said}" + (f" ({rejection.detail})" if rejection.detail else "")
    elif result is not None and entry.status in ANSWERED:
        row |= {
            "label": result.label,
            "subclass": result.subclass,
            "score": result.score,
            "flagged": result.score >= threshold,
        }
        row |= {f"p_{name}": value for name, value in class_probabilities(version.record, result).items()}
    elif entry.status == EntryStatus.SCORED and entry.image_id is None:
        row["reason"] = DELETED
    return row


def class_probabilities(record: dict[str, Any], result: Result) -> dict[str, float]:
    """Subclass probabilities summed into their classes (composition)."""
    sums = {str(name): 0.0 for name in record["classes"]}
    for subclass in record["subclasses"]:
        sums[subclass["class"]] += float(result.probabilities.get(subclass["name"], 0.0))
    return sums

"""Counts of jobs, as the database keeps them (`cxrscreen/tables/counts.py`), and holding them against the rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import delete, func, insert, literal, select
from sqlalchemy.orm import Session

from cxrscreen import db
from cxrscreen.tables import Entry, JobCount, Rejection

Counts = dict[tuple[int, str], dict[str, int]]  # by job and kind: how many rows have which word
WORD = {"entries": (Entry.job_id, Entry.status), "rejections": (Rejection.job_id, Rejection.reason)}


def of(session: Session, job_ids: Sequence[int], kinds: Sequence[str] = tuple(WORD)) -> Counts:
    """The counts of some jobs in one query; what is at zero is left out."""
    rows = session.execute(
        select(JobCount.job_id, JobCount.kind, JobCount.word, func.sum(JobCount.n))
        .where(JobCount.job_id.in_(job_ids), JobCount.kind.in_(kinds))
        .group_by(JobCount.job_id, JobCount.kind, JobCount.word)
        .having(func.sum(JobCount.n) != 0)
    )
    return _gathered((job_id, kind, word, number) for job_id, kind, word, number in rows)


def counted(session: Session) -> Counts:
    """The same of every job by counting the rows themselves, which reads all of them."""
    found: Counts = {}
    for kind, (job_id, word) in WORD.items():
        rows = session.execute(select(job_id, word, func.count()).group_by(job_id, word))
        found |= _gathered((job, kind, said, number) for job, said, number in rows)
    return found


def wrong() -> list[str]:
    """A line for every count that is not what the rows say; empty unless triggers were off.

    In a session of its own: all of it is one snapshot, which a transaction that has begun cannot become.
    """
    with db.read() as session:
        if session.get_bind().dialect.name == "postgresql":
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        rows = counted(session)
        kept = of(session, list(session.scalars(select(JobCount.job_id).distinct())))
    return [
        f"job {job_id}, {kind}: kept {kept.get((job_id, kind), {})}, counted {rows.get((job_id, kind), {})}"
        for job_id, kind in sorted(rows.keys() | kept.keys())
        if kept.get((job_id, kind), {}) != rows.get((job_id, kind), {})
    ]


def recount(session: Session) -> None:
    """Make the counts anew from the rows; nothing else may write meanwhile."""
    session.execute(delete(JobCount))
    for kind, (job_id, word) in WORD.items():
        told = select(job_id, literal(kind), word, literal(0), func.count()).group_by(job_id, word)
        session.execute(insert(JobCount).from_select(["job_id", "kind", "word", "part", "n"], told))


def _gathered(rows: Iterable[tuple[int, str, str, int]]) -> Counts:
    found: Counts = {}
    for job_id, kind, word, number in rows:
        found.setdefault((job_id, kind), {})[str(word)] = int(number)
    return found

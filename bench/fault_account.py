"""The account of a job, read at every moment while faults happen, and held against the files at the end (law 4)."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from cxrscreen import db, jobs
from cxrscreen.tables import Batch, BatchState, Entry, EntryStatus, Image, Job, JobState, Rejection, Result, StudyResult

PAUSE = 0.05
SCORES_APART = 1e-4


@dataclass
class Sampler:
    """Looks in a thread. `history` holds (monotonic seconds, settled), `wrong` a line for every sum that was off."""

    job_id: int
    files: int
    history: list[tuple[float, int]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    unreadable: int = 0  # moments at which the database did not answer
    found: int = 0
    state: JobState = JobState.WAITING

    def __post_init__(self) -> None:
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, name="sampler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join()

    @property
    def settled(self) -> int:
        return self.history[-1][1] if self.history else 0

    def _look(self) -> None:
        while not self._done.wait(PAUSE):
            try:
                with db.read() as session:
                    # One snapshot for all that is compared.
                    session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
                    self._sample(session)
            except SQLAlchemyError:
                self.unreadable += 1

    def _sample(self, session: Session) -> None:
        job = session.get_one(Job, self.job_id)
        told = jobs.account(session, self.job_id)
        mine = Entry.job_id == self.job_id
        ends = session.execute(select(Entry.status, func.count()).where(mine).group_by(Entry.status))
        counted = {status.value: number for status, number in ends}
        rows = sum(counted.values())
        unproved = session.scalar(
            select(func.count())
            .select_from(Entry)
            .outerjoin(Result, (Result.image_id == Entry.image_id) & (Result.model_version_id == job.model_version_id))
            .where(mine, Entry.status == EntryStatus.SCORED, Result.id.is_(None))
        )
        checks = {
            "the sum is not the number of entries": told.found != rows,
            "the account is not what the entries say": any(
                getattr(told, status.value) != counted.get(status.value, 0) for status in EntryStatus
            ),
            "more entries than files": rows > self.files,
            "reasons and refusals differ": sum(told.reasons.values()) != told.rejected + told.failed,
            "scored without a result": bool(unproved),
            "an entry vanished": rows < self.found,
            "a settled entry waits again": told.settled < self.settled,
            "done, and something waits": job.state == JobState.DONE and told.waiting > 0,
        }
        self.wrong += [f"{text}: {told}" for text, bad in checks.items() if bad]
        self.found, self.state = rows, job.state
        self.history.append((time.monotonic(), told.settled))


def audit(job_id: int, right: dict[str, float | None]) -> dict[str, int]:
    """lost, duplicates, stuck and `differ`: ends that are not what a bare loop says of the same file."""
    with db.read() as session:
        job = jobs.get(session, job_id)
        rows = session.execute(
            select(Entry.name, Entry.status, Result.score)
            .outerjoin(Result, (Result.image_id == Entry.image_id) & (Result.model_version_id == job.model_version_id))
            .where(Entry.job_id == job_id)
        ).all()
        open_batches = session.scalar(
            select(func.count()).select_from(Batch).where(Batch.job_id == job_id, Batch.state != BatchState.DONE)
        )
        both = session.scalar(
            select(func.count())
            .select_from(Entry)
            .join(Rejection, Rejection.entry_id == Entry.id)
            .where(Entry.job_id == job_id, Entry.status == EntryStatus.SCORED)
        )
        twice = sum(
            len(session.execute(select(*key).group_by(*key).having(func.count() > 1)).all())
            for key in (
                (Result.image_id, Result.model_version_id),
                (Image.sha256, Image.frame),
                (StudyResult.study_id, StudyResult.model_version_id),
            )
        )
    ends: dict[str, list[tuple[EntryStatus, float | None]]] = {}
    for name, status, score in rows:
        ends.setdefault(name.rsplit("/", 1)[-1], []).append((status, score))
    final = (EntryStatus.SCORED, EntryStatus.REJECTED)
    waiting = sum(row.status == EntryStatus.WAITING for row in rows)
    held = (*final, EntryStatus.WAITING)
    lost = [name for name in right if not any(status in held for status, _ in ends.get(name, []))]
    repeated = sum(len(found) - 1 for found in ends.values())
    named_twins = sum(row.status == EntryStatus.DUPLICATE for row in rows)
    differ = sum(
        not _agrees(status, score, wanted)
        for name, wanted in right.items()
        for status, score in ends.get(name, [])
        if status in final
    )
    return {
        "lost": len(lost),
        "duplicates": repeated + twice + (both or 0) + named_twins,
        "stuck": waiting + (open_batches or 0) + (job.state != JobState.DONE),
        "differ": differ,
    }


def _agrees(status: EntryStatus, score: float | None, wanted: float | None) -> bool:
    if status == EntryStatus.REJECTED:
        return wanted is None
    return wanted is not None and score is not None and abs(score - wanted) <= SCORES_APART

"""A job's past: what happened to it when, and in which state it was from when to when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cxrscreen.imaging.reasons import Reason
from cxrscreen.tables import AuditEvent, Batch, Entry, Job, JobState, Rejection

ASIDE = 20  # images set aside that are told one by one; the account has all of them

# What an event makes of a job; the others leave it as it is.
AFTER = {
    "job.create": JobState.WAITING,
    "job.start": JobState.RUNNING,
    "job.pause": JobState.PAUSED,
    "job.resume": JobState.RUNNING,
    "job.retry": JobState.RUNNING,
}
WORDS = {
    "job.create": "opened",
    "job.start": "begun",
    "job.first": "first batch done",
    "job.pause": "paused",
    "job.resume": "went on",
    "job.retry": "tried again",
    "job.cancel": "cancelled",
    "job.clear": "uploaded files cleared",
    "job.aside": "image set aside",
    "job.end": "ended",
}


@dataclass(frozen=True)
class Event:
    at: datetime
    what: str  # the word of an action, as in the audit trail, or of ours: job.start, job.first, job.aside, job.end
    actor: str
    text: str = ""  # a sentence: why an image was set aside, how the job ended
    name: str = ""  # of the entry that was set aside
    facts: dict[str, Any] = field(default_factory=dict)  # that the audit trail keeps beside a deed

    @property
    def detail(self) -> str:
        """All of these in one line, as the command line tells them."""
        if self.facts:
            return ", ".join(f"{key} {value}" for key, value in self.facts.items())
        return f"{self.name}: {self.text}" if self.name else self.text

    @property
    def words(self) -> str:
        return WORDS.get(self.what, self.what)


@dataclass(frozen=True)
class Phase:
    """A stretch of time in one state; `begin` and `width` are shares of the whole time line."""

    state: JobState
    since: datetime
    until: datetime
    begin: float
    width: float


def events(session: Session, job: Job) -> list[Event]:
    """What happened to a job, in its order: deeds of people, the steps of the work, images that were set aside."""
    found = [
        Event(row.at, row.action, row.actor, facts=row.detail)
        for row in session.scalars(
            # Who looked at its entries stands in the audit log, and is no part of its past.
            select(AuditEvent).where(AuditEvent.subject == f"job {job.id}", AuditEvent.action.in_(WORDS))
        )
    ]
    if job.started_at:
        found.append(Event(job.started_at, "job.start", ""))
    first = session.scalar(select(func.min(Batch.finished_at)).where(Batch.job_id == job.id))
    if first:
        found.append(Event(first, "job.first", ""))
    aside = session.execute(
        select(Rejection.created_at, Entry.name, Rejection.detail)
        .join(Entry, Entry.id == Rejection.entry_id)
        .where(Rejection.job_id == job.id, Rejection.reason == Reason.QUARANTINED)
        .order_by(Rejection.created_at)
        .limit(ASIDE)
    )
    found += [Event(at, "job.aside", "", detail, name) for at, name, detail in aside]
    if job.finished_at:
        found.append(Event(job.finished_at, "job.end", "", job.error or job.state.value))
    return sorted(found, key=lambda event: event.at)


def phases(job: Job, told: Sequence[Event], moment: datetime) -> list[Phase]:
    """The states that a job was in from its opening to its end, or to this moment; empty where it has just begun."""
    begin, end = job.created_at, job.finished_at or moment
    whole = (end - begin).total_seconds()
    if whole <= 0:
        return []
    steps = [(begin, JobState.WAITING)]
    steps += [(event.at, AFTER[event.what]) for event in told if event.what in AFTER and begin < event.at < end]
    found: list[Phase] = []
    for (since, state), (until, _) in zip(steps, [*steps[1:], (end, job.state)], strict=True):
        if found and found[-1].state == state:  # a step that changed nothing goes on with the one before
            since = found.pop().since
        share = (until - since).total_seconds() / whole
        found.append(Phase(state, since, until, (since - begin).total_seconds() / whole, share))
    return [phase for phase in found if phase.width > 0]

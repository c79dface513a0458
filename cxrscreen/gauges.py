"""The state of an installation in numbers, for whoever watches it from outside: each from one cheap query."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cxrscreen import db, registry
from cxrscreen.tables import (
    Alert,
    Batch,
    BatchState,
    EntryStatus,
    Job,
    JobCount,
    JobState,
    Night,
    NightState,
    Schedule,
    Worker,
)
from cxrscreen.workers import QUIET

Labels = tuple[str, ...]
Values = dict[Labels, float]


@dataclass
class Gauge:
    """A name, what it tells, the names of its labels, and its values by them."""

    name: str
    says: str
    labels: Labels = ()
    values: Values = field(default_factory=dict)


def of_work(session: Session) -> Iterator[Gauge]:
    """Jobs, files and batches."""
    states = session.execute(select(Job.state, func.count()).group_by(Job.state))
    jobs = {state: number for state, number in states}  # noqa: C416  rows are no pairs to mypy
    yield Gauge("jobs", "Jobs in each state.", ("state",), {(one.value,): jobs.get(one, 0) for one in JobState})
    ends = {(one.value,): 0.0 for one in EntryStatus} | _by_word(session, "entries")
    yield Gauge("entries", "Files of all jobs by how they ended.", ("status",), ends)
    yield Gauge("set_aside", "Files without a score by reason.", ("reason",), _by_word(session, "rejections"))
    under_way = (
        select(Batch.state, func.count())
        .join(Job, Job.id == Batch.job_id)
        .where(Job.state == JobState.RUNNING, Batch.state != BatchState.DONE)
        .group_by(Batch.state)
    )
    batches = {state.value: number for state, number in session.execute(under_way)}
    values: Values = {(one.value,): batches.get(one.value, 0) for one in BatchState if one is not BatchState.DONE}
    yield Gauge("batches", "Batches of running jobs that wait for a worker or are under way.", ("state",), values)
    oldest = select(func.min(Job.created_at)).where(Job.state.in_((JobState.WAITING, JobState.RUNNING)))
    since = session.scalar(oldest)
    waited = (db.clock(session) - since).total_seconds() if since else 0.0
    yield Gauge("oldest_job_seconds", "For how long the oldest job is waiting or running.", (), {(): waited})


def of_workers(session: Session) -> Iterator[Gauge]:
    """Processes that breathe, and those that were heard of but no more."""
    moment = db.clock(session)
    alive: Values = {("ingest",): 0, ("screen",): 0}
    quiet: Values = dict.fromkeys(alive, 0.0)
    for role, seen_at in session.execute(select(Worker.role, Worker.seen_at)):
        told = alive if moment - seen_at <= QUIET else quiet
        told[(role,)] = told.get((role,), 0) + 1
    yield Gauge("workers", "Worker processes with a heartbeat in the last minute.", ("role",), alive)
    yield Gauge("workers_quiet", "Worker processes whose heartbeat stopped without a farewell.", ("role",), quiet)


def of_nights(session: Session) -> Iterator[Gauge]:
    """What came of the last run of each schedule, and how many alerts nobody has seen."""
    last = select(func.max(Night.id)).group_by(Night.schedule_id)
    query = select(Schedule.name, Night.state, Night.begins_at).join(Schedule, Schedule.id == Night.schedule_id)
    rows = session.execute(query.where(Night.id.in_(last)).order_by(Schedule.name)).all()
    states: Values = {(name, one.value): float(state is one) for name, state, _ in rows for one in NightState}
    yield Gauge("night", "The state of each schedule's last run: 1 for that state.", ("schedule", "state"), states)
    begun: Values = {(name,): at.timestamp() for name, _, at in rows}
    yield Gauge("night_begun_timestamp_seconds", "When each schedule's last run was due.", ("schedule",), begun)
    alerts = session.scalar(select(func.count()).select_from(Alert).where(Alert.seen_at.is_(None))) or 0
    yield Gauge("alerts", "Alerts that nobody has seen.", (), {(): alerts})


def of_model(session: Session) -> Iterator[Gauge]:
    """The version that people see."""
    used = registry.in_use(session)
    version: Values = {(str(used[0]), used[1]): 1} if used else {}
    yield Gauge("active_model", "The active model version: 1.", ("version", "name"), version)
    if used:
        yield Gauge("threshold", "Its operating point.", (), {(): used[3]})


def _by_word(session: Session, kind: str) -> Values:
    """The kept counts of all jobs together."""
    query = select(JobCount.word, func.sum(JobCount.n)).where(JobCount.kind == kind).group_by(JobCount.word)
    return {(str(word),): float(number) for word, number in session.execute(query)}

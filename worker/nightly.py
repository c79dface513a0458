"""The nights: open what is due, pause at a window's end, go on in the next, and say what was missed and why."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from sqlalchemy.exc import IntegrityError

from cxrscreen import blobs, db, drift, jobs, nights, queue, registry, retention, schedules, sources
from cxrscreen.errors import CxrscreenError, NoModel
from cxrscreen.tables import Job, JobState, ModelPolicy, ModelVersion, Night, NightState, Schedule

log = logging.getLogger(__name__)


def run(moment: datetime | None = None) -> None:
    """One look at the clock; harmless at any time and any number of times."""
    moment = moment or datetime.now(UTC)
    with db.read() as session:
        enabled = [schedule for schedule in schedules.every(session) if schedule.enabled]
        at_work = nights.unfinished(session)
    for night, job in at_work:
        try:
            close_night(night, job, moment)
        except Exception:
            log.exception("Night %s was not looked after", night.id)
    for schedule in enabled:
        try:
            open_night(schedule, moment)
        except Exception:
            log.exception("The night of schedule %r was not opened", schedule.name)
    retention.run(moment)


def open_night(schedule: Schedule, moment: datetime) -> int | None:
    """Open the night that is due and answer its job; None where none is due, it was opened before, or cannot be.

    The unique (schedule, window) makes a second beat, or a second look, harmless. A run whose window is over, or too
    long ago where there is none, is missed and said to be.
    """
    with db.read() as session:
        runs = nights.due(session, schedule, moment)
    opened = None
    for begins_at, missed_at in runs:
        if moment >= missed_at or begins_at != runs[-1][0]:
            _write(schedule, begins_at, NightState.MISSED, "Nothing ran at its hour.")
        else:
            opened = begin(schedule, begins_at)
    return opened


def begin(schedule: Schedule, begins_at: datetime) -> int | None:
    """Begin a run of a schedule, due or asked for by a person; None where it cannot be, which its row tells.

    Where the store does not answer this raises, writes nothing, and the next look tries again.
    """
    try:
        version = ready(schedule)
    except CxrscreenError as error:
        _write(schedule, begins_at, NightState.FAILED, str(error))
        return None
    hours = schedules.hours_of(schedule)
    ends_at = hours.end(begins_at) if hours.inside(begins_at) else None
    try:
        with db.write() as session:
            night = nights.write(session, schedule, begins_at, NightState.OPEN, ends_at=ends_at)
            job_id = nights.carry(session, schedule, night, version)
    except IntegrityError:
        return None
    if job_id is not None:
        queue.submit(queue.INGEST, job_id)
    return job_id


def ready(schedule: Schedule) -> ModelVersion:
    """The version to screen with, whole in the store; raises what the night failed for."""
    with db.read() as session:
        if schedule.policy == ModelPolicy.ACTIVE:
            version = registry.need_active(session)
        elif schedule.policy == ModelPolicy.CANDIDATE:
            found = registry.newest_candidate(session)
            if found is None:
                raise NoModel("There is no candidate to screen with in shadow.")
            version = found
        else:
            version = registry.get(session, str(schedule.model_version_id))
        if "flagged" in schedule.scope:
            registry.need_active(session)  # whose flags are meant
    if folder := schedule.scope.get("folder"):
        (sources.need_unmoved if schedule.scope.get("watch") else sources.need)(folder)
    registry.verify(blobs.store(), version)
    return version


def close_night(night: Night, job: Job | None, moment: datetime) -> None:
    """End a night whose job has ended, and pause one whose window has."""
    if job is None or job.state in nights.ENDED:
        outcome, reason = _outcome(job)
        with db.write() as session:
            mine = nights.finish(session, night, outcome, reason)
        if mine and job is not None:
            drift.measure(job.model_version_id, job.id)
    elif night.state == NightState.OPEN and night.ends_at is not None and moment >= night.ends_at:
        with db.write() as session:
            state = jobs.get(session, job.id).state
            if state == JobState.PAUSED:
                nights.finish(session, night, NightState.DONE, f"Job {job.id} was paused by a person.")
            elif state not in nights.ENDED and nights.finish(
                session, night, NightState.PAUSED, "Its window ended; the next one goes on."
            ):
                jobs.pause(session, job.id, "nightly")


def _outcome(job: Job | None) -> tuple[NightState, str]:
    if job is None:
        return NightState.DONE, "Its job is gone."
    if job.state == JobState.FAILED:
        return NightState.FAILED, job.error or ""
    try:
        for source in job.sources:  # a folder that went away after the night began was read as one that is empty
            sources.need(source["path"])
    except CxrscreenError as error:
        return NightState.FAILED, str(error)
    return NightState.DONE, f"Job {job.id} was cancelled." if job.state == JobState.CANCELLED else ""


def _write(schedule: Schedule, begins_at: datetime, state: NightState, reason: str) -> None:
    try:
        with db.write() as session:
            nights.write(session, schedule, begins_at, state, reason)
    except IntegrityError:
        return
    log.info("The run of %r due at %s is %s: %s", schedule.name, begins_at, state.value, reason)

"""Whose turn it is: the most urgent jobs first, and among those of one priority the person who was served longest ago.

One person's hundred thousand images and another's twenty take turns, batch by batch, so that the twenty are done after
forty batches at the most. Of one person's jobs, too, the one that was served longest ago goes first. Jobs that nobody
is named for (the command line, the nights) share one turn. Nobody keeps a turn: it follows from when batches and
sources were last claimed, so a claim holds up no other.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, func, or_, select
from sqlalchemy.orm import Session

from cxrscreen import pace
from cxrscreen.tables import Batch, BatchState, Job, JobState, UtcDateTime

# Jobs that ended so lately count for their person's turn: a heap of tiny jobs is not always new.
RECENT = timedelta(minutes=10)
NOBODY = 0
LISTED = 20  # jobs with work that one look names


def screening(session: Session, moment: datetime) -> list[int]:
    """Running jobs with a batch that may be claimed, the one whose turn it is first."""
    return list(session.scalars(_screening(), {"moment": moment, "recent": moment - RECENT}))


@lru_cache(maxsize=1)
def _screening() -> Select[int]:
    """Put together once: that takes longer than the answer, and every claim asks."""
    moment = bindparam("moment", type_=UtcDateTime())
    last = select(func.max(Batch.claimed_at)).where(Batch.job_id == Job.id).correlate(Job).scalar_subquery()
    # One step in an index for each job; of an EXISTS PostgreSQL may make a table of all batches that wait.
    has_work = or_(
        _one(Batch.state == BatchState.WAITING),
        _one(and_(Batch.state == BatchState.LEASED, Batch.lease_until < moment)),
    )
    wanted = and_(Job.state == JobState.RUNNING, pace.free(moment), has_work)
    return _in_turn(last, wanted, LISTED)


def reading(session: Session, moment: datetime, limit: int = LISTED) -> list[int]:
    """Jobs whose sources nobody reads just now, the one whose turn it is first."""
    query = _in_turn(Job.claimed_at, unread(moment), limit)
    return list(session.scalars(query, {"recent": moment - RECENT}))


def unread(moment: datetime) -> ColumnElement[bool]:
    """The condition that a job's sources are to be read and no living process holds them."""
    return and_(
        Job.state.in_((JobState.WAITING, JobState.RUNNING)),
        Job.listed.is_(False),
        or_(Job.lease_until.is_(None), Job.lease_until < moment),
    )


def _one(which: ColumnElement[bool]) -> ColumnElement[bool]:
    found = select(Batch.id).where(Batch.job_id == Job.id, which).order_by(Batch.job_id, Batch.state, Batch.id).limit(1)
    return found.correlate(Job).scalar_subquery().is_not(None)


def _in_turn(last: Any, wanted: ColumnElement[bool], limit: int) -> Select[int]:
    """The jobs that are `wanted`, in turn; its parameter `recent` is the moment from which on ended jobs count."""
    recent = bindparam("recent", type_=UtcDateTime())
    person = func.coalesce(Job.user_id, NOBODY)
    counted = or_(Job.state.in_((JobState.WAITING, JobState.RUNNING)), Job.finished_at > recent)
    served = (
        select(Job.priority.label("priority"), person.label("person"), func.max(last).label("at"))
        .where(counted)
        .group_by(Job.priority, person)
        .subquery()
    )
    return (
        select(Job.id)
        .join(served, and_(served.c.priority == Job.priority, served.c.person == person))
        .where(wanted)
        .order_by(Job.priority.desc(), served.c.at.asc().nulls_first(), last.asc().nulls_first(), Job.id)
        .limit(limit)
    )

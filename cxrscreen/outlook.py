"""A job's outlook: how long it may still take, with its spread."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cxrscreen.tables import Batch, BatchState, Entry, Job, JobState

RECENT = 48  # batches that the pace is taken from
BLOCKS = 8
WIDE = 1.64  # standard errors: nine of ten runs end between the two bounds, were paces normal
FEWEST = 4  # batches; with fewer, half and twice the time are as good as any bound


@dataclass(frozen=True)
class Left:
    """Seconds until the end: the best guess between two bounds."""

    low: float
    likely: float
    high: float


def left(session: Session, job: Job, waiting: int, overall: float, moment: datetime) -> Left | None:
    """How long the `waiting` entries may take by the pace of the latest batches; None where nobody can say.

    `overall` is the pace since the start, in images a second, which stands in where few batches are done.
    """
    if job.state != JobState.RUNNING or not job.listed:
        return None
    if not waiting:
        return Left(0.0, 0.0, 0.0)
    done = _recent(session, job.id)
    if len(done) <= FEWEST:
        guess = waiting / overall if overall > 0 else None
        return None if guess is None else Left(guess / 2, guess, guess * 2)
    # The time since the latest counts too: a job that stands still takes longer and longer.
    seconds = max((moment - done[0][0]).total_seconds(), 1e-3)
    rate = sum(images for _, images in done[1:]) / seconds
    if rate <= 0:
        return None
    error = _spread(done)
    return Left(waiting / (rate + WIDE * error), waiting / rate, waiting / max(rate - WIDE * error, rate / 4))


def _recent(session: Session, job_id: int) -> list[tuple[datetime, int]]:
    """When the latest batches were done, the oldest first, and how many entries each held."""
    latest = (
        select(Batch.id, Batch.finished_at)
        .where(Batch.job_id == job_id, Batch.state == BatchState.DONE, Batch.finished_at.is_not(None))
        .order_by(Batch.finished_at.desc(), Batch.id.desc())
        .limit(RECENT)
        .subquery()
    )
    rows = session.execute(
        select(latest.c.finished_at, func.count(Entry.id))
        .outerjoin(Entry, Entry.batch_id == latest.c.id)
        .group_by(latest.c.id, latest.c.finished_at)
        .order_by(latest.c.finished_at)
    )
    return [(at, images) for at, images in rows]


def _spread(done: Sequence[tuple[datetime, int]]) -> float:
    """The standard error of the pace, in images a second, from blocks of consecutive batches."""
    count = min(BLOCKS, len(done) - 1)
    edges = [round(number * (len(done) - 1) / count) for number in range(count + 1)]
    rates = []
    for begin, end in pairwise(edges):
        seconds = (done[end][0] - done[begin][0]).total_seconds()
        if seconds > 0:
            rates.append(sum(images for _, images in done[begin + 1 : end + 1]) / seconds)
    return statistics.stdev(rates) / math.sqrt(len(rates)) if len(rates) > 1 else 0.0


def said(low: float | None, high: float | None, likely: float | None) -> str:
    """Seconds left for people: the guess, and its bounds where they are apart; empty where nobody can say."""
    if likely is None or low is None or high is None:
        return ""
    about = duration(likely)
    bounds = (duration(low), duration(high))
    return f"about {about} left" + (f" ({bounds[0]} to {bounds[1]})" if bounds[0] != bounds[1] else "")


def duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"

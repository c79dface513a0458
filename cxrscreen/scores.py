"""What a version's study scores look like from above: counts by score and verdict, by night, and by subclass.

Each is one aggregate over `study_results`, answered from an index; no row is brought here, however many there are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Float, case, cast, extract, func, select
from sqlalchemy.orm import Session

from cxrscreen.tables import StudyResult, Verdict, now

STEPS = 1000  # of the histogram: a threshold of three decimals falls on the edge of one
NIGHTS = 30  # that are looked back on
DAY = 86_400
NOON = DAY // 2


@dataclass(frozen=True)
class Tally:
    """Studies by score: `counts[verdict][step]`, step k from k/STEPS on; the verdict None is of those not read.

    `apart` are thresholds that lie on no edge, counted by themselves: `apart[threshold][verdict]` at or over it.
    """

    counts: dict[Verdict | None, dict[int, int]]
    apart: dict[float, dict[Verdict | None, int]] = field(default_factory=dict)

    def of(self, verdict: Verdict | None) -> int:
        return sum(self.counts.get(verdict, {}).values())

    def over(self, threshold: float, verdict: Verdict | None) -> int:
        """How many of this verdict have the threshold's score or more."""
        if threshold in self.apart:
            return self.apart[threshold].get(verdict, 0)
        edge = round(threshold * STEPS)
        return sum(count for step, count in self.counts.get(verdict, {}).items() if step >= edge)

    @property
    def studies(self) -> int:
        return sum(self.of(verdict) for verdict in (None, *Verdict))

    def flagged(self, threshold: float) -> int:
        return sum(self.over(threshold, verdict) for verdict in (None, *Verdict))


@dataclass(frozen=True)
class Night:
    """From noon to noon UTC, named by the day it began on: what was answered and how much of it is flagged."""

    day: date
    studies: int
    flagged: int


def tally(session: Session, version_id: int, *thresholds: float, since: datetime | None = None) -> Tally:
    """Count a version's studies by score and verdict; `since` leaves out those it answered for before."""
    apart = [value for value in dict.fromkeys(thresholds) if not _on_an_edge(value)]
    step = _below(session, StudyResult.score * STEPS).label("step")
    asked = select(step, StudyResult.verdict, StudyResult.score).where(StudyResult.model_version_id == version_id)
    if since is not None:
        asked = asked.where(StudyResult.updated_at >= since)
    each = asked.subquery().c
    over = [func.sum(case((each.score >= value, 1), else_=0)) for value in apart]
    rows = session.execute(select(each.step, each.verdict, func.count(), *over).group_by(each.step, each.verdict))
    counts: dict[Verdict | None, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    beyond: dict[float, dict[Verdict | None, int]] = {value: defaultdict(int) for value in apart}
    for place, verdict, number, *overs in rows:
        counts[verdict][min(place, STEPS)] += number
        for value, held in zip(apart, overs, strict=True):
            beyond[value][verdict] += int(held)
    return Tally({verdict: dict(steps) for verdict, steps in counts.items()}, {v: dict(b) for v, b in beyond.items()})


def nights(session: Session, version_id: int, threshold: float) -> list[Night]:
    """The nights of the last NIGHTS days on which the version answered for a study, the oldest first."""
    if session.get_bind().dialect.name == "sqlite":
        seconds = cast(func.strftime("%s", StudyResult.updated_at), BigInteger)
    else:
        seconds = cast(extract("epoch", StudyResult.updated_at), BigInteger)
    day = _below(session, cast(seconds - NOON, Float) / DAY).label("day")
    asked = select(day, case((StudyResult.score >= threshold, 1), else_=0).label("flagged"))
    each = asked.where(StudyResult.model_version_id == version_id, StudyResult.updated_at >= lately()).subquery().c
    query = select(each.day, func.count(), func.sum(each.flagged)).group_by(each.day).order_by(each.day)
    epoch = date(1970, 1, 1)
    return [Night(epoch + timedelta(days=day), number, int(flagged)) for day, number, flagged in session.execute(query)]


def lately() -> datetime:
    """Where the last NIGHTS nights begin."""
    begun = now() - timedelta(days=NIGHTS)
    return begun.replace(hour=12, minute=0, second=0, microsecond=0)


def subclasses(session: Session, version_id: int, threshold: float) -> list[tuple[str, int, int, int, int]]:
    """Each subclass with its studies, those flagged, and those confirmed and dismissed; the most frequent first."""
    flagged = case((StudyResult.score >= threshold, 1), else_=0)
    query = select(
        StudyResult.subclass,
        func.count(),
        func.sum(flagged),
        *(func.sum(case((StudyResult.verdict == said, 1), else_=0)) for said in (Verdict.CONFIRMED, Verdict.DISMISSED)),
    ).where(StudyResult.model_version_id == version_id)
    rows = session.execute(query.group_by(StudyResult.subclass).order_by(func.count().desc(), StudyResult.subclass))
    return [(name, number, int(over), int(yes), int(no)) for name, number, over, yes, no in rows]


def _on_an_edge(threshold: float) -> bool:
    return round(threshold * STEPS) / STEPS == threshold


def _below(session: Session, value: ColumnElement[Any]) -> ColumnElement[int]:
    """Rounded down; a cast alone would round to the nearest on PostgreSQL, while on SQLite it cuts off."""
    if session.get_bind().dialect.name != "sqlite":
        value = func.floor(value)
    return cast(value, BigInteger)


def bars(told: Tally, verdicts: Sequence[Verdict | None], count: int) -> list[int]:
    """The studies of these verdicts in bars of equal width from 0 to 1."""
    held = [0] * count
    for verdict in verdicts:
        for step, number in told.counts.get(verdict, {}).items():
            held[min(step * count // STEPS, count - 1)] += number
    return held

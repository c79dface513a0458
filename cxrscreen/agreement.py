"""How well readers agree, and what the blind sample says of studies that nobody was shown because of their score."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from cxrscreen.compare import wilson
from cxrscreen.tables import Draw, Reading, Review, Study, StudyResult, User, Verdict

Z95 = 1.959964
Table = Mapping[tuple[str, str], float]  # (one reader's word, the other's) -> how many studies
MISSES_LISTED = 50


@dataclass(frozen=True)
class Kappa:
    """Agreement of two readers beyond chance; `value` and `ci95` are None where there is no chance to go beyond."""

    n: float
    same: float
    value: float | None
    ci95: tuple[float, float] | None


@dataclass(frozen=True)
class Pair:
    """Two readers and the studies that both read blind. Rows of the table are the first one's words."""

    names: tuple[str, str]
    table: Table
    kappa: Kappa


def kappa(table: Table) -> Kappa:
    """Cohen's kappa (Educ Psychol Meas 20, 1960) with its 95 % interval.

    The interval is that of the large-sample variance of Fleiss, Cohen and Everitt (Psychol Bull 72, 1969, formula 13).
    It is None with fewer than two studies, or where either reader used one word only.
    """
    n = sum(table.values())
    same = sum(number for (one, other), number in table.items() if one == other)
    words = {word for pair in table for word in pair}
    rows = {word: sum(number for (one, _), number in table.items() if one == word) / n for word in words} if n else {}
    columns = {word: sum(number for (_, other), number in table.items() if other == word) / n for word in rows}
    by_chance = sum(rows[word] * columns[word] for word in rows)
    if not n or math.isclose(by_chance, 1.0):
        return Kappa(n, same, None, None)
    observed = same / n
    value = (observed - by_chance) / (1 - by_chance)
    if n < 2 or max(rows.values()) == 1 or max(columns.values()) == 1:
        return Kappa(n, same, value, None)
    on = sum(
        number / n * ((1 - by_chance) - (rows[one] + columns[one]) * (1 - observed)) ** 2
        for (one, other), number in table.items()
        if one == other
    )
    off = (1 - observed) ** 2 * sum(
        number / n * (columns[one] + rows[other]) ** 2 for (one, other), number in table.items() if one != other
    )
    variance = (on + off - (observed * by_chance - 2 * by_chance + observed) ** 2) / (n * (1 - by_chance) ** 4)
    half = Z95 * math.sqrt(max(0.0, variance))
    return Kappa(n, same, value, (max(-1.0, value - half), min(1.0, value + half)))


def pairs(session: Session) -> list[Pair]:
    """Every two readers who read studies blind to one another, those with the most common studies first."""
    one, other = aliased(Reading), aliased(Reading)
    # Ordered by the person and not by who came first: a pair is the same pair whoever began.
    rows = session.execute(
        select(one.user_id, other.user_id, one.verdict, other.verdict, func.count())
        .join(other, other.study_id == one.study_id)
        .where(one.user_id < other.user_id, one.withdrawn_at.is_(None), other.withdrawn_at.is_(None))
        .group_by(one.user_id, other.user_id, one.verdict, other.verdict)
    ).all()
    tables: dict[tuple[int, int], dict[tuple[str, str], float]] = defaultdict(dict)
    for mine, theirs, said, answered, number in rows:
        tables[mine, theirs][said.value, answered.value] = number
    people = {number for two in tables for number in two}
    names = dict(session.execute(select(User.id, User.name).where(User.id.in_(people))).all())
    found = [Pair((names[a], names[b]), table, kappa(table)) for (a, b), table in tables.items()]
    return sorted(found, key=lambda pair: (-pair.kappa.n, pair.names))


def pooled(found: Sequence[Pair]) -> Table:
    """All pairs together. Which of two is first means nothing here, so each study counts half in either order."""
    table: dict[tuple[str, str], float] = defaultdict(float)
    for pair in found:
        for (one, other), number in pair.table.items():
            table[one, other] += number / 2
            table[other, one] += number / 2
    return dict(table)


def sample(session: Session, model_version_id: int) -> dict[str, Any]:
    """What readers said of the unflagged studies that were drawn for them, and of flagged ones that they read blind.

    The first verdict counts that was not taken back: later ones may know the score. `npv` is the share dismissed of
    those dismissed or confirmed; `npv_at_least` counts what readers were unsure of as missed.
    """
    told = {draw: _verdicts(session, model_version_id, draw) for draw in Draw}
    drawn = dict(
        session.execute(
            select(StudyResult.draw, func.count())
            .where(StudyResult.model_version_id == model_version_id, StudyResult.draw.is_not(None))
            .group_by(StudyResult.draw)
        ).all()
    )
    unflagged, masked = told[Draw.SAMPLE], told[Draw.MASKED]
    right, missed, unsure = (unflagged[word] for word in (Verdict.DISMISSED, Verdict.CONFIRMED, Verdict.UNSURE))
    return {
        "drawn": drawn.get(Draw.SAMPLE, 0),
        "read": right + missed + unsure,
        "dismissed": right,
        "confirmed": missed,
        "unsure": unsure,
        "npv": wilson(right, right + missed),
        "npv_at_least": wilson(right, right + missed + unsure),
        "ppv_blind": wilson(masked[Verdict.CONFIRMED], masked[Verdict.CONFIRMED] + masked[Verdict.DISMISSED]),
        "misses": _misses(session, model_version_id),
    }


def _first() -> Any:
    """The number of a study's first verdict that was not taken back."""
    asked = select(func.min(Review.id)).where(Review.study_id == StudyResult.study_id, Review.withdrawn_at.is_(None))
    return asked.correlate(StudyResult).scalar_subquery()


def _verdicts(session: Session, model_version_id: int, draw: Draw) -> dict[Verdict, int]:
    query = (
        select(Review.verdict, func.count())
        .select_from(StudyResult)
        .join(Review, Review.id == _first())
        .where(StudyResult.model_version_id == model_version_id, StudyResult.draw == draw)
        .group_by(Review.verdict)
    )
    return dict.fromkeys(Verdict, 0) | dict(session.execute(query).all())


def _misses(session: Session, model_version_id: int) -> list[tuple[Study, float]]:
    query = (
        select(Study, StudyResult.score)
        .select_from(StudyResult)
        .join(Review, Review.id == _first())
        .join(Study, Study.id == StudyResult.study_id)
        .where(
            StudyResult.model_version_id == model_version_id,
            StudyResult.draw == Draw.SAMPLE,
            Review.verdict == Verdict.CONFIRMED,
        )
        .order_by(Review.id.desc())
        .limit(MISSES_LISTED)
    )
    return [(study, score) for study, score in session.execute(query)]

"""The worklist: flagged studies by falling score, its counts, and the way from one case to the next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from cxrscreen.tables import Entry, Image, Review, Study, StudyResult, User, Verdict


@dataclass(frozen=True)
class Line:
    """A line of the worklist."""

    study: Study
    result: StudyResult
    verdict: Verdict | None
    reader: str | None
    reviewed_at: datetime | None


STATES = ("open", "confirmed", "dismissed", "unsure", "reviewed", "all")


def page(
    session: Session,
    model_version_id: int,
    threshold: float,
    *,
    state: str = "open",
    job_id: int | None = None,
    after: tuple[float, int] | None = None,
    limit: int = 50,
) -> list[Line]:
    """Flagged studies by falling score, a page at a time; `after` is the (score, study id) of the last line seen."""
    query = (
        select(Study, StudyResult, Review.verdict, User.name, Review.created_at)
        .join(Study, Study.id == StudyResult.study_id)
        .outerjoin(Review, and_(Review.study_id == Study.id, Review.superseded_at.is_(None)))
        .outerjoin(User, User.id == Review.user_id)
        .where(StudyResult.model_version_id == model_version_id, StudyResult.score >= threshold, _state(state))
        .order_by(StudyResult.score.desc(), StudyResult.study_id)
        .limit(limit)
    )
    if job_id is not None:
        query = query.where(_in_job(job_id))
    if after is not None:
        score, study_id = after
        query = query.where(
            (StudyResult.score < score) | and_(StudyResult.score == score, StudyResult.study_id > study_id)
        )
    return [Line(*row) for row in session.execute(query)]


def flagged_count(
    session: Session, model_version_id: int, threshold: float, *, state: str = "open", job_id: int | None = None
) -> int:
    query = (
        select(func.count())
        .select_from(StudyResult)
        .outerjoin(Review, and_(Review.study_id == StudyResult.study_id, Review.superseded_at.is_(None)))
        .where(StudyResult.model_version_id == model_version_id, StudyResult.score >= threshold, _state(state))
    )
    if job_id is not None:
        query = query.where(_in_job(job_id))
    return session.scalar(query) or 0


def flagged_counts(
    session: Session, model_version_id: int, threshold: float, job_id: int | None = None
) -> dict[str, int]:
    """How many flagged studies each state of the worklist holds, in one query."""
    query = (
        select(Review.verdict, func.count())
        .select_from(StudyResult)
        .outerjoin(Review, and_(Review.study_id == StudyResult.study_id, Review.superseded_at.is_(None)))
        .where(StudyResult.model_version_id == model_version_id, StudyResult.score >= threshold)
        .group_by(Review.verdict)
    )
    if job_id is not None:
        query = query.where(_in_job(job_id))
    counts = dict.fromkeys(STATES, 0)
    for verdict, number in session.execute(query):
        counts[Verdict(verdict).value if verdict else "open"] += number
        counts["all"] += number
    counts["reviewed"] = counts["all"] - counts["open"]
    return counts


def neighbours(
    session: Session,
    model_version_id: int,
    threshold: float,
    study_id: int,
    *,
    state: str = "open",
    job_id: int | None = None,
) -> tuple[int | None, int | None]:
    """The study before and the study after one in the order of the worklist, whether it stands there itself or not."""
    here = session.scalar(
        select(StudyResult.score).where(
            StudyResult.study_id == study_id, StudyResult.model_version_id == model_version_id
        )
    )
    query = (
        select(StudyResult.study_id)
        .outerjoin(Review, and_(Review.study_id == StudyResult.study_id, Review.superseded_at.is_(None)))
        .where(
            StudyResult.model_version_id == model_version_id,
            StudyResult.score >= threshold,
            StudyResult.study_id != study_id,
            _state(state),
        )
        .limit(1)
    )
    if job_id is not None:
        query = query.where(_in_job(job_id))
    falling = query.order_by(StudyResult.score.desc(), StudyResult.study_id)
    if here is None:
        return None, session.scalar(falling)
    tie = StudyResult.score == here
    above = (StudyResult.score > here) | and_(tie, StudyResult.study_id < study_id)
    below = (StudyResult.score < here) | and_(tie, StudyResult.study_id > study_id)
    rising = query.order_by(StudyResult.score, StudyResult.study_id.desc())
    return session.scalar(rising.where(above)), session.scalar(falling.where(below))


def _state(state: str) -> ColumnElement[bool]:
    if state == "open":
        return Review.id.is_(None)
    if state == "reviewed":
        return Review.id.is_not(None)
    if state == "all":
        return StudyResult.id.is_not(None)
    return Review.verdict == Verdict(state)


def _in_job(job_id: int) -> ColumnElement[bool]:
    return StudyResult.study_id.in_(
        select(Image.study_id).join(Entry, Entry.image_id == Image.id).where(Entry.job_id == job_id)
    )

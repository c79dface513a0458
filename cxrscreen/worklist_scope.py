"""From filters to conditions on the rows of `study_results`, by the way that the number of matches calls for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, any_, cast, column, func, literal, or_, select, union_all
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import InstrumentedAttribute, Session

from cxrscreen.tables import Entry, Image, Study, StudyResult, Verdict
from cxrscreen.worklist_filters import Filters

# Fewer studies than this are looked up one by one; of more, a walk along the sort meets a page's worth soon.
FEW = 5_000


@dataclass(frozen=True)
class Scope:
    """Filters of one model version, ready to be asked: `few` are the only studies that can match, where it is known."""

    filters: Filters
    model_version_id: int
    threshold: float
    few: tuple[int, ...] | None = None
    broad: tuple[ColumnElement[bool], ...] = ()

    def conditions(self, session: Session, *, state: bool = True) -> list[ColumnElement[bool]]:
        asked = self.filters
        low = self.threshold if asked.low is None else asked.low
        found: list[ColumnElement[bool]] = [StudyResult.model_version_id == self.model_version_id]
        found.append(StudyResult.score >= low)
        if asked.high is not None:
            found.append(StudyResult.score <= asked.high)
        if asked.label:
            found.append(StudyResult.label == asked.label)
        if asked.subclass:
            found.append(StudyResult.subclass == asked.subclass)
        if asked.reader is not None:
            found.append(StudyResult.reader_id == asked.reader)
        if asked.since:
            found.append(StudyResult.updated_at >= _midnight(asked.since))
        if asked.until:
            found.append(StudyResult.updated_at < _midnight(asked.until + timedelta(days=1)))
        if self.few is not None:
            found.append(_among(session, self.few))
        if state:
            found += _state(asked.state)
        return [*found, *self.broad]


def scope(session: Session, model_version_id: int, threshold: float, filters: Filters) -> Scope:
    """Look up the studies of a job or a search where they are few; else leave it to a walk along the list."""
    few: set[int] | None = None
    broad: list[ColumnElement[bool]] = []
    for asked, lookup, condition in (
        (filters.job is not None, _of_job, _in_job),
        (bool(filters.search), _of_search, _found),
    ):
        if not asked:
            continue
        ids = session.scalars(lookup(session, filters).limit(FEW + 1)).all()
        if len(ids) > FEW:
            broad.append(condition(session, filters))
        else:
            few = set(ids) if few is None else few & set(ids)
    return Scope(filters, model_version_id, threshold, None if few is None else tuple(sorted(few)), tuple(broad))


def _of_job(_session: Session, filters: Filters) -> Select[int]:
    return select(Image.study_id).join(Entry, Entry.image_id == Image.id).where(Entry.job_id == filters.job)


def _in_job(_session: Session, filters: Filters) -> ColumnElement[bool]:
    # A scalar subquery is asked study by study; EXISTS would be turned into a join over every entry of the job.
    asked = _of_job(_session, filters).where(Image.study_id == StudyResult.study_id).limit(1)
    return asked.correlate(StudyResult).scalar_subquery().is_not(None)


def _of_search(session: Session, filters: Filters) -> Select[int]:
    parts = [select(Study.id).where(condition) for condition in _begins(session, filters.search)]
    return select(union_all(*parts).subquery().c.id)


def _found(session: Session, filters: Filters) -> ColumnElement[bool]:
    asked = select(Study.id).where(Study.id == StudyResult.study_id, or_(*_begins(session, filters.search))).limit(1)
    return asked.correlate(StudyResult).scalar_subquery().is_not(None)


def _begins(session: Session, text: str) -> list[ColumnElement[bool]]:
    """The text begins a pseudonym, an accession or a label; the code of a label "Study CODE" is found without the word.

    Codes are kept in small letters, so what is typed in capitals is looked for in both ways.
    """
    typed = {text, text.lower()}
    wanted: list[tuple[InstrumentedAttribute[Any], str]] = []
    for one in sorted(typed):
        wanted += [(Study.patient, one), (Study.accession, one), (Study.label, one), (Study.label, f"Study {one}")]
    end = "\U0010ffff"  # stands after every letter
    if session.get_bind().dialect.name == "postgresql":
        return [name.op("~>=~")(one) & name.op("~<~")(one + end) for name, one in wanted]
    return [(name >= one) & (name < one + end) for name, one in wanted]


def _among(session: Session, ids: tuple[int, ...]) -> ColumnElement[bool]:
    """One parameter however many studies there are."""
    if session.get_bind().dialect.name == "postgresql":
        return StudyResult.study_id == any_(cast(literal(list(ids), ARRAY(BigInteger)), ARRAY(BigInteger)))
    listed = func.json_each(f"[{','.join(map(str, ids))}]").table_valued(column("value", BigInteger))
    return StudyResult.study_id.in_(select(listed.c.value))


def _state(state: str) -> list[ColumnElement[bool]]:
    if state == "open":
        return [StudyResult.verdict.is_(None)]
    if state == "reviewed":
        return [StudyResult.verdict.is_not(None)]
    return [] if state == "all" else [StudyResult.verdict == Verdict(state)]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)

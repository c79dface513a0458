"""The worklist: a page of studies in the order asked for, its counts, and the way from one case to the next."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    SQLColumnExpression,
    and_,
    literal,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.orm import Session, aliased

from cxrscreen.errors import UsageError
from cxrscreen.tables import Review, Study, StudyResult, User, Verdict
from cxrscreen.worklist_counts import Count, counts, flagged_count
from cxrscreen.worklist_filters import PLAIN, SORTS, STATES, Filters
from cxrscreen.worklist_scope import KEPT, Scope, scope

__all__ = [
    "STATES",
    "Count",
    "Filters",
    "Line",
    "counts",
    "cursor",
    "flagged_count",
    "neighbours",
    "page",
    "place",
    "standing_at",
]

Column = SQLColumnExpression
Place = tuple[Any, int]  # the value that the list is sorted by, and the study's number


@dataclass(frozen=True)
class Line:
    """A line of the worklist."""

    study: Study
    result: StudyResult
    seen: int | None  # the review that stands
    verdict: Verdict | None
    reader: str | None
    reviewed_at: datetime | None
    assigned: str | None  # whose case it is

    @property
    def hidden(self) -> bool:
        """The model's answer is not to be shown yet."""
        return self.result.draw is not None and self.result.verdict is None


def page(
    session: Session,
    model_version_id: int,
    threshold: float,
    filters: Filters = PLAIN,
    *,
    after: Place | None = None,
    limit: int = 50,
    viewer: int | None = None,
    bare: bool = False,
) -> list[Line]:
    """The studies that match, a page at a time; `after` is the place of the last line seen. As to `bare` see Scope."""
    asked = scope(session, model_version_id, threshold, filters, viewer=viewer, bare=bare)
    make = _first_page if asked.plain and after is None else _page
    return [Line(*row) for row in session.execute(make(asked, after, limit), {"viewer": viewer})]


def _page(
    asked: Scope, after: Place | None, limit: int
) -> Select[Study, StudyResult, int, Verdict, str, datetime, str]:
    order = SORTS[asked.filters.sort]
    found = _ordered(asked, falling=order.falling, beyond=after, limit=limit).subquery()
    key = getattr(found.c, asked.key.key)
    owner = aliased(User)
    # The order is found in an index first; the wide rows are fetched for one page alone.
    return (
        select(Study, StudyResult, Review.id, Review.verdict, User.name, Review.created_at, owner.name)
        .select_from(found)
        .join(StudyResult, _of_version(found.c.study_id, asked.model_version_id))
        .join(Study, Study.id == StudyResult.study_id)
        .outerjoin(Review, and_(Review.study_id == Study.id, Review.superseded_at.is_(None)))
        .outerjoin(User, User.id == Review.user_id)
        .outerjoin(owner, owner.id == StudyResult.assigned_id)
        .order_by(*_order(key, found.c.study_id, order.falling))
    )


_first_page = lru_cache(KEPT)(_page)


def place(line: Line, filters: Filters) -> str:
    """Where a page ends, as an address holds it: the page after it begins there."""
    value = getattr(line.result, SORTS[filters.sort].column.key)
    written = value.isoformat() if isinstance(value, datetime) else value if isinstance(value, str) else repr(value)
    return f"{written},{line.result.study_id}"


def cursor(text: str, filters: Filters) -> Place | None:
    """The place that `place` wrote. Raises UsageError where it is none of this sort."""
    if not text:
        return None
    written, _, study_id = text.rpartition(",")
    kind = SORTS[filters.sort].read
    try:
        value = datetime.fromisoformat(written) if kind is datetime else kind(written)
        wrong = not study_id.isascii() or not study_id.isdigit() or len(study_id) > 15
        wrong |= isinstance(value, float) and not math.isfinite(value)
        wrong |= isinstance(value, datetime) and (value.tzinfo is None or not 1900 <= value.year < 2200)
        wrong |= isinstance(value, str) and not ((value.isascii() and value.isdigit()) or value == "")
    except ValueError:
        wrong = True
    if wrong or len(text) > 60:
        raise UsageError("That address does not name a place in the worklist.")
    return value, int(study_id)


def standing_at(session: Session, model_version_id: int, study_id: int, filters: Filters) -> Any:
    """The value that the list sorts a study by; None where it has no result. A verdict can change it."""
    return session.scalar(select(SORTS[filters.sort].column).where(_of_version(study_id, model_version_id)))


def neighbours(
    session: Session,
    model_version_id: int,
    threshold: float,
    study_id: int,
    filters: Filters = PLAIN,
    *,
    viewer: int | None = None,
    here: Any = None,
) -> tuple[int | None, int | None]:
    """The study before and the study after one in the order of the list, whether it stands there itself or not.

    `here` is where it stood when it was opened, from `standing_at`; without it, where it stands now.
    """
    asked = scope(session, model_version_id, threshold, filters, viewer=viewer)
    order = SORTS[filters.sort]
    if here is None:
        here = standing_at(session, model_version_id, study_id, filters)
    beyond = None if here is None else (here, study_id)
    # Both in one statement: what they look up is looked up once.
    after = _ordered(asked, falling=order.falling, beyond=beyond, limit=1).subquery()
    parts = [select(literal(False).label("earlier"), after.c.study_id)]
    if beyond is not None:
        before = _ordered(asked, falling=not order.falling, beyond=beyond, limit=1).subquery()
        parts.append(select(literal(True), before.c.study_id))
    rows = session.execute(union_all(*parts), {"viewer": viewer}).all()
    found: dict[bool, int] = {earlier: number for earlier, number in rows}  # noqa: C416  rows are no pairs to mypy
    return found.get(True), found.get(False)


def _of_version(study_id: ColumnElement[int] | int, model_version_id: int) -> ColumnElement[bool]:
    return and_(StudyResult.study_id == study_id, StudyResult.model_version_id == model_version_id)


def _ordered(asked: Scope, *, falling: bool, beyond: Place | None, limit: int) -> Select[Any]:
    """The first of the list from a place on: their numbers, and the values that the list is sorted by."""
    column, (low, high) = asked.key, asked.bounds()
    parts = []
    for conditions in asked.ways():
        query = select(StudyResult.study_id, column).where(*conditions)
        if (
            beyond is not None
            and (falling or low is None or beyond[0] >= low)
            and (not falling or high is None or beyond[0] <= high)
        ):
            query = query.where(_beyond(column, beyond, falling))
        parts.append(query.order_by(*_order(column, StudyResult.study_id, falling)).limit(limit))
    if len(parts) == 1:
        return parts[0]
    # Each set comes from an index in its order, and of all no more than wanted.
    both = union_all(*(select(part.subquery()) for part in parts)).subquery()
    return select(both).order_by(*_order(both.c[column.key], both.c.study_id, falling)).limit(limit)


def _order(key: Column[Any], number: Column[int], falling: bool) -> tuple[Column[Any], Column[int]]:
    return (key.desc(), number.desc()) if falling else (key, number)


def _beyond(column: Any, beyond: Place, falling: bool) -> ColumnElement[bool]:
    """A comparison of rows: an index over both columns is entered at this very place."""
    value, study_id = beyond
    here = tuple_(column, StudyResult.study_id)
    there = tuple_(literal(value, column.type), literal(study_id))
    return here < there if falling else here > there

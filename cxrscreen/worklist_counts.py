"""How many studies each state of the worklist holds: counted for pages up to a length, for reports to the end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import CompoundSelect, Select, and_, func, literal, select, union_all
from sqlalchemy.orm import Session

from cxrscreen.tables import StudyResult, Verdict
from cxrscreen.worklist_filters import PLAIN, STATES, Filters
from cxrscreen.worklist_scope import KEPT, Scope, scope, state_of

# Counting stops here: a count is for planning a day, and an index walk of this length takes about a millisecond.
COUNTED = 10_000
LOOKED_AT = 400
COUNTED_STATES = ("open", "waiting", "disputed", *(verdict.value for verdict in Verdict))


@dataclass(frozen=True)
class Count:
    """How many; `more` where counting stopped at that number."""

    number: int
    more: bool = False

    def __add__(self, other: Count) -> Count:
        return Count(self.number + other.number, self.more or other.more)


def counts(
    session: Session, model_version_id: int, threshold: float, filters: Filters = PLAIN, *, viewer: int | None = None
) -> dict[str, Count]:
    """How many studies each state of the list holds under the other filters; counting stops where it gets dear."""
    asked = scope(session, model_version_id, threshold, filters, viewer=viewer)
    who = {"viewer": viewer}
    told: dict[str, Count] = dict.fromkeys(COUNTED_STATES, Count(0))
    if asked.broad:
        told |= _counted_among(session, asked, who)
    elif not filters.narrowed and filters.job is None:
        told |= _counted_apart(session, asked, who)
    else:
        # One walk settles it where few match; else each state is counted by itself, up to the same length.
        grouped = session.execute((_kept_together if asked.plain else _together)(asked, COUNTED), who).all()
        if sum(number for _, number in grouped) <= COUNTED:
            told |= {state: Count(number) for state, number in grouped}
        else:
            told |= _counted_apart(session, asked, who)
    told["reviewed"] = told["confirmed"] + told["dismissed"] + told["unsure"]
    told["all"] = told["open"] + told["waiting"] + told["disputed"] + told["reviewed"]
    return {state: told[state] for state in STATES}


def _together(asked: Scope, most: int) -> Select[Any]:
    rows = select(state_of(asked.viewer).label("state")).where(*asked.conditions()).limit(most + 1).subquery()
    return select(rows.c.state, func.count()).group_by(rows.c.state)


def _apart(asked: Scope, most: int) -> CompoundSelect[Any]:
    parts = []
    for state in COUNTED_STATES:
        for conditions in asked.ways(state):
            rows = select(literal(1)).where(*conditions).limit(most + 1).subquery()
            parts.append(select(literal(state), func.count().label("number")).select_from(rows))
    return union_all(*parts)


_kept_together, _kept_apart = lru_cache(KEPT)(_together), lru_cache(KEPT)(_apart)


def _counted_apart(session: Session, asked: Scope, who: dict[str, int | None]) -> dict[str, Count]:
    counted = session.execute((_kept_apart if asked.plain else _apart)(asked, COUNTED), who)
    return _summed((state, Count(min(number, COUNTED), number > COUNTED)) for state, number in counted)


def _counted_among(session: Session, asked: Scope, who: dict[str, int | None]) -> dict[str, Count]:
    """The same where each candidate has to be looked at: so many of each state, and what they hold is the least."""
    parts = []
    for state in COUNTED_STATES:
        for conditions in asked.ways(state, broad=False):
            query = select(and_(*asked.broad).label("hit")).where(*conditions)
            rows = query.limit(LOOKED_AT).subquery()
            number, seen = func.count().filter(rows.c.hit), func.count()
            parts.append(select(literal(state), number.label("number"), seen.label("seen")).select_from(rows))
    counted = session.execute(union_all(*parts), who)
    return _summed((state, Count(number, seen == LOOKED_AT)) for state, number, seen in counted)


def _summed(counted: Iterable[tuple[str, Count]]) -> dict[str, Count]:
    found: dict[str, Count] = {}
    for state, count in counted:
        found[state] = found.get(state, Count(0)) + count
    return found


def flagged_count(session: Session, model_version_id: int, threshold: float, filters: Filters = PLAIN) -> int:
    """How many reach the threshold and match, however many they are: for reports, not for pages."""
    asked = scope(session, model_version_id, threshold, filters, bare=True)
    counted = (select(func.count()).select_from(StudyResult).where(*conditions) for conditions in asked.ways())
    return sum(session.scalar(query) or 0 for query in counted)

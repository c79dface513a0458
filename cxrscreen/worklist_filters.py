"""What a worklist can be asked for: its filters and sorts, and how an address says them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any

from sqlalchemy.orm import InstrumentedAttribute

from cxrscreen.errors import UsageError
from cxrscreen.tables import StudyResult

# "waiting" are studies that the asking person has read blind and that are not settled yet; "disputed" those where two
# others differ.
STATES = ("open", "waiting", "disputed", "confirmed", "dismissed", "unsure", "reviewed", "all")
ASSIGNED = ("me", "nobody")  # or a person's number
SIZES = (25, 50, 100, 200)
SEARCH_LENGTH = 80


@dataclass(frozen=True)
class Sort:
    """A column that the list stands by; `study_id` breaks ties in the same direction, so one index gives the order."""

    column: InstrumentedAttribute[Any]
    falling: bool
    read: type


SORTS = {
    "score": Sort(StudyResult.queue, True, float),
    "score-up": Sort(StudyResult.queue, False, float),
    "newest": Sort(StudyResult.updated_at, True, datetime),
    "oldest": Sort(StudyResult.updated_at, False, datetime),
    "study-newest": Sort(StudyResult.study_date, True, str),
    "study-oldest": Sort(StudyResult.study_date, False, str),
}


@dataclass(frozen=True)
class Filters:
    """Which studies, in which order. The defaults are the list as it opens: flagged, without a verdict, highest first.

    `low` stands in the place of the threshold where it is given; `since` and `until` are days in UTC, both counted in.
    """

    state: str = "open"
    job: int | None = None
    label: str = ""
    subclass: str = ""
    reader: int | None = None
    assigned: str = ""
    since: date | None = None
    until: date | None = None
    low: float | None = None
    high: float | None = None
    model: int | None = None  # another version than the active one
    search: str = ""
    sort: str = "score"
    size: int = 50

    def address(self) -> dict[str, Any]:
        """The parts of an address that say what differs from the defaults."""
        return {
            ADDRESS.get(one.name, one.name): str(value)
            for one in fields(self)
            if (value := getattr(self, one.name)) != one.default
        }

    @property
    def asks_model(self) -> bool:
        """Something is asked of the model's answers, so that a match would tell what a hidden case keeps back."""
        bounded = self.low is not None or self.high is not None
        return bool(self.label or self.subclass or bounded or self.model is not None)

    @property
    def narrowed(self) -> bool:
        """Something other than state, job, sort and length of a page is asked for."""
        plain = Filters(state=self.state, job=self.job, sort=self.sort, size=self.size)
        return self != plain


PLAIN = Filters()
ADDRESS = {"since": "from", "until": "to", "search": "q", "label": "class"}


def read(asked: Mapping[str, str]) -> Filters:
    """Filters from the parts of an address. Raises UsageError with a line that names what was not understood."""

    def said(name: str) -> str:
        value = asked.get(name, "").strip()
        if len(value) > SEARCH_LENGTH or "\0" in value:
            raise UsageError(f"The filter {name!r} takes at most {SEARCH_LENGTH} plain characters.")
        return value

    def one_of(name: str, known: tuple[str, ...]) -> str:
        value = said(name) or known[0]
        if value not in known:
            raise UsageError(f"{value!r} is no {name} of the worklist: it takes {', '.join(known)}.")
        return value

    made = Filters(
        state=one_of("state", STATES),
        job=_whole("job", said("job")),
        label=said("class"),
        subclass=said("subclass"),
        reader=_whole("reader", said("reader")),
        assigned=_person(said("assigned")),
        since=_day("from", said("from")),
        until=_day("to", said("to")),
        low=_score("low", said("low")),
        high=_score("high", said("high")),
        model=_whole("model", said("model")),
        search=said("q"),
        sort=one_of("sort", tuple(SORTS)),
        size=int(one_of("size", ("50", *(str(size) for size in SIZES)))),
    )
    if made.since and made.until and made.since > made.until:
        raise UsageError("The first day of the filter is after its last.")
    if made.low is not None and made.high is not None and made.low > made.high:
        raise UsageError("The lowest score of the filter is above its highest.")
    return made


def _whole(name: str, text: str) -> int | None:
    if not text:
        return None
    # A database is never asked for a number that it cannot hold.
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise UsageError(f"{text!r} is no number of a {name}.")
    return int(text)


def _person(text: str) -> str:
    return text if text in ("", *ASSIGNED) else str(_whole("person", text))


def _day(name: str, text: str) -> date | None:
    try:
        day = date.fromisoformat(text) if text else None
    except ValueError:
        day = date.min
    # A day has one before and one after it, whatever zone a database counts in.
    if day is not None and not 1900 <= day.year < 2200:
        raise UsageError(f"{text!r} is no day: the filter {name!r} takes one such as 2026-03-31.")
    return day


def _score(name: str, text: str) -> float | None:
    try:
        value = float(text.replace(",", ".")) if text else None
    except ValueError:
        value = math.nan
    if value is not None and not 0 <= value <= 1:
        raise UsageError(f"{text!r} is no score: the filter {name!r} takes a number from 0 to 1.")
    return value

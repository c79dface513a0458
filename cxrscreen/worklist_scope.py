"""From filters to conditions on the rows of `study_results`, by the way that the number of matches calls for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Select,
    String,
    UnaryExpression,
    any_,
    bindparam,
    case,
    false,
    func,
    not_,
    or_,
    select,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql.operators import custom_op

from cxrscreen import blind
from cxrscreen.tables import Entry, Image, Study, StudyResult, Verdict, midnight
from cxrscreen.worklist_filters import SORTS, Filters

# A search that finds no more than this, and a job that holds no more, are looked up study by study; of more, a walk
# along the list meets a page's worth soon.
FOUND_FEW = 5_000
JOB_FEW = 30_000
# Statements of lists that were asked for lately: to put one together takes longer than to ask it.
KEPT = 200
# Who asks is a value of its own in the statements of a list, which are so the same for everybody.
VIEWER = bindparam("viewer", type_=BigInteger)
Viewer = BindParameter[int] | None
Conditions = tuple[ColumnElement[bool], ...]


@dataclass(frozen=True)
class Scope:
    """Filters of one model version, ready to be asked.

    `few` name the only studies that can match, to be looked up by their numbers; `broad` are asked study by study.
    `viewer` stands for who asks: what he has read himself is not open to him. `bare` is for reports: scores as they
    are, and no study but those that reach the threshold.
    """

    filters: Filters
    model_version_id: int
    threshold: float
    few: Conditions = ()
    broad: Conditions = ()
    viewer: Viewer = None
    bare: bool = False

    @property
    def plain(self) -> bool:
        """The conditions are of the filters alone: the next who asks for this list is answered by the same ones."""
        return not self.few and not self.broad

    @property
    def key(self) -> InstrumentedAttribute[Any]:
        """The column that the list is sorted by."""
        column = SORTS[self.filters.sort].column
        return StudyResult.score if self.bare and column is StudyResult.queue else column

    @property
    def low(self) -> float:
        return self.threshold if self.filters.low is None else self.filters.low

    def bounds(self) -> tuple[Any, Any]:
        """The least and the greatest value that the sorted column can have here; None where there is no such bound."""
        asked = self.filters
        if asked.sort.startswith("score"):
            return self.low, asked.high
        if asked.sort in ("newest", "oldest"):
            until = asked.until and midnight(asked.until + timedelta(days=1))
            return asked.since and midnight(asked.since), until
        return None, None

    def ways(self, state: str | None = None, *, broad: bool = True) -> list[list[ColumnElement[bool]]]:
        """The rows of a state, else of the one that is asked for, as sets that share no row: an index answers each."""
        rows = self.conditions(broad=broad)
        return [[*rows, *way] for way in in_state(self.filters.state if state is None else state, self.viewer)]

    def conditions(self, *, broad: bool = True) -> list[ColumnElement[bool]]:
        """Of every filter but the state."""
        asked = self.filters
        found: list[ColumnElement[bool]] = [StudyResult.model_version_id == self.model_version_id]
        stands = StudyResult.score if self.bare else StudyResult.queue
        found.append(stands >= self.low)
        if asked.high is not None:
            found.append(stands <= asked.high)
        if asked.asks_model and not self.bare:
            found.append(not_(blind.hidden()))
        if asked.low is not None or asked.high is not None:
            # A sample that was read stands at the threshold; what is asked for is its score.
            found.append(StudyResult.score >= self.low)
        if asked.high is not None:
            found.append(StudyResult.score <= asked.high)
        if asked.label:
            found.append(StudyResult.label == asked.label)
        if asked.subclass:
            found.append(StudyResult.subclass == asked.subclass)
        if asked.reader is not None:
            found.append(StudyResult.reader_id == asked.reader)
        if asked.assigned:
            found.append(_assigned(asked.assigned, self.viewer))
        if asked.since:
            found.append(StudyResult.updated_at >= midnight(asked.since))
        if asked.until:
            found.append(StudyResult.updated_at < midnight(asked.until + timedelta(days=1)))
        return [*found, *self.few, *(self.broad if broad else ())]


def scope(
    session: Session,
    model_version_id: int,
    threshold: float,
    filters: Filters,
    *,
    viewer: int | None = None,
    bare: bool = False,
) -> Scope:
    """The filters as conditions; what they look up is found out once a session, which asks for a page and counts."""
    known = session.info.setdefault("worklist", {})
    asked = (filters.job, filters.search)
    if asked not in known:
        known[asked] = _looked_up(session, *asked)
    few, broad = known[asked]
    who = None if viewer is None else VIEWER
    return Scope(filters, model_version_id, threshold, few, broad, who, bare)


def _looked_up(session: Session, job: int | None, search: str) -> tuple[Conditions, Conditions]:
    """Find out which of a job and a search are few enough to be looked up; the others are left to the walk."""
    few: list[ColumnElement[bool]] = []
    broad: list[ColumnElement[bool]] = []
    if job is not None:
        # Ordered, these come from an index: a table read until enough are found may be read to its end.
        entries = select(Entry.id).where(Entry.job_id == job).order_by(Entry.status)
        if _at_most(session, entries, JOB_FEW):
            few.append(_one_of(session, StudyResult.study_id, _of_job(session, job)))
        else:
            broad.append(_in_job(job))
    if search:
        parts = [
            select(select(Study.id).where(condition).order_by(order).limit(FOUND_FEW + 1).subquery().c.id)
            for order, condition in _begins(session, search)
        ]
        found = select(union_all(*parts).subquery().c.id)
        if _at_most(session, found, FOUND_FEW):
            few.append(_one_of(session, StudyResult.study_id, found))
        else:
            broad.append(_found(session, search))
    return tuple(few), tuple(broad)


def _at_most(session: Session, query: Select[int], few: int) -> bool:
    rows = query.limit(few + 1).subquery()
    return (session.scalar(select(func.count()).select_from(rows)) or 0) <= few


def _of_job(session: Session, job_id: int) -> Select[int]:
    # Not a join: all images before the job's may be merged first.
    images = select(Entry.image_id).where(Entry.job_id == job_id, Entry.image_id.is_not(None))
    return select(Image.study_id).where(_one_of(session, Image.id, images))


def _in_job(job_id: int) -> ColumnElement[bool]:
    # A scalar subquery is asked study by study; EXISTS would be turned into a join over every entry of the job.
    asked = select(Entry.id).join(Image, Entry.image_id == Image.id)
    asked = asked.where(Entry.job_id == job_id, Image.study_id == StudyResult.study_id).limit(1)
    return asked.correlate(StudyResult).scalar_subquery().is_not(None)


def _found(session: Session, text: str) -> ColumnElement[bool]:
    begins = or_(*(condition for _, condition in _begins(session, text)))
    asked = select(Study.id).where(Study.id == StudyResult.study_id, begins).limit(1)
    return asked.correlate(StudyResult).scalar_subquery().is_not(None)


def _begins(session: Session, text: str) -> list[tuple[ColumnElement[Any], ColumnElement[bool]]]:
    """That the text begins a pseudonym, an accession or a label: conditions, each with the order of its index.

    The code of a label "Study CODE" is found without the word. Codes are kept in small letters, identifiers mostly come
    in capitals, names of files in either: an index knows letters by their codes, so each way is looked for.
    """
    typed = {text, text.lower(), text.upper(), text.capitalize()}
    wanted: list[tuple[InstrumentedAttribute[Any], str]] = []
    for one in sorted(typed):
        wanted += [(Study.patient, one), (Study.accession, one), (Study.label, one), (Study.label, f"Study {one}")]
    end = "\U0010ffff"  # stands after every letter
    if session.get_bind().dialect.name == "postgresql":
        at_least, before = "~>=~", "~<~"
        ordered = [_pattern_order(name) for name, _ in wanted]
    else:
        at_least, before = ">=", "<"
        ordered = [name.asc() for name, _ in wanted]
    conditions = [name.bool_op(at_least)(one) & name.bool_op(before)(one + end) for name, one in wanted]
    return list(zip(ordered, conditions, strict=True))


def _pattern_order(name: InstrumentedAttribute[Any]) -> ColumnElement[Any]:
    """The order of the index for prefixes, which is that of the letters' codes and not of a language."""
    return UnaryExpression(name, modifier=custom_op("USING ~<~"))  # type: ignore[arg-type]


def _one_of(session: Session, column: InstrumentedAttribute[int], numbers: Select[Any]) -> ColumnElement[bool]:
    if session.get_bind().dialect.name == "postgresql":
        # As an array it is made once a statement, however often it is asked, and walked through an index in order.
        array = select(func.array(numbers.scalar_subquery(), type_=ARRAY(BigInteger)).label("numbers")).cte()
        return column == any_(select(array.c.numbers).scalar_subquery().cast(ARRAY(BigInteger)))
    return column.in_(numbers)


def in_state(state: str, viewer: Viewer) -> list[list[ColumnElement[bool]]]:
    """As in `Scope.ways`. What a partial index holds is said in its words, or PostgreSQL does not know that it may."""
    first, second, verdict = StudyResult.first_reader_id, StudyResult.second_reader_id, StudyResult.verdict
    if state == "open":
        mine = [] if viewer is None else [first.is_distinct_from(viewer)]
        return [[verdict.is_(None), second.is_(None), *mine]]
    if state == "waiting":
        return [[verdict.is_(None), _is(reader, viewer)] for reader in (first, second)]
    if state == "disputed":
        others = [] if viewer is None else [first != viewer, second != viewer]
        return [[verdict.is_(None), first.is_not(None), second.is_not(None), *others]]
    if state == "reviewed":
        return [[verdict.is_not(None)]]
    return [[] if state == "all" else [verdict == Verdict(state)]]


def state_of(viewer: Viewer) -> ColumnElement[str]:
    """The same as an expression: the one state of the list that a row is in."""
    mine = or_(_is(StudyResult.first_reader_id, viewer), _is(StudyResult.second_reader_id, viewer))
    return case(
        (StudyResult.verdict.is_not(None), StudyResult.verdict.cast(String)),
        (mine, "waiting"),
        (StudyResult.second_reader_id.is_not(None), "disputed"),
        else_="open",
    )


def _is(reader: InstrumentedAttribute[int | None], viewer: Viewer) -> ColumnElement[bool]:
    return false() if viewer is None else reader == viewer


def _assigned(to: str, viewer: Viewer) -> ColumnElement[bool]:
    if to == "nobody":
        return StudyResult.assigned_id.is_(None)
    return StudyResult.assigned_id == (viewer if to == "me" else int(to))

"""Verdicts, blind readings, decisions between them, and taking each of them back: what stands after every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import seed
from dashboard_fixtures import Site, scored
from sqlalchemy import event, select

from cxrscreen import db, readings, studies, users, worklist
from cxrscreen.errors import Conflict, NotFound, UsageError
from cxrscreen.findings import FINDINGS, read
from cxrscreen.readings import Act, Given
from cxrscreen.settings import Settings
from cxrscreen.tables import AuditEvent, Draw, ModelState, Review, Role, StudyResult, Verdict, Way

YES, NO, UNSURE = Verdict.CONFIRMED, Verdict.DISMISSED, Verdict.UNSURE


@pytest.fixture
def case(either_site: Site) -> int:
    """A flagged study; there are the readers `reader`, `admin` and `third`."""
    with db.write() as session:
        users.add(session, "third", Role.READER)
        return scored(session, "case", [0.9], either_site.model_id).id


@pytest.fixture
def twice(case: int, configure: Callable[..., Settings]) -> int:
    """The same where every study is read by two."""
    configure(second_readings=1)
    return case


def give(who: str, study_id: int, verdict: Verdict, seen: int | None = None, **said: object) -> Act:
    with db.write() as session:
        given = Given(verdict, seen=seen, **said)  # type: ignore[arg-type]
        return readings.give(session, studies.get(session, study_id), users.get(session, who), given)


def undo(who: str, act: Act) -> None:
    with db.write() as session:
        readings.undo(session, users.get(session, who), act.kind, act.id)


def test_a_verdict_asks_no_more_however_many_versions_answered(case: int) -> None:
    """An answer of each version carries the verdict: one statement for all of them, one for their thresholds."""

    def statements(who: str, seen: int | None) -> tuple[int, int]:
        asked: list[str] = []

        def keep(*told: Any) -> None:
            asked.append(told[2])

        event.listen(db.get_engine(), "before_cursor_execute", keep)
        try:
            act = give(who, case, YES, seen)
        finally:
            event.remove(db.get_engine(), "before_cursor_execute", keep)
        return len(asked), act.id

    with db.write() as session:
        session.scalars(select(StudyResult)).one().draw = Draw.MASKED
    one, seen = statements("reader", None)
    with db.write() as session:
        row = session.scalars(select(StudyResult)).one()
        same = {name: getattr(row, name) for name in ("study_id", "image_id", "label", "subclass", "images")}
        for number in range(4):
            other = seed.model(session, f"other {number}", state=ModelState.RETIRED, threshold=0.3)
            session.add(StudyResult(**same, model_version_id=other.id, score=0.2 * number, draw=Draw.MASKED))
    five, _ = statements("admin", seen)
    assert five <= one + 2, "the verdict before is read, and marked as replaced"
    with db.read() as session:
        rows = session.scalars(select(StudyResult)).all()
        assert {row.verdict for row in rows} == {YES} and {row.queue == row.score for row in rows} == {True}


def state(study_id: int, who: str = "operator") -> str:
    """Which list the study stands in for one person; the rows and the counts have to agree."""
    with db.read() as session:
        row = session.scalars(select(StudyResult).where(StudyResult.study_id == study_id)).one()
        viewer = users.get(session, who).id
        found = [
            name
            for name in ("open", "waiting", "disputed", *Verdict)
            if worklist.page(session, row.model_version_id, 0.5, worklist.Filters(state=name), viewer=viewer)
        ]
        counts = worklist.counts(session, row.model_version_id, 0.5, viewer=viewer)
    assert len(found) == 1
    assert {name: counts[name].number for name in found} == {found[0]: 1} and counts["all"].number == 1
    return found[0]


def test_a_verdict_is_taken_back_and_stays_as_a_row(case: int) -> None:
    act = give("reader", case, YES, findings=["effusion"], seconds=12.5)
    assert (act.kind, state(case)) == ("review", "confirmed")
    undo("reader", act)
    assert state(case) == "open"
    with db.read() as session:
        review = session.scalars(select(Review)).one()
        assert (review.verdict, review.findings, review.seconds) == (YES, ["effusion"], 12.5)
        assert review.withdrawn_at is not None
        told = session.scalars(select(AuditEvent.action).where(AuditEvent.subject == f"study {case}")).all()
        begun = readings.past(session, case).taken_back(users.get(session, "reader"))
        assert begun is not None and begun.id == review.id
    assert told == ["study.review", "study.undo"]
    with pytest.raises(Conflict, match="already"):
        undo("reader", act)
    assert state(case) == "open"


def test_what_a_verdict_replaced_stands_again(case: int) -> None:
    first = give("reader", case, YES)
    second = give("admin", case, NO, first.id)
    with pytest.raises(Conflict, match="since"):
        undo("reader", first)
    with pytest.raises(NotFound):
        undo("reader", second)
    undo("admin", second)
    assert state(case) == "confirmed"
    with db.read() as session:
        current = studies.current_review(session, case)
        assert current is not None and current.id == first.id
    undo("reader", first)
    assert state(case) == "open"


def test_two_who_agree_settle_it_blind(twice: int) -> None:
    first = give("reader", twice, YES, comment="first words")
    assert first.waits and (state(twice, "reader"), state(twice, "admin")) == ("waiting", "open")
    with db.read() as session:
        study = studies.get(session, twice)
        where = readings.standing(session, study, users.get(session, "admin"))
        assert where.mine is None and not where.readings, "nothing of the first reading is told"
        assert studies.reviews(session, twice) == []
        trail = session.scalars(select(AuditEvent.detail).where(AuditEvent.action == "study.reading")).all()
        assert "confirmed" not in str(trail)
    with pytest.raises(Conflict, match="your reading"):
        give("reader", twice, NO)
    second = give("admin", twice, YES)
    assert second.kind == "review" and state(twice) == "confirmed"
    with db.read() as session:
        review = session.scalars(select(Review)).one()
        assert review.way is Way.AGREED
        where = readings.standing(session, studies.get(session, twice), users.get(session, "third"))
        assert [(reading.verdict, name) for reading, name in where.readings] == [(YES, "reader"), (YES, "admin")]
    with pytest.raises(Conflict):
        undo("reader", first)
    undo("admin", second)
    assert (state(twice, "reader"), state(twice, "admin")) == ("waiting", "open")
    undo("reader", first)
    assert state(twice, "reader") == "open"


def test_two_who_differ_wait_for_a_third(twice: int) -> None:
    first, second = give("reader", twice, YES), give("admin", twice, NO)
    assert second.waits
    assert [state(twice, who) for who in ("reader", "admin", "third")] == ["waiting", "waiting", "disputed"]
    with db.read() as session:
        study = studies.get(session, twice)
        where = readings.standing(session, study, users.get(session, "third"))
        assert where.adjudicates and [name for _, name in where.readings] == [None, None]
        for party in ("reader", "admin"):
            where = readings.standing(session, study, users.get(session, party))
            assert where.mine is not None and not where.readings
    with pytest.raises(Conflict, match="differ"):
        give("third", twice, YES)  # from a page that was opened before the second reading
    with pytest.raises(Conflict, match="your reading"):
        give("admin", twice, YES, adjudicates=True)
    decided = give("third", twice, UNSURE, adjudicates=True)
    assert state(twice) == "unsure"
    with pytest.raises(Conflict):
        undo("admin", second)
    undo("third", decided)
    assert state(twice, "third") == "disputed"
    undo("admin", second)
    assert (state(twice, "admin"), state(twice, "reader")) == ("open", "waiting")
    with pytest.raises(Conflict, match="taken back"):
        give("third", twice, YES, adjudicates=True)
    undo("reader", first)


def test_a_new_version_carries_the_state_over(twice: int, either_site: Site) -> None:
    give("reader", twice, YES)
    with db.write() as session:
        studies.refresh(session, [twice], either_site.model_id)
    assert state(twice, "reader") == "waiting"


def test_findings_are_of_the_list_and_in_its_order() -> None:
    assert read(["other", "effusion", "other"]) == ["effusion", "other"]
    with pytest.raises(UsageError, match="no finding"):
        read(["<script>"])
    keys = [finding.key for finding in FINDINGS]
    assert len(set(keys)) == len(keys) and not set(keys) & set("jkynucoihvrlzp12345")

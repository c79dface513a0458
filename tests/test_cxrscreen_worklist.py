"""Every filter and sort of the worklist against the same said in Python, however few or many studies match."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import seed
from dashboard_fixtures import Site, done_job, scored
from sqlalchemy import select, update

from cxrscreen import db, studies, users, worklist, worklist_counts, worklist_filters, worklist_scope
from cxrscreen.errors import UsageError
from cxrscreen.tables import Entry, Image, ModelState, Result, Review, Study, StudyResult, Verdict
from cxrscreen.worklist_filters import SORTS, Filters

START = datetime(2026, 3, 1, tzinfo=UTC)
Wanted = Callable[[StudyResult, Study], bool]


@pytest.fixture
def archive(either_site: Site) -> dict[str, int]:
    """Forty studies with ties in every column, two jobs, two readers, verdicts; numbers of what filters name."""
    drawn = random.Random(7)
    with db.write() as session:
        jobs = [done_job(session, either_site.model_id), done_job(session, either_site.model_id, "b.zip")]
        readers = [users.get(session, name) for name in ("reader", "admin")]
        for number in range(40):
            name = f"s{number:02}"
            score = drawn.choice([0.1, 0.4, 0.5, 0.6, 0.6, 0.9])
            study = scored(session, name, [score], either_site.model_id, jobs[number % 3 % 2], label=f"Study {name}")
            study.patient, study.accession = f"{number % 5:x}patient", f"{number:02x}accession"
            study.study_date = drawn.choice([None, "20250101", "20260101"])
            studies.refresh(session, [study.id], either_site.model_id)
            session.execute(
                update(StudyResult)
                .where(StudyResult.study_id == study.id)
                .values(
                    updated_at=START + timedelta(hours=12 * drawn.randint(0, 9)),
                    subclass=drawn.choice(["covid-1", "covid-2"]),
                    label=drawn.choice(["covid", "normal"]),
                )
            )
            if verdict := drawn.choice([None, None, *Verdict]):
                studies.review(session, study, drawn.choice(readers), verdict, "", None, None)
        return {"model": either_site.model_id, "job": jobs[1].id, "reader": readers[0].id}


CASES: dict[str, tuple[dict[str, Any], Wanted]] = {
    "open": ({"state": "open"}, lambda r, s: r.verdict is None),
    "reviewed": ({"state": "reviewed"}, lambda r, s: r.verdict is not None),
    "unsure": ({"state": "unsure"}, lambda r, s: r.verdict == Verdict.UNSURE),
    "class": ({"label": "normal"}, lambda r, s: r.label == "normal"),
    "subclass": ({"subclass": "covid-2"}, lambda r, s: r.subclass == "covid-2"),
    "since": ({"since": date(2026, 3, 3)}, lambda r, s: r.updated_at.date() >= date(2026, 3, 3)),
    "until": ({"until": date(2026, 3, 3)}, lambda r, s: r.updated_at.date() <= date(2026, 3, 3)),
    "low": ({"low": 0.4}, lambda r, s: True),
    "high": ({"high": 0.6}, lambda r, s: r.score <= 0.6),
    "patient": ({"search": "2pat"}, lambda r, s: str(s.patient).startswith("2pat")),
    "accession in capitals": ({"search": "0AACC"}, lambda r, s: str(s.accession).startswith("0aacc")),
    "label": ({"search": "Study s1"}, lambda r, s: s.label.startswith("Study s1")),
    "code of a label": ({"search": "s1"}, lambda r, s: s.label.startswith("Study s1")),
    "a letter of patterns": ({"search": "%"}, lambda r, s: False),
}


def listed(known: dict[str, int], filters: Filters, size: int = 7) -> list[int]:
    """Every page, from one place to the next."""
    found: list[int] = []
    after = None
    with db.read() as session:
        while True:
            lines = worklist.page(session, known["model"], 0.5, filters, after=after, limit=size)
            if not lines:
                return found
            found += [line.study.id for line in lines]
            after = worklist.cursor(worklist.place(lines[-1], filters), filters)


def expected(filters: Filters, wanted: Wanted) -> list[int]:
    low = 0.5 if filters.low is None else filters.low
    order = SORTS[filters.sort]
    with db.read() as session:
        rows = session.execute(select(StudyResult, Study).join(Study, Study.id == StudyResult.study_id)).all()
    kept = [row for row, study in rows if row.score >= low and wanted(row, study)]
    kept.sort(key=lambda row: (getattr(row, order.column.key), row.study_id), reverse=order.falling)
    return [row.study_id for row in kept]


@pytest.mark.parametrize("few", [True, False], ids=["looked up", "walked"])
def test_filters_find_what_python_finds(archive: dict[str, int], few: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not few:
        monkeypatch.setattr(worklist_scope, "FOUND_FEW", 0)
        monkeypatch.setattr(worklist_scope, "JOB_FEW", 0)
    with db.read() as session:
        mine = set(
            session.scalars(
                select(Image.study_id).join(Entry).where(Entry.job_id == archive["job"], Entry.image_id > 0)
            )
        )
    cases = dict(CASES)
    cases["job"] = ({"job": archive["job"]}, lambda r, s: r.study_id in mine)
    cases["reader"] = ({"reader": archive["reader"]}, lambda r, s: r.reader_id == archive["reader"])
    for name, (asked, wanted) in cases.items():
        filters = Filters(**{"state": "all", **asked})
        found = listed(archive, filters)
        assert found == expected(filters, wanted), name
        with db.read() as session:
            told = worklist.counts(session, archive["model"], 0.5, filters)[filters.state]
        assert (told.number, told.more) == (len(found), False), name
    assert len(listed(archive, Filters(state="all", job=archive["job"], search="1"))) == len(
        expected(Filters(), lambda r, s: r.study_id in mine and "1" in {str(s.patient)[0], str(s.accession)[0]})
    )


def test_a_search_finds_names_however_their_letters_are_typed(archive: dict[str, int]) -> None:
    with db.write() as session:
        for name, patient, label in (("x", "ИВАНОВ Иван", "1.png"), ("y", "q17", "Петров/2.png"), ("z", "z", "z.png")):
            scored(session, name, [0.9], archive["model"], label=label).patient = patient
        numbers = {row.label: row.id for row in session.execute(select(Study.label, Study.id))}
    for typed, label in (
        ("иванов", "1.png"),
        ("Иванов", "1.png"),
        ("петров", "Петров/2.png"),
        ("ПЕТРОВ", "Петров/2.png"),
    ):
        assert listed(archive, Filters(state="all", search=typed)) == [numbers[label]], typed
    assert listed(archive, Filters(state="all", search="Q17")) == [numbers["Петров/2.png"]]


@pytest.mark.parametrize("sort", SORTS)
def test_sorts_page_and_lead_from_case_to_case(archive: dict[str, int], sort: str) -> None:
    filters = Filters(state="all", sort=sort)
    order = expected(filters, lambda r, s: True)
    assert listed(archive, filters) == order and len(order) > 20
    for asked in (filters, Filters(state="open", sort=sort), Filters(sort=sort, high=0.6, until=date(2026, 3, 3))):
        of_list = listed(archive, asked)
        with db.read() as session:
            whole = expected(Filters(state="all", sort=sort, low=0.0), lambda r, s: True)
            for place, study_id in enumerate(whole):
                around = worklist.neighbours(session, archive["model"], 0.5, study_id, asked)
                above = [one for one in whole[:place] if one in of_list]
                below = [one for one in whole[place + 1 :] if one in of_list]
                assert around == (above[-1] if above else None, below[0] if below else None)


def test_counting_stops_and_says_so(archive: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    with db.read() as session:
        exact = worklist.counts(session, archive["model"], 0.5)
        monkeypatch.setattr(worklist_counts, "COUNTED", 5)
        capped = worklist.counts(session, archive["model"], 0.5)
        assert worklist.flagged_count(session, archive["model"], 0.5) == exact["open"].number > 5
    assert not exact["all"].more and capped["open"] == worklist.Count(5, True) and capped["all"].more
    for state in ("confirmed", "dismissed", "unsure"):
        assert capped[state] == worklist.Count(min(5, exact[state].number), exact[state].number > 5)


def test_the_copies_follow_verdicts_and_new_answers(either_site: Site) -> None:
    with db.write() as session:
        study = scored(session, "case", [0.9], either_site.model_id)
        reader = users.get(session, "reader")
        first = studies.review(session, study, reader, Verdict.UNSURE, "", None, None)
        studies.review(session, study, users.get(session, "admin"), Verdict.CONFIRMED, "", None, first.id)
        other = seed.model(session, "m2", state=ModelState.CANDIDATE)
        image = session.scalars(select(Image).where(Image.study_id == study.id)).one()
        session.add(Result(image_id=image.id, model_version_id=other.id, **seed.result(0.8)))
        session.flush()
        studies.refresh(session, [study.id], other.id)
        study_id = study.id
    with db.read() as session:
        rows = session.scalars(select(StudyResult).where(StudyResult.study_id == study_id)).all()
        current = session.scalars(select(Review).where(Review.superseded_at.is_(None))).one()
    assert len(rows) == 2
    assert {(row.verdict, row.reader_id) for row in rows} == {(current.verdict, current.user_id)}


@pytest.mark.parametrize(
    "address",
    [
        {"state": "shut"},
        {"sort": "colour"},
        {"size": "7"},
        {"size": "5000"},
        {"job": "one"},
        {"job": "9" * 16},
        {"reader": "-1"},
        {"from": "yesterday"},
        {"from": "0001-01-01"},
        {"to": "2026-02-30"},
        {"from": "2026-03-02", "to": "2026-03-01"},
        {"low": "nan"},
        {"low": "2"},
        {"high": "-0.1"},
        {"low": "0.9", "high": "0.1"},
        {"model": "²"},
        {"q": "x" * 81},
        {"q": "a\0b"},
    ],
    ids=str,
)
def test_what_is_no_filter_is_refused_in_a_line(address: dict[str, str]) -> None:
    with pytest.raises(UsageError) as told:
        worklist_filters.read(address)
    assert "\n" not in str(told.value) and len(str(told.value)) < 200


@pytest.mark.parametrize("text", ["0.5", "x,1", "nan,1", "inf,1", "0.5,-1", "0.5,²", "0.5," + "9" * 16, ",", "1,2,3"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        worklist.cursor(text, Filters())
    with pytest.raises(UsageError):
        worklist.cursor(f"2026-01-01,{text}", Filters(sort="newest"))


def test_an_address_says_what_was_read_from_it() -> None:
    asked = {"state": "all", "class": "covid", "from": "2026-03-01", "low": "0.25", "q": "ab", "sort": "oldest"}
    assert {name: str(value) for name, value in worklist_filters.read(asked).address().items()} == asked
    assert worklist_filters.read(dict.fromkeys(asked, "")).address() == {}

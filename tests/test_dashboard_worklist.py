"""Which studies stand in the worklist, in which order, and that paging neither loses nor repeats one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import seed
from dashboard_fixtures import Browser, Site, done_job, scored
from sqlalchemy import event

from cxrscreen import db, registry, studies, users, worklist
from cxrscreen.tables import ModelState, ModelVersion, OperatingPoint, Result, Role, Study, Verdict


def listed(page: str) -> list[int]:
    return [int(found) for found in re.findall(r'data-study="(\d+)"', page)]


def walk(browser: Browser, url: str) -> list[list[int]]:
    """The studies of every page, following the links."""
    pages = []
    for _ in range(20):
        page = browser.page(url)
        pages.append(listed(page))
        found = re.search(r'id="next-page" href="([^"]+)"', page)
        if not found:
            return pages
        url = found[1].replace("&amp;", "&")
    raise AssertionError("the list has no end")


def test_flagged_studies_stand_by_falling_score(either_site: Site) -> None:
    with db.write() as session:
        made = {
            name: scored(session, name, scores, either_site.model_id).id
            for name, scores in {
                "low": [0.1],
                "edge": [0.5],
                "high": [0.99],
                "by its second image": [0.2, 0.7],
                "below": [0.4999],
            }.items()
        }
    page = either_site.browser("reader").page("/worklist")
    assert listed(page) == [made["high"], made["by its second image"], made["edge"]]
    assert "0.700" in page and "covid-1" in page


def test_states_and_jobs_filter_and_the_counts_agree(either_site: Site) -> None:
    with db.write() as session:
        mine, other = done_job(session, either_site.model_id), done_job(session, either_site.model_id, "other.zip")
        reader = users.get(session, "reader")
        ids = {}
        for number, verdict in enumerate([None, None, "confirmed", "dismissed", "unsure", "confirmed"]):
            study = scored(session, f"s{number}", [0.9 - number / 100], either_site.model_id, mine if number else other)
            ids[number] = study.id
            if verdict:
                studies.review(session, study, reader, Verdict(verdict), "", None, None)
        changed = session.get_one(Study, ids[5])
        before = studies.current_review(session, changed.id)
        assert before is not None
        studies.review(session, changed, reader, Verdict.DISMISSED, "on second thought", None, before.id)
        job_id = mine.id
    browser = either_site.browser("reader")
    expected = {
        "open": [0, 1],
        "confirmed": [2],
        "dismissed": [3, 5],
        "unsure": [4],
        "reviewed": [2, 3, 4, 5],
        "all": [0, 1, 2, 3, 4, 5],
    }
    for state, numbers in expected.items():
        page = browser.page(f"/worklist?state={state}")
        assert listed(page) == [ids[number] for number in numbers], state
        assert re.search(rf'id="state-{state}"[^>]*>{state} <span>{len(numbers)}</span>', page)
        of_job = [ids[number] for number in numbers if number]
        assert listed(browser.page(f"/worklist?state={state}&job={job_id}")) == of_job


def test_paging_neither_loses_nor_repeats_where_scores_are_equal(either_site: Site) -> None:
    with db.write() as session:
        for number in range(117):
            scored(session, f"s{number:03}", [[0.9, 0.1 + 0.2 + 0.5, 2 / 3][number % 3]], either_site.model_id)
        wanted = [line.study.id for line in worklist.page(session, either_site.model_id, 0.5, limit=1000)]
    pages = walk(either_site.browser("reader"), "/worklist")
    assert [len(page) for page in pages] == [50, 50, 17]
    assert [study for page in pages for study in page] == wanted
    assert len(set(wanted)) == 117


def test_the_list_follows_the_active_version_and_its_threshold(site: Site) -> None:
    with db.write() as session:
        other = seed.model(session, "m2", state=ModelState.CANDIDATE)
        study = scored(session, "case", [0.9], site.model_id)
        seed_result = seed.result(0.3)
        image_id = studies.images(session, study.id, site.model_id)[0][0].id
        session.add(Result(image_id=image_id, model_version_id=other.id, **seed_result))
        session.flush()
        studies.refresh(session, [study.id], other.id)
        other_id, study_id = other.id, study.id
    browser = site.browser("admin")
    assert listed(browser.page("/worklist")) == [study_id]
    assert browser.post(f"/models/{other_id}/activate", data={"sign_off": "read the flips"}).status_code == 302
    assert listed(browser.page("/worklist")) == []
    with db.write() as session:
        session.add(OperatingPoint(model_version_id=other_id, threshold=0.25))
    assert listed(browser.page("/worklist")) == [study_id]


def test_neighbours_are_the_lines_above_and_below(either_site: Site) -> None:
    with db.write() as session:
        ids = [
            scored(session, f"s{n}", [score], either_site.model_id).id for n, score in enumerate([0.7, 0.9, 0.7, 0.6])
        ]
        unflagged = scored(session, "low", [0.2], either_site.model_id).id
    order = [ids[1], ids[2], ids[0], ids[3]]
    with db.read() as session:
        around = [worklist.neighbours(session, either_site.model_id, 0.5, one) for one in order]
        assert worklist.neighbours(session, either_site.model_id, 0.5, unflagged) == (order[3], None)
    assert around == list(zip([None, *order], [*order[1:], None], strict=False))


@pytest.mark.parametrize("phantom", [True, False])
def test_a_phantom_model_is_named_as_such_everywhere(site: Site, phantom: bool) -> None:
    with db.write() as session:
        session.get_one(ModelVersion, site.model_id).phantom = phantom
    browser = site.browser("admin")
    for url in ("/worklist", "/models", "/jobs", f"/models/{site.model_id}"):
        assert ('id="phantom-banner"' in browser.page(url)) is phantom


def test_an_empty_list_says_what_to_do_next(site: Site) -> None:
    browser = site.browser("reader")
    assert "Upload an archive" in browser.page("/worklist")
    with db.write() as session:
        study = scored(session, "case", [0.9], site.model_id, done_job(session, site.model_id))
        studies.review(session, study, users.get(session, "reader"), Verdict.CONFIRMED, "", None, None)
    assert "Every flagged study has a verdict" in browser.page("/worklist")
    with db.write() as session:
        version = registry.need_active(session)
        version.state = ModelState.RETIRED
    assert "There is no active model yet" in browser.page("/worklist")
    told = browser.get("/charts")
    assert told.status_code == 409 and re.search(r'id="error">.*href="/models"', told.text, re.DOTALL)


def test_heads_sort_and_say_so(site: Site) -> None:
    with db.write() as session:
        ids = [scored(session, f"s{n}", [0.9 - n / 10], site.model_id).id for n in range(3)]
    browser = site.browser("reader")
    page = browser.page("/worklist")
    assert re.search(r'aria-sort="descending"><a href="/worklist\?sort=score-up" id="sort-score"', page)
    assert re.search(r'aria-sort="none"><a href="/worklist\?sort=newest" id="sort-scored"', page)
    assert 'id="sort-study"' not in page, "no date is kept, so none can be sorted by"
    turned = browser.page("/worklist?sort=score-up")
    assert listed(turned) == ids[::-1]
    assert re.search(r'aria-sort="ascending"><a href="/worklist" id="sort-score"', turned)
    with db.write() as session:
        study = session.get_one(Study, ids[1])
        study.study_date = "20260101"
        studies.refresh(session, ids, site.model_id)
    assert listed(browser.page("/worklist?sort=study-newest"))[0] == ids[1]
    assert 'id="sort-study"' in browser.page("/worklist")


def test_filters_stay_in_every_address_and_come_off_one_by_one(site: Site) -> None:
    with db.write() as session:
        job = done_job(session, site.model_id)
        for number in range(30):
            scored(session, f"s{number:02}", [0.9], site.model_id, job)
        job_id = job.id
    browser = site.browser("reader")
    page = browser.page(f"/worklist?job={job_id}&class=covid&size=25&q=s&state=all")
    assert len(listed(page)) == 25
    following = re.search(r'id="next-page" href="([^"]+)"', page)
    case = re.search(r'class="case" href="([^"]+)"', page)
    assert following and case
    for link in (following[1], case[1]):
        assert all(part in link for part in ("class=covid", f"job={job_id}", "q=s", "size=25", "state=all"))
    assert len(listed(browser.page(following[1].replace("&amp;", "&")))) == 5
    chips = re.search(r'id="chips">(.*?)</p>', page, re.DOTALL)
    assert chips and chips[1].count("Take this filter off") == 3
    assert "No study matches" in browser.page("/worklist?subclass=normal-1&state=all")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("state=nope", 400),
        ("sort=nope", 400),
        ("low=much", 400),
        ("from=soon", 400),
        ("after=x", 400),
        ("size=1000000", 400),
        ("job=999", 404),
        ("reader=999", 404),
        ("model=999", 404),
    ],
)
def test_a_bad_address_is_answered_in_a_sentence(site: Site, query: str, status: int) -> None:
    with db.write() as session:
        study_id = scored(session, "case", [0.9], site.model_id).id
    browser = site.browser("reader")
    answer = browser.get(f"/worklist?{query}")
    assert answer.status_code == status and "Traceback" not in answer.text
    assert re.search(r'class="said">[^<]{10,}', answer.text)
    if not query.startswith(("after", "job", "reader")):
        assert browser.get(f"/studies/{study_id}?{query}").status_code == status


def test_a_saved_filter_is_its_owners_alone(site: Site) -> None:
    reader, other = site.browser("reader"), site.browser("admin")
    data = {"name": "Mine <b>", "query": "state=unsure&low=0.25&after=0.5,1&x=y"}
    answer = reader.post("/worklist/saved", data, page="/worklist")
    assert answer.location == "/worklist?state=unsure&low=0.25"
    page = reader.page("/worklist")
    assert "Mine &lt;b&gt;" in page and 'href="/worklist?state=unsure&amp;low=0.25"' in page
    assert "Mine" not in other.page("/worklist")
    again = reader.post("/worklist/saved", {**data, "query": "sort=newest"}, page="/worklist")
    assert again.status_code == 302
    (number,) = set(re.findall(r'action="/worklist/saved/(\d+)/remove"', reader.page("/worklist")))
    assert other.post(f"/worklist/saved/{number}/remove").status_code == 404
    assert reader.post(f"/worklist/saved/{number}/remove").status_code == 302
    assert 'action="/worklist/saved/' not in reader.page("/worklist")
    for bad in ({"name": ""}, {"name": "x" * 61}, {"name": "x", "query": "state=nope"}):
        assert reader.post("/worklist/saved", bad, page="/worklist").status_code == 400


def test_another_version_is_listed_when_asked_for(site: Site) -> None:
    with db.write() as session:
        other = seed.model(session, "m2", state=ModelState.CANDIDATE, threshold=0.2)
        study = scored(session, "case", [0.1], site.model_id)
        image = studies.images(session, study.id, None)[0][0]
        session.add(Result(image_id=image.id, model_version_id=other.id, **seed.result(0.3)))
        session.flush()
        studies.refresh(session, [study.id], other.id)
        other_id, study_id = other.id, study.id
    browser = site.browser("reader")
    assert listed(browser.page("/worklist")) == []
    page = browser.page(f"/worklist?model={other_id}")
    assert listed(page) == [study_id] and "0.200" in page
    assert f"model={other_id}" in page


@contextmanager
def asking() -> Iterator[dict[str, int]]:
    """How many statements the database is asked meanwhile, over how many connections out of the pool."""
    told = {"statements": 0, "connections": 0}

    def statement(_connection: Any, _cursor: Any, text: str, *_: Any) -> None:
        told["statements"] += not text.startswith("BEGIN")  # of SQLite: `db` begins its transactions itself

    def connection(*_: Any) -> None:
        told["connections"] += 1

    engine = db.get_engine()
    event.listen(engine, "before_cursor_execute", statement)
    event.listen(engine, "checkout", connection)
    yield told
    event.remove(engine, "before_cursor_execute", statement)
    event.remove(engine, "checkout", connection)


@pytest.mark.parametrize(
    ("query", "beside"), [("", 0), ("?class=covid&state=all", 0), ("?job={job}", 1), ("?q=case", 1)]
)
def test_a_page_asks_the_database_six_times_however_much_it_lists(either_site: Site, query: str, beside: int) -> None:
    """Who asks, which model, the lines, their counts, what the filters offer, the audit log; what a search finds."""
    browser = either_site.browser("reader")
    for studies_of_each in (1, 20):
        with db.write() as session:
            for number in range(3):
                job = done_job(session, either_site.model_id, f"{studies_of_each}-{number}.zip")
                for study in range(studies_of_each):
                    scored(session, f"case-{studies_of_each}-{number}-{study}", [0.9], either_site.model_id, job)
            users.add(session, f"one more {studies_of_each}", Role.READER)
            job_id = job.id
        assert browser.post("/worklist/saved", {"name": str(studies_of_each), "query": ""}).status_code == 302
        with asking() as asked:
            page = browser.page(f"/worklist{query.format(job=job_id)}")
        assert len(listed(page)) >= studies_of_each
        assert asked == {"statements": 6 + beside, "connections": 3}

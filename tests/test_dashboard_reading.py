"""Reading on the pages: taking back, findings, two readers, hidden cases, assignment and several lines at once."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

import pytest
from dashboard_fixtures import Browser, Site, scored
from sqlalchemy import select
from test_dashboard_studies import give

from cxrscreen import db, readings, studies, users
from cxrscreen.settings import Settings
from cxrscreen.tables import AuditEvent, Draw, Image, Review, Role, Study, StudyResult, Verdict


@pytest.fixture
def cases(site: Site) -> list[int]:
    with db.write() as session:
        users.add(session, "third", Role.READER).password_hash = users.get(session, "reader").password_hash
        return [scored(session, f"case {n}", [0.95 - n / 20], site.model_id).id for n in range(4)]


def undo(browser: Browser, page: str):  # type: ignore[no-untyped-def]
    form = page[page.index('id="undo-form"') :]
    data = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form)[:3])
    action = re.search(r'action="([^"]+)"', form)
    assert action
    return browser.client.post(action[1], data=data)


def verdicts(study_ids: list[int]) -> list[str | None]:
    with db.read() as session:
        rows = [studies.current_review(session, number) for number in study_ids]
    return [row.verdict.value if row else None for row in rows]


def test_the_page_that_follows_takes_the_verdict_back(site: Site, cases: list[int]) -> None:
    browser = site.browser("reader")
    page = browser.page(f"/studies/{cases[0]}")
    assert 'id="undo-form"' not in page
    page = browser.page(give(browser, cases[0], "confirmed", "both bases").location)
    answer = undo(browser, page)
    assert answer.location == f"/studies/{cases[0]}" and verdicts(cases) == [None] * 4
    again = browser.page(answer.location)
    assert ">both bases</textarea>" in again and "taken back" in again and 'id="undo-form"' not in again
    assert undo(browser, page).status_code == 409, "a page that is out of date"
    assert site.browser("third").page("/worklist").count("data-study") == 4
    other = undo(site.browser("third"), page)
    assert other.status_code in (400, 404), "somebody else's"


def test_verdicts_are_taken_back_one_after_the_other(site: Site, cases: list[int]) -> None:
    browser = site.browser("reader")
    for number in cases[:3]:
        give(browser, number, "dismissed")
    for left in (2, 1, 0):
        assert undo(browser, browser.page("/worklist?state=all")).status_code == 302
        assert verdicts(cases) == ["dismissed"] * left + [None] * (4 - left)
    assert 'id="undo-form"' not in browser.page("/worklist")


def test_findings_and_time_are_kept_and_what_is_no_finding_is_refused(site: Site, cases: list[int]) -> None:
    browser = site.browser("reader")

    def post(number: int, **data: object):  # type: ignore[no-untyped-def]
        return browser.post(
            f"/studies/{number}/review", {"verdict": "confirmed", "seen": "", "model": site.model_id, **data}
        )

    assert post(cases[0], finding=["effusion", "ground-glass"], seconds="7.25").status_code == 302
    assert post(cases[1], finding=["<b>"]).status_code == 400
    for nonsense in ("nan", "-3", "1e9", "soon"):
        assert post(cases[2], seconds=nonsense).status_code in (302, 409)
    with db.read() as session:
        first, second = session.scalars(select(Review).order_by(Review.id)).all()
    assert (first.findings, first.seconds) == (["ground-glass", "effusion"], 7.2)
    assert (second.study_id, second.seconds) == (cases[2], None)
    page = browser.page(f"/studies/{cases[0]}")
    assert re.search(r'class="marks">.*Ground glass.*Effusion', page)


def test_the_second_reader_sees_nothing_of_the_first(
    site: Site, cases: list[int], configure: Callable[..., Settings]
) -> None:
    configure(second_readings=1)
    first, second, third = (site.browser(name) for name in ("reader", "admin", "third"))
    untouched = second.page(f"/studies/{cases[0]}")
    stale = third.page(f"/studies/{cases[0]}")
    give(first, cases[0], "confirmed", "secret words")
    mine = first.page(f"/studies/{cases[0]}")
    assert "secret words" in mine and "waits for the second reader" in mine and 'id="verdict"' not in mine
    assert f'data-study="{cases[0]}"' not in first.page("/worklist")
    token = re.compile(r'(name="csrf_token" value|name="csrf-token" content)="[^"]+"')
    assert token.sub("", second.page(f"/studies/{cases[0]}")) == token.sub("", untouched), "the very same page"
    assert "secret words" not in site.browser("operator").page(f"/studies/{cases[0]}")
    give(second, cases[0], "dismissed", "clear")
    assert give(third, cases[0], "unsure", page=stale).status_code == 409
    listed = third.page("/worklist?state=disputed")
    assert f'data-study="{cases[0]}"' in listed and 'id="state-disputed"' in third.page("/worklist")
    page = third.page(f"/studies/{cases[0]}?state=disputed")
    assert "secret words" in page and "clear" in page and "Reader 1" in page and "Your decision" in page
    blind = page[page.index('id="differ"') : page.index('id="verdict"')]
    assert ">reader<" not in blind and ">admin<" not in blind, "whose they are would decide"
    data = dict(re.findall(r'name="(csrf_token|seen|model|adjudicates)" value="([^"]*)"', page))
    answer = third.client.post(
        f"/studies/{cases[0]}/review?state=disputed", data={**data, "verdict": "confirmed", "comment": ""}
    )
    assert answer.location == "/worklist?state=disputed" and verdicts(cases[:1]) == ["confirmed"]
    settled = first.page(f"/studies/{cases[0]}?state=all")
    assert "decided between two readers" in settled and "Blind readings" in settled and "clear" in settled
    page = third.page("/agreement")
    assert "reader</bdi>, <bdi" in page or "admin</bdi>, <bdi" in page


@pytest.fixture
def hidden(site: Site, configure: Callable[..., Settings]) -> dict[str, int]:
    """One flagged and one unflagged study, both drawn; and one of each that were not."""
    with db.write() as session:
        found = {"plain": scored(session, "plain", [0.8], site.model_id).id}
        scored(session, "passed over", [0.2], site.model_id)
    configure(sample_share=1, masked_share=1)
    with db.write() as session:
        found["masked"] = scored(session, "a", [0.93], site.model_id, heat=bytes((1, 1, 200))).id
        found["sample"] = scored(session, "b", [0.07], site.model_id, heat=bytes((1, 1, 200))).id
    return found


def test_a_hidden_case_tells_nothing_until_it_is_read(site: Site, hidden: dict[str, int]) -> None:
    browser = site.browser("reader")
    listed = browser.page("/worklist")
    assert listed.count("data-study") == 3 and "0.93" not in listed and "0.07" not in listed
    pages = {}
    for name in ("masked", "sample"):
        page = browser.page(f"/studies/{hidden[name]}")
        assert 'id="hidden"' in page and 'id="score"' not in page and "heat.png" not in page
        for told in ("0.930", "0.070", "covid-1", "normal-1", "sample", "masked", "flagged</span>"):
            assert told not in page, (name, told)
        page = page[page.index('class="why"') : page.index('id="image-facts"')]
        pages[name] = re.sub(r"\d+", "N", re.sub(r'csrf_token" value="[^"]+"', "", page))
    assert pages["masked"] == pages["sample"]
    for asked in ("low=0", "high=1", "class=normal", "class=covid", "subclass=covid-1", "low=0&sort=score-up"):
        listed = browser.page(f"/worklist?state=all&{asked}")
        assert f'data-study="{hidden["masked"]}"' not in listed, asked
        assert f'data-study="{hidden["sample"]}"' not in listed, asked
    with db.read() as session:
        shown = session.scalar(select(Image.id).where(Image.study_id == hidden["sample"]))
    drawn = f"/images/{shown}/heat.png?model={site.model_id}"
    assert browser.get(drawn).status_code == 404, "a typed address tells no more than the page"
    give(browser, hidden["sample"], "confirmed")
    assert browser.get(drawn).status_code == 200
    page = browser.page(f"/studies/{hidden['sample']}?state=all")
    assert "0.070" in page and "heat.png" in page and "read without the model" in page
    assert f'data-study="{hidden["sample"]}"' in browser.page("/worklist?state=confirmed"), "a miss stays in sight"
    page = browser.page("/agreement")
    assert 'id="missed">1<' in page and f"/studies/{hidden['sample']}" in page
    with db.read() as session:
        review = session.scalars(select(Review)).one()
        rows = {row.study_id: row.draw for row in session.scalars(select(StudyResult))}
    assert review.blind and rows[hidden["sample"]] is Draw.SAMPLE and rows[hidden["masked"]] is Draw.MASKED
    undo(browser, browser.page("/worklist?state=all"))
    assert 'id="hidden"' in browser.page(f"/studies/{hidden['sample']}"), "taken back, hidden again"


def test_after_a_hidden_case_the_list_goes_on_from_its_place(site: Site, hidden: dict[str, int]) -> None:
    browser = site.browser("reader")
    order = [int(number) for number in re.findall(r'data-study="(\d+)"', browser.page("/worklist"))]
    for here, there in pairwise(order):
        assert give(browser, here, "dismissed").location == f"/studies/{there}"


def tick(browser: Browser, action: str, chosen: list[int], query: str = "", **data: object):  # type: ignore[no-untyped-def]
    page = browser.page(f"/worklist?state=all{query}")
    values = [v for v in re.findall(r'name="study" value="([\d:]+)"', page) if int(v.split(":")[0]) in chosen]
    return browser.post(f"/worklist/selected?state=all{query}", {"action": action, "study": values, **data})


def test_cases_are_assigned_and_asked_for_by_whose_they_are(site: Site, cases: list[int]) -> None:
    browser = site.browser("reader")
    with db.read() as session:
        third = users.get(session, "third").id
        operator = users.get(session, "operator").id
    assert tick(browser, "assign", cases[:2], to="me").location == "/worklist?state=all"
    assert tick(browser, "assign", cases[1:3], to=str(third)).status_code == 302
    listed = browser.page("/worklist?assigned=me")
    assert re.findall(r'data-study="(\d+)"', listed) == [str(cases[0])] and "yours" in listed
    assert browser.page(f"/worklist?assigned={third}").count("data-study") == 2
    assert site.browser("third").page("/worklist?assigned=me").count("data-study") == 2
    assert re.findall(r'data-study="(\d+)"', browser.page("/worklist?assigned=nobody")) == [str(cases[3])]
    assert tick(browser, "assign", cases[:1], to=str(operator)).status_code == 400
    assert tick(browser, "assign", cases[:1], to="999").status_code == 404
    assert browser.get("/worklist?assigned=x").status_code == 400
    give(browser, cases[0], "unsure")
    with db.write() as session:
        studies.refresh(session, cases, site.model_id)
        told = session.scalars(select(AuditEvent.subject).where(AuditEvent.action == "study.assign")).all()
    assert sorted(told) == sorted(f"study {number}" for number in (*cases[:2], *cases[1:3]))
    assert browser.page(f"/worklist?assigned={third}").count("data-study") == 2
    tick(browser, "assign", cases, to="nobody")
    assert browser.page("/worklist?assigned=nobody&state=all").count("data-study") == 4


def test_several_are_dismissed_after_a_question_and_row_by_row(site: Site, cases: list[int]) -> None:
    browser = site.browser("reader")
    asked = tick(browser, "dismiss", cases[:3], query="&size=25")
    assert asked.status_code == 200 and "Dismiss 3 cases?" in asked.text and verdicts(cases) == [None] * 4
    give(site.browser("admin"), cases[1], "confirmed")
    data = {
        "csrf_token": browser.token(),
        "action": "dismiss",
        "sure": "yes",
        "study": re.findall(r'name="study" value="([\d:]+)"', asked.text),
    }
    answer = browser.client.post("/worklist/selected?state=all&size=25&after=0.9,2", data=data)
    assert answer.location == "/worklist?state=all&size=25&after=0.9,2", "the page of the list it came from"
    assert verdicts(cases) == ["dismissed", "confirmed", "dismissed", None]
    page = browser.page("/worklist")
    assert "2 cases dismissed" in page and "1 case left alone" in page
    with db.read() as session:
        told = session.scalars(
            select(AuditEvent.subject).where(AuditEvent.action == "study.review", AuditEvent.actor == "reader")
        ).all()
    assert sorted(told) == sorted(f"study {number}" for number in (cases[0], cases[2]))
    assert "No line is ticked" in browser.page(tick(browser, "dismiss", []).location)
    for wrong in ({"action": "delete", "study": "1:"}, {"action": "dismiss", "study": "1;2"}):
        assert browser.post("/worklist/selected", wrong).status_code == 400
    operator = site.browser("operator")
    assert 'name="study"' not in operator.page("/worklist?state=all")
    assert operator.post("/worklist/selected", {"action": "assign", "study": "1:", "to": "me"}).status_code == 403


def test_blind_cases_are_not_settled_from_a_list(
    site: Site, hidden: dict[str, int], configure: Callable[..., Settings]
) -> None:
    browser = site.browser("reader")
    tick(browser, "unsure", list(hidden.values()), sure="yes")
    assert verdicts(list(hidden.values())) == ["unsure", None, None]
    configure(second_readings=1)
    with db.write() as session:
        other = scored(session, "two", [0.9], site.model_id).id
    tick(browser, "dismiss", [other], sure="yes")
    with db.read() as session:
        study = session.get_one(Study, other)
        assert study.first_reader_id is None and verdicts([other]) == [None]
        assert readings.standing(session, study, users.get(session, "reader")).mine is None
        assert session.scalars(select(Review.verdict)).all() == [Verdict.UNSURE]

"""What a reader does in a night, by keyboard alone, and how two readers' disagreement is settled, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from dashboard_fixtures import Site, password_hash, scored
from playwright.sync_api import Page, expect
from sqlalchemy import select
from viewer_fixtures import SHOWN, Opener, files, sign_in, study_of

from cxrscreen import db, readings, studies, users
from cxrscreen.settings import Settings
from cxrscreen.tables import Role, Study, Verdict, Way

pytestmark = pytest.mark.browser

CASES = 10


def verdicts() -> list[str]:
    with db.read() as session:
        rows = [studies.current_review(session, number) for number in session.scalars(select(Study.id))]
    return sorted(row.verdict.value for row in rows if row)


def test_ten_cases_by_keyboard_alone(site: Site, opened: Opener) -> None:
    data = files()["monochrome2.dcm"]
    wanted = [study_of(data, "0.dcm", site, score=0.99)]
    with db.write() as session:
        wanted += [scored(session, f"case {n}", [0.95 - n / 100], site.model_id).id for n in range(CASES)]
    with opened("/worklist", expecting="the server responded with a status") as page:  # cases without pictures
        page.mouse.move(0, 0)
        page.keyboard.press("j")
        expect(page.locator("#worklist a.case").first).to_be_focused()
        page.keyboard.press("Enter")
        page.wait_for_selector(SHOWN)
        seen = [case_of(page)]
        for key in ("y", "n", "j", "u", *"j" * (CASES - 4)):
            page.keyboard.press(key)
            page.wait_for_url(re.compile(rf"/studies/(?!{seen[-1]}\b)\d+"))
            seen.append(case_of(page))
            if len(seen) == 5:  # the third verdict was a slip
                assert verdicts() == ["confirmed", "dismissed", "unsure"]
                page.keyboard.press("Control+z")
                page.wait_for_url(re.compile(rf"/studies/{seen[3]}\b"))
                assert verdicts() == ["confirmed", "dismissed"]
                page.keyboard.press("y")
                page.wait_for_url(re.compile(rf"/studies/{seen[4]}\b"))
        assert seen == wanted, "in the order of the list"
        assert verdicts() == ["confirmed", "confirmed", "dismissed"]


def case_of(page: Page) -> int:
    found = re.search(r"/studies/(\d+)", page.url)
    assert found
    return int(found[1])


def test_two_readers_differ_and_a_third_decides(configure: Callable[..., Settings], site: Site, opened: Opener) -> None:
    configure(second_readings=1)
    study = study_of(files()["eight.jpg"], "a.jpg", site)
    with db.write() as session:
        for name in ("second", "third"):
            users.add(session, name, Role.READER).password_hash = password_hash()
    with opened(f"/studies/{study}") as page:
        say(page, study, "y")
        expect(page.locator("#mine")).to_contain_text("It waits for the second reader")
        page.context.clear_cookies()
        sign_in(page, "second", f"/studies/{study}")
        expect(page.locator("body")).not_to_contain_text("confirmed")
        say(page, study, "n")
        expect(page.locator("#mine")).to_contain_text("another person decides")
        assert verdicts() == []
        page.context.clear_cookies()
        sign_in(page, "third", "/worklist?state=disputed")
        page.locator("#worklist a.case").press("Enter")
        expect(page.locator("#differ li")).to_have_count(2)
        say(page, study, "y")
        expect(page.locator("#readings li")).to_have_count(2)
        page.goto("/agreement")
        expect(page.locator("#readers")).to_contain_text("reader, second")
    with db.read() as session:
        current = studies.current_review(session, study)
        assert current and (current.way, current.verdict) == (Way.ADJUDICATED, Verdict.CONFIRMED)
        third = users.get(session, "third")
        assert current.user_id == third.id and not readings.standing(session, session.get_one(Study, study), third).mine


def say(page: Page, study: int, key: str) -> None:
    """Give a verdict, and look at the case again: the page has gone on to the next, or back to the list."""
    page.wait_for_selector(SHOWN)
    with page.expect_navigation():
        page.keyboard.press(key)
    page.goto(f"/studies/{study}")
